"""CHECK, GC, STATUS and VERSION; every version's result; other IPAM plugins; calico-ipam alone; no daemon at all."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from cni_world import NOTHING, Answer, Container, World

from calico.dataplane.netns import in_netns

VERSIONS = ("0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
HOST_LOCAL = {"type": "host-local", "ranges": [[{"subnet": "10.79.0.0/24"}]], "dataDir": "/run/calico-test-host-local"}


def checked(container: Container, added: Answer, **options: object) -> Answer:
    return container.call("CHECK", prevResult=added.document, **options)


def test_check_finds_an_attachment_as_add_left_it(world: World) -> None:
    container = world.container()
    added = container.add(ipam={"type": "calico-ipam", "assign_ipv6": "true"})
    answer = checked(container, added, ipam={"type": "calico-ipam", "assign_ipv6": "true"})
    assert (answer.code, answer.text) == (0, "")
    container.delete()


DAMAGE: dict[str, tuple[Callable[[World, Container], object], str]] = {
    "an address": (lambda w, c: w.ip(c.netns, "addr flush dev eth0"), "has no address"),
    "the route": (lambda w, c: w.ip(c.netns, "route del default"), "no route to 0.0.0.0/0"),
    "the MAC": (lambda w, c: w.ip(c.netns, "link set eth0 address 02:00:00:00:00:99"), "has the MAC"),
    "carrier": (lambda w, c: w.ip(c.netns, "link set eth0 down"), "eth0 is down"),
    "the cable": (lambda w, c: w.ip(c.netns, "link del eth0"), "the host has no interface"),
    "the endpoint": (lambda w, c: w.etcdctl("del", "--prefix", "/calico/resources/v3/projectcalico.org/workload"),
                     "the datastore has no endpoint"),
    "the address's allocation": (lambda w, c: w.etcdctl("del", "--prefix", "/calico/ipam/v2/handle/"),
                                 "no address is allocated"),
}  # fmt: skip


@pytest.mark.parametrize("what", DAMAGE)
def test_check_names_what_was_lost(world: World, what: str) -> None:
    container = world.container()
    added = container.add()
    damage, says = DAMAGE[what]
    damage(world, container)
    answer = checked(container, added)
    assert answer.error == 101
    assert says in answer.message


def test_gc_removes_what_no_container_has_and_nothing_of_other_networks(world: World) -> None:
    stays, gone, other = world.container(), world.container(), world.container()
    stays.add()
    gone.add()
    other.add(name="other")
    valid = [{"containerID": stays.identity, "ifname": "eth0"}]
    answer = stays.call("GC", **{"cni.dev/valid-attachments": valid})
    assert (answer.code, answer.text) == (0, "")
    assert world.handles == {f"net.{stays.identity}", f"other.{other.identity}"}
    assert len(world.endpoints) == len(world.cables) == 2
    assert stays.call("GC").error == 7
    stays.delete()
    other.delete(name="other")
    assert world.leftovers == NOTHING


def test_status_is_well_while_all_that_add_needs_is_there(world: World) -> None:
    container = world.container()
    assert container.call("STATUS").code == 0
    refused = container.call("STATUS", nodename="elsewhere")
    assert refused.error == 50
    assert "no Node elsewhere" in refused.message


@pytest.mark.parametrize("version", VERSIONS)
def test_results_have_the_shape_of_debians_ptp(world: World, version: str) -> None:
    ours, theirs = world.container(), world.container()
    ip = "10.77.0.50"
    added = ours.add(version=version, args=f"IP={ip}")
    network = {"cniVersion": version, "name": "peer", "type": "ptp", "ipMasq": False,
               "ipam": {**HOST_LOCAL, "routes": [{"dst": "0.0.0.0/0"}]}}  # fmt: skip
    environment = {"CNI_CONTAINERID": theirs.identity, "CNI_NETNS": theirs.path, "CNI_IFNAME": "eth0",
                   "CNI_PATH": "/usr/lib/cni", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}  # fmt: skip

    def ptp(command: str) -> subprocess.CompletedProcess[bytes]:
        words = [*world.enter(), "/usr/lib/cni/ptp"]
        stdin, full = json.dumps(network).encode(), {**environment, "CNI_COMMAND": command}
        return subprocess.run(words, input=stdin, capture_output=True, check=False, env=full)

    done = ptp("ADD")
    if done.returncode:  # Debian 12's plugins know versions up to 1.0.0
        assert version == "1.1.0", done.stdout
        network["cniVersion"] = "1.0.0"
        done = ptp("ADD")
    try:
        assert shape(added.document) == shape(json.loads(done.stdout))
        assert added.document["cniVersion"] == version
    finally:
        ptp("DEL")
    ours.delete(version=version)
    assert world.leftovers == NOTHING


def shape(document: dict[str, object]) -> object:
    """Keys and types, without what is the choice of a plugin: the gateway of an address, and empty parts."""
    choice = {"gateway", "mtu", "cniVersion", "gw"}

    def look(value: object) -> object:
        if isinstance(value, dict):
            return {key: look(one) for key, one in sorted(value.items()) if key not in choice and one not in ({}, [])}
        if isinstance(value, list):
            return [look(one) for one in value[-1:]]
        return type(value).__name__

    return look(document)


def test_another_ipam_plugin_gives_the_addresses(world: World) -> None:
    container = world.container()
    added = container.add(ipam=HOST_LOCAL, version="1.0.0")
    assert added.address().startswith("10.79.0.")
    assert container.addresses == {added.address()}
    assert world.allocated == 0
    assert checked(container, added, ipam=HOST_LOCAL, version="1.0.0").code == 0
    again = world.container()
    with container.receives(7000) as receiver:
        again.add(ipam=HOST_LOCAL, version="1.0.0")
        assert again.sends_datagram(added.address(), 7000, receiver)
    for one in (container, again):
        one.delete(ipam=HOST_LOCAL, version="1.0.0")
        one.delete(ipam=HOST_LOCAL, version="1.0.0")
    assert world.leftovers == NOTHING


def test_an_ipam_plugin_that_is_missing_is_named(world: World) -> None:
    refused = world.container().call("ADD", ipam={"type": "no-such-ipam"})
    assert refused.error == 7
    assert "'no-such-ipam' is in no folder of CNI_PATH" in refused.message
    assert world.leftovers == NOTHING


@pytest.mark.parametrize("version", ["0.3.1", "1.0.0"])
def test_calico_ipam_serves_another_main_plugin(world: World, version: str) -> None:
    container = world.container()
    added = container.add(plugin="calico-ipam", version=version)
    assert "interfaces" not in added.document
    assert "interface" not in added.document["ips"][0]
    assert added.document["ips"][0]["address"].endswith("/32")
    assert added.document["routes"] == [{"dst": "0.0.0.0/0"}]
    assert world.allocated == 1
    for _ in range(2):
        container.delete(plugin="calico-ipam", version=version)
    assert world.leftovers == NOTHING


def test_below_another_main_plugin_each_interface_of_a_container_has_addresses_of_its_own(world: World) -> None:
    container, lost = world.container(), world.container()
    first = container.add(plugin="calico-ipam").address()
    second = container.add(plugin="calico-ipam", ifname="eth1").address()
    lost.add(plugin="calico-ipam")
    assert first != second
    valid: dict[str, Any] = {
        "cni.dev/valid-attachments": [{"containerID": container.identity, "ifname": name} for name in ("eth0", "eth1")]
    }
    assert container.call("GC", plugin="calico-ipam", **valid).code == 0
    assert world.handles == {f"net.{container.identity}"}
    container.delete(plugin="calico-ipam", ifname="eth1")
    assert world.calico("ipam", "show", "--ip", second, "-o", "json").stdout.find("eth1") < 0
    assert (world.allocated, world.handles) == (1, {f"net.{container.identity}"})
    assert container.call("CHECK", plugin="calico-ipam", prevResult={"cniVersion": "1.1.0"}).code == 0
    assert container.call("CHECK", plugin="calico-ipam", ifname="eth1", prevResult={"cniVersion": "1.1.0"}).error == 101
    container.delete(plugin="calico-ipam")
    assert world.leftovers == NOTHING


@pytest.mark.parametrize(
    "options",
    [
        {"ifname": "-eth0"},
        {"args": "K8S_POD_NAME=Web_1;K8S_POD_NAMESPACE=shop"},
        {"args": "K8S_POD_NAME=-x;K8S_POD_NAMESPACE=shop"},
        {"mtu": -1},
        {"device_type": "netkit"},
        {"num_queues": 5000},
        {"readiness_gates": ["file:///etc/passwd"]},
    ],
)
def test_what_add_refuses_for_what_it_says_del_takes_as_done(world: World, options: dict[str, Any]) -> None:
    """A runtime whose ADD failed sends DEL until it succeeds."""
    container = world.container()
    assert container.call("ADD", **options).error in (2, 4, 7)
    container.delete(**options)
    assert world.leftovers == NOTHING


def test_a_network_that_was_broken_after_the_add_is_left_all_the_same(world: World) -> None:
    container = world.container()
    container.add()
    container.delete(mtu="much", ipam={"type": "calico-ipam", "ipv4_pools": 7})
    assert world.leftovers == NOTHING


def test_a_cable_has_as_many_queues_as_the_network_says(world: World) -> None:
    container = world.container()
    added = container.add(num_queues=3)
    for netns, name in ((world.host, added.document["interfaces"][0]["name"]), (container.netns, "eth0")):
        (link,) = json.loads(world.ip(netns, f"-d -j link show dev {name}"))
        assert (link["num_tx_queues"], link["num_rx_queues"]) == (3, 3)
    container.delete()


def test_a_gate_that_is_not_ready_holds_containers_back_and_one_that_is_lets_them_in(world: World) -> None:
    container = world.container()
    with in_netns(world.host, lambda: socket.create_server(("127.0.0.1", 0))) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/readiness"
        replies = ["503 Service Unavailable", "200 OK"]

        def serve() -> None:
            for reply in replies:
                connection, _ = server.accept()
                with connection:
                    connection.recv(4096)
                    connection.sendall(f"HTTP/1.1 {reply}\r\nContent-Length: 0\r\n\r\n".encode())

        serving = threading.Thread(target=serve, daemon=True)
        serving.start()
        refused = container.call("ADD", readiness_gates=[url])
        assert refused.error == 11
        assert url in refused.message
        assert world.leftovers == NOTHING
        container.add(readiness_gates=[url])
        serving.join()
    container.delete()


def test_what_a_network_says_about_the_process_is_told_to_be_the_daemons(world: World) -> None:
    container = world.container()
    container.add(name="loud", log_level="debug", log_file_path="/var/log/calico/cni/cni.log")
    assert "log_level, log_file_path" in world.log("daemon")
    container.delete(name="loud")


def test_a_plugin_before_ours_in_the_list_is_passed_on(world: World) -> None:
    container = world.container()
    previous = {
        "cniVersion": "1.0.0",
        "interfaces": [{"name": "lo", "sandbox": container.path}],
        "ips": [{"address": "127.0.0.1/8", "interface": 0}],
        "dns": {"nameservers": ["192.0.2.53"]},
    }
    added = container.add(version="1.0.0", prevResult=previous).document
    assert [one["name"] for one in added["interfaces"]] == ["lo", f"cali{container.identity[:11]}", "eth0"]
    assert [ip["interface"] for ip in added["ips"]] == [0, 2]
    assert added["dns"] == {"nameservers": ["192.0.2.53"]}
    container.delete()


@pytest.fixture
def standalone(world: World) -> Iterator[World]:
    """The same plugin, installed to need no daemon."""
    world.kill("daemon")
    world.install("--standalone")
    script = world.bin_dir / "calico"
    words = " ".join(["cni", "call", *world.options()])
    settings = f"CALICO_ETCD_ENDPOINTS={world.etcd_url} exec"
    for path in (script, world.bin_dir / "calico-ipam"):
        path.write_text(path.read_text().replace("cni call", words).replace("exec", settings))
    try:
        yield world
    finally:
        world.install()


def test_without_any_daemon_containers_are_attached_as_well(standalone: World) -> None:
    one, other = standalone.container(), standalone.container()
    added = one.add()
    with one.receives(7000) as receiver:
        other.add()
        assert other.sends_datagram(added.address(), 7000, receiver)
    assert checked(one, added).code == 0
    assert one.call("STATUS").code == 0
    assert one.call("VERSION").document["supportedVersions"] == list(VERSIONS)
    assert one.call("ADD").error == 100
    valid = [{"containerID": one.identity, "ifname": "eth0"}]
    assert one.call("GC", **{"cni.dev/valid-attachments": valid}).code == 0
    assert standalone.handles == {f"net.{one.identity}"}
    one.delete()
    one.delete()
    assert standalone.leftovers == NOTHING
