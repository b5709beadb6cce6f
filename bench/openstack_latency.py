"""How long after a call of Neutron's API the first packet passes, as a ratio to the call alone in the same run.

``python bench/openstack_latency.py [--quick]`` brings up a lab with a cloud of two hosts. *rule*: a rule that opens a
port of a bound instance is created; a machine outside sends a datagram every millisecond. *port*: a port is created
bound, its tap is plugged as Nova does when the call has returned, and the same machine sends to its address. The clock
starts when the call starts. Milliseconds; ``call`` is until the API answered. Needs root and ``make openstack``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import socket
import statistics
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from calico.dataplane.links import Links
from calico.dataplane.netns import delete_netns, in_netns
from calico.errors import NotFound
from calico.lab.addressing import Layout, netns_name, plan_layout
from calico.lab.down import take_down
from calico.lab.fabric import make_namespace
from calico.lab.openstack.api import NeutronApi, open_api
from calico.lab.openstack.guest import plug, unplug
from calico.lab.openstack.instance import Instance
from calico.lab.topology import parse_topology
from calico.lab.up import bring_up
from calico.lab.wait import wait_ready

RESULTS = Path(__file__).parent / "results" / "openstack_latency.json"
TOPOLOGY = """\
name: {name}
hosts: [{{name: compute1}}, {{name: compute2}}]
externals: [{{name: outside}}]
pools: []
openstack: {{settings: {{audit_interval_s: 0}}}}
"""
PORT = 9
PATIENCE_S = 60.0
MTU = 1400


class Guest:
    """An instance with a static address, plugged by hand so that every step can be timed."""

    def __init__(self, lab: str, layout: Layout, name: str, host: str) -> None:
        self.netns, self.host = netns_name(lab, name), host
        self._name, self._host_netns = name, layout.netns(host)
        self._instance: Instance | None = None
        make_namespace(self.netns, router=False)

    def plug(self, port: dict[str, object]) -> str:
        """The interface and its address; the address."""
        address = str(port["fixed_ips"][0]["ip_address"])  # type: ignore[index]
        mac, identifier = str(port["mac_address"]), str(port["id"])
        self._instance = Instance(
            name=self._name, netns=self.netns, host=self.host, port=identifier, device="", mac=mac
        )
        plug(self._instance, self._host_netns, f"fe{mac[2:]}", MTU)
        with Links(self.netns) as links:
            links.add_address("eth0", f"{address}/32")
            links.add_route("169.254.1.1/32", dev="eth0")
            links.add_route("default", via="169.254.1.1", dev="eth0")
        return address

    def unplug(self) -> None:
        if self._instance is not None:
            unplug(self._instance, self._host_netns)
            self._instance = None

    def close(self) -> None:
        with contextlib.suppress(NotFound):
            self.unplug()
        delete_netns(self.netns)


@contextlib.contextmanager
def sending(netns: str, address: str) -> Iterator[None]:
    """A datagram every millisecond, whatever becomes of it."""
    sock = in_netns(netns, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    end = threading.Event()

    def run() -> None:
        while not end.wait(0.001):
            with contextlib.suppress(OSError):
                sock.sendto(b"x", (address, PORT))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()
        sock.close()


def listening(netns: str) -> socket.socket:
    def make() -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.settimeout(PATIENCE_S)
        sock.bind(("0.0.0.0", PORT))
        return sock

    return in_netns(netns, make)


def drained(sock: socket.socket, quiet_s: float = 0.3) -> None:
    """Return when nothing has come for a while."""
    sock.settimeout(quiet_s)
    deadline = time.monotonic() + PATIENCE_S
    with contextlib.suppress(TimeoutError):
        while time.monotonic() < deadline:
            sock.recv(16)
    sock.settimeout(PATIENCE_S)


def rules(api: NeutronApi, network: str, guest: Guest, outside: str, rounds: int) -> list[tuple[float, float]]:
    """(call, packet) of each round, in milliseconds."""
    group = str(api.create("security_group", name="measured")["id"])
    port = bound(api, network, guest.host, [group])
    address = guest.plug(port)
    found = []
    with listening(guest.netns) as sock, sending(outside, address):
        wait_active(api, str(port["id"]))
        for _ in range(rounds):
            drained(sock)
            began = time.monotonic()
            rule = api.create("security_group_rule", security_group_id=group, direction="ingress", protocol="udp")
            called = time.monotonic()
            sock.recv(16)
            found.append(((called - began) * 1000, (time.monotonic() - began) * 1000))
            api.call("DELETE", f"security-group-rules/{rule['id']}")
    guest.unplug()
    api.call("DELETE", f"ports/{port['id']}")
    api.call("DELETE", f"security-groups/{group}")
    return found


def ports(api: NeutronApi, network: str, guest: Guest, outside: str, rounds: int) -> list[tuple[float, float]]:
    """The same for ports that are created, bound and plugged."""
    group = str(api.create("security_group", name="open")["id"])
    api.create("security_group_rule", security_group_id=group, direction="ingress", protocol="udp")
    found = []
    for _ in range(rounds):
        began = time.monotonic()
        port = bound(api, network, guest.host, [group])
        called = time.monotonic()
        address = guest.plug(port)
        with listening(guest.netns) as sock, sending(outside, address):
            sock.recv(16)
            found.append(((called - began) * 1000, (time.monotonic() - began) * 1000))
        guest.unplug()
        api.call("DELETE", f"ports/{port['id']}")
    api.call("DELETE", f"security-groups/{group}")
    return found


def bound(api: NeutronApi, network: str, host: str, groups: list[str]) -> dict[str, object]:
    fields = {"device_id": str(uuid.uuid4()), "device_owner": "compute:nova", "binding:host_id": host}
    return api.create("port", network_id=network, security_groups=groups, **fields)


def wait_active(api: NeutronApi, port: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while api.port(port)["status"] != "ACTIVE":
        if time.monotonic() > deadline:
            raise SystemExit(f"the port {port} does not become ACTIVE")
        time.sleep(0.1)


def summary(what: str, rows: list[tuple[float, float]]) -> dict[str, float | str | int]:
    rows = rows[1:]  # the first one warms up
    calls, packets = sorted(row[0] for row in rows), sorted(row[1] for row in rows)

    def at(values: list[float], share: float) -> float:
        return round(values[min(len(values) - 1, int(len(values) * share))], 1)

    return {
        "what": what,
        "rounds": len(rows),
        "call_p50_ms": at(calls, 0.5),
        "call_p99_ms": at(calls, 0.99),
        "packet_p50_ms": at(packets, 0.5),
        "packet_p99_ms": at(packets, 0.99),
        "ratio_p50": round(statistics.median(row[1] / row[0] for row in rows), 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few rounds")
    rounds = 6 if parser.parse_args().quick else 41
    name = f"b{uuid.uuid4().hex[:8]}"
    try:
        state, _ = bring_up(parse_topology(TOPOLOGY.format(name=name)), lambda *_: None)
        wait_ready(state, lambda *_: None, 300)
        layout = plan_layout(state.topology)
        api, outside = open_api(layout), layout.externals[0].netns
        network = str(api.create("network", name="measured")["id"])
        api.create("subnet", network_id=network, ip_version=4, cidr="10.65.0.0/24")
        guest = Guest(name, layout, "guest", "compute2")
        try:
            results = [
                summary("rule", rules(api, network, guest, outside, rounds)),
                summary("port", ports(api, network, guest, outside, rounds)),
            ]
        finally:
            guest.close()
    finally:
        take_down(name)
    for one in results:
        print(json.dumps(one))
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())
