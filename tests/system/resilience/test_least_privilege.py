"""The daemons work with exactly what their systemd units leave them: these capabilities and no new privileges."""

import ipaddress
from pathlib import Path

import msgspec
import pytest

from calico.cli.node.layout import UNIT_SOURCES
from calico.lab.state import load_state, save_state

pytestmark = [pytest.mark.lab, pytest.mark.root]

NUMBERS = {"CAP_NET_BIND_SERVICE": 10, "CAP_NET_ADMIN": 12, "CAP_NET_RAW": 13, "CAP_SYS_ADMIN": 21}


@pytest.fixture(scope="module")
def lab(start_lab):
    topology = {
        "name": "leastpriv",
        "hosts": [{"name": "host1"}, {"name": "host2"}],
        "workloads": [{"name": "a", "host": "host1"}, {"name": "b", "host": "host2"}],
    }
    with start_lab(topology) as made:
        for unit, process in (("etcd-gateway", "gateway"), ("felix", "felix"), ("bgp", "bgp")):
            made.kill(f"{process}/host1")
            if process == "bgp":  # its BIRD outlives it, with the capabilities that it was started with
                made.kill_bird("host1")
            start(made, f"{process}/host1", capabilities(f"calico-{unit}"))
        made.await_bgp()
        made.ready()
        yield made


def capabilities(unit):
    lines = (UNIT_SOURCES / f"{unit}.service").read_text().splitlines()
    return next(line.partition("=")[2].split() for line in lines if line.startswith("CapabilityBoundingSet="))


def start(lab, process, kept):
    """Start a process of the lab again with a reduced bounding set."""
    state = load_state(lab.name)
    record = state.processes[process]
    names = ",".join(["-all", *(f"+{name.removeprefix('CAP_').lower()}" for name in kept)])
    argv = ("setpriv", "--no-new-privs", "--inh-caps=-all", f"--bounding-set={names}", *record.argv)
    state.processes[process] = msgspec.structs.replace(record, argv=argv)
    save_state(state)
    lab.start(process)


def status_of(pid):
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


@pytest.mark.parametrize("unit", ["calico-felix", "calico-bgp", "calico-etcd-gateway"])
def test_a_daemon_has_the_capabilities_of_its_unit_and_no_other(lab, unit):
    process = {"calico-felix": "felix", "calico-bgp": "bgp", "calico-etcd-gateway": "gateway"}[unit]
    found = status_of(load_state(lab.name).processes[f"{process}/host1"].pid)
    allowed = sum(1 << NUMBERS[name] for name in capabilities(unit))
    assert int(found["CapEff"], 16) == allowed
    assert int(found["CapBnd"], 16) == allowed
    assert found["NoNewPrivs"].strip() == "1"


def test_bird_has_those_of_its_agent(lab):
    found = status_of(lab.bird_pid("host1"))
    assert int(found["CapEff"], 16) & ~sum(1 << NUMBERS[name] for name in capabilities("calico-bgp")) == 0


def test_packets_pass_between_the_hosts(lab):
    assert lab.closed(["a"], ["b"]) == []
    assert lab.closed(["b"], ["a"]) == []


def test_policy_closes_and_opens(lab):
    lab.programmed(lab.global_policy("closed", "all()", order=1))
    assert lab.opened(["b"], ["a"]) == []
    lab.programmed(delete=[("GlobalNetworkPolicy", "", "closed")])
    assert lab.closed(["b"], ["a"]) == []


def test_tunnels_are_set_up_and_bgp_tells_nobody_of_routes_into_them(lab):
    """The router learns which block is this host's; that the rest of the pool is unreachable is this host's own."""
    pool, spec = "10.99.0.0/20", {"vxlanMode": "Always", "allowedUses": ["Tunnel"]}
    lab.programmed(lab.document("IPPool", "tunnels", cidr=pool, **spec))

    def networks():
        return lab.status("host1", "felix")["tunnels"]["networks"]

    try:
        lab.until(lambda: networks().get("vxlan.calico", {}).get("up"), "there is no device")
        block = ipaddress.ip_network(f"{networks()['vxlan.calico']['address']}/26", strict=False)
        lab.until(lambda: lab.has_route("gw", str(block)), "the router does not learn the block")
        assert lab.has_route("host1", pool)
        assert not lab.has_route("gw", pool)
        assert lab.path("host2", str(block[1]))["dev"] == "vxlan.calico"
    finally:
        lab.programmed(delete=[("IPPool", "", "tunnels")])
    lab.until(lambda: not networks(), "the device stays")


def test_nothing_was_refused_for_lack_of_privilege(lab):
    for kind in ("felix", "bgp"):
        found = lab.status("host1", kind)["conditions"]
        assert [condition for condition in found if "permitted" in str(condition).lower()] == []


def test_control_sockets_are_their_owners_alone(lab):
    directory = Path(f"/run/calico-lab/{lab.name}/host1")
    sockets = [path for path in directory.iterdir() if path.is_socket()]
    assert {path.name for path in sockets} >= {"felix.sock", "felix-programmed.sock", "bgp.sock", "bird.ctl"}
    assert {path.name: oct(path.stat().st_mode & 0o077) for path in sockets if path.stat().st_mode & 0o077} == {}
