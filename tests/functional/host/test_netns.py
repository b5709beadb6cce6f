"""Named namespaces and building links inside them, seen by iproute2 too."""

from __future__ import annotations

import os
import subprocess
import threading

import pytest

from calico.dataplane.links import Links
from calico.dataplane.netns import (
    create_netns,
    delete_netns,
    in_netns,
    list_netns,
    open_netns,
    temporary_netns,
)
from calico.errors import AlreadyExists, InvalidInput, NotFound, ResyncRequired
from calico.lib import packed
from calico.netlink.rtnetlink.address import decode_address, dump_addresses
from calico.netlink.rtnetlink.route import TYPE_BLACKHOLE
from calico.netlink.socket import NETLINK_ROUTE, NetlinkSocket

PREFIX = f"cpn{os.getpid() % 100000}"


def test_a_namespace_is_seen_by_iproute2_and_gone_when_deleted():
    name = f"{PREFIX}-seen"
    with temporary_netns(name):
        assert name in list_netns()
        listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
        assert name in listed
        with pytest.raises(AlreadyExists):
            create_netns(name)
    assert name not in list_netns()
    with pytest.raises(NotFound):
        delete_netns(name)
    with pytest.raises(NotFound):
        open_netns(name)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../x", "-x", "a b", "a\n", "x" * 101])
def test_a_name_that_is_no_file_name_is_refused(name):
    with pytest.raises(InvalidInput):
        create_netns(name)


def test_work_inside_leaves_the_callers_thread_where_it_was():
    def here():
        return os.readlink("/proc/thread-self/ns/net")

    before = here()
    with temporary_netns(f"{PREFIX}-in") as name:
        assert in_netns(name, here) != before
        with pytest.raises(ZeroDivisionError):
            in_netns(name, lambda: 1 // 0)
    assert here() == before
    assert not [t for t in threading.enumerate() if t.name == "netns"]


def test_links_addresses_and_routes_are_built_without_any_ip_process():
    with temporary_netns(f"{PREFIX}-a") as a, temporary_netns(f"{PREFIX}-b") as b, Links(a) as left, Links(b) as right:
        left.create_veth("eth1", "eth0", peer_netns=b, mac=bytes.fromhex("020000000001"), mtu=1400)
        left.create_bridge("br0")
        left.attach("eth1", "br0")
        left.add_address("br0", "10.1.0.1/24")
        right.add_address("eth0", "10.1.0.2/24")
        right.add_route("default", via="10.1.0.1")
        right.add_route("10.9.0.0/16", kind=TYPE_BLACKHOLE)
        right.add_neighbour("eth0", "10.1.0.9", bytes.fromhex("020000000009"))
        ping = ["nsenter", f"--net=/run/netns/{b}", "ping", "-n", "-c4", "-i0.25", "-W1", "10.1.0.1"]
        assert subprocess.run(ping, capture_output=True, check=False).returncode == 0
        assert (left.get("eth1").kind, left.get("eth1").mtu, left.get("eth1").master) == (
            "veth",
            1400,
            left.index("br0"),
        )
        shown = subprocess.run(["ip", "-n", b, "route"], capture_output=True, text=True, check=True).stdout
        assert "default via 10.1.0.1 dev eth0 proto static" in shown
        assert "blackhole 10.9.0.0/16" in shown
        right.rename("eth0", "net0")
        right.set_up("net0", False)
        right.move("net0", a)
        assert {link.name for link in left.all()} >= {"net0", "eth1"}
        left.delete("eth1")
        with pytest.raises(NotFound):
            left.get("net0")


def test_refusals_name_the_thing_and_what_to_do():
    with temporary_netns(f"{PREFIX}-r") as name, Links(name) as links:
        links.create_bridge("br0")
        with pytest.raises(AlreadyExists, match="br0"):
            links.create_bridge("br0")
        with pytest.raises(NotFound, match="nope"):
            links.set_up("nope")
        with pytest.raises(NotFound, match=r"10\.0\.0\.0/8"):
            links.delete_route("10.0.0.0/8")
        with pytest.raises(InvalidInput):
            links.create_bridge("a/b")


def test_multiple_next_hops_survive_the_kernel():
    with temporary_netns(f"{PREFIX}-m") as name, Links(name) as links:
        for n in (1, 2):
            links.create_veth(f"e{n}", f"p{n}")
            links.add_address(f"e{n}", f"10.{n}.0.1/24")
        command = [
            "route",
            "add",
            "10.5.0.0/16",
            "nexthop",
            "via",
            "10.1.0.2",
            "weight",
            "3",
            "nexthop",
            "via",
            "10.2.0.2",
        ]
        subprocess.run(["ip", "-n", name, *command], check=True)
        (route,) = (r for r in links.routes() if r.dst == b"\x0a\x05\x00\x00\x10")
        assert [(hop.oif, hop.gateway, hop.weight) for hop in route.hops] == [
            (links.index("e1"), b"\x0a\x01\x00\x02", 3),
            (links.index("e2"), b"\x0a\x02\x00\x02", 1),
        ]


def test_the_kernel_tells_the_addresses_of_one_interface_without_those_of_all_others():
    with temporary_netns(f"{PREFIX}-one") as name, Links(name) as links:
        for number in range(20):
            links.create_veth(f"v{number}", f"p{number}")
            links.add_address(f"v{number}", f"10.9.{number}.1/24")
        index = links.index("v7")
        with in_netns(name, lambda: NetlinkSocket(NETLINK_ROUTE, strict=True)) as sock:
            told = [decode_address(m.payload) for m in sock.dump(dump_addresses(sock.next_seq(), index=index))]
        assert told
        assert {address.index for address in told} == {index}
        assert packed.addr_bytes("10.9.7.1") in [address.address for address in links.addresses("v7")]


def test_what_changed_while_it_was_read_is_read_again(monkeypatch):
    asked = []

    def disturbed_first(sock, request):
        asked.append(request)
        yield from real(sock, request)
        if len(asked) % 2:
            raise ResyncRequired("what was dumped changed during the dump")

    real = NetlinkSocket.dump
    with temporary_netns(f"{PREFIX}-busy") as name, Links(name) as links:
        links.create_veth("v1", "p1")
        links.add_address("v1", "10.9.1.1/24")
        links.add_neighbour("v1", "10.9.1.2", b"\x02\x00\x00\x00\x00\x01")
        monkeypatch.setattr(NetlinkSocket, "dump", disturbed_first)
        assert {"v1", "p1"} <= {link.name for link in links.all()}
        assert packed.addr_bytes("10.9.1.1") in [address.address for address in links.addresses("v1")]
        assert packed.net("10.9.1.0/24") in [route.dst for route in links.routes()]
        assert packed.addr_bytes("10.9.1.2") in [entry.address for entry in links.neighbours()]
    assert len(asked) == 8
