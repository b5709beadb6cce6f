"""Flows end for the addresses that are named, in whichever tuple they stand, and for no others."""

from __future__ import annotations

import socket
import subprocess
import time

import pytest

from calico.dataplane.flows.conntrack import Conntrack
from calico.dataplane.netns import in_netns
from calico.lib.packed import addr_bytes
from calico.netlink.conntrack import count_flows, decode_count
from calico.netlink.socket import NETLINK_NETFILTER, NetlinkSocket

RULES = """
table inet t {
  chain nat { type nat hook output priority -100; ip daddr 192.0.2.9 dnat ip to 127.0.0.9; }
  chain out { type filter hook output priority 0; ct state new accept; }
}
"""


def flow(family, source, target):
    """One UDP datagram that the kernel tracks."""
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.bind((source, 0))
        sock.sendto(b"x", (target, 9))


@pytest.fixture
def tracked(host):
    host.links.add_address("lo", "192.0.2.1/32")
    host.links.add_address("lo", "192.0.2.9/32")
    host.links.add_address("lo", "fd00::1/128")
    host.links.add_address("lo", "fd00::2/128")
    command = ["nsenter", f"--net=/run/netns/{host.name}", "nft", "-f", "-"]
    subprocess.run(command, input=RULES, text=True, check=True)

    def make():
        flow(socket.AF_INET, "127.0.0.1", "127.0.0.2")
        flow(socket.AF_INET, "127.0.0.2", "127.0.0.3")
        flow(socket.AF_INET, "192.0.2.1", "192.0.2.9")
        flow(socket.AF_INET6, "fd00::1", "fd00::2")
        return NetlinkSocket(NETLINK_NETFILTER)

    with in_netns(host.name, make) as sock:
        await_flows(sock, 4)
        yield sock


def await_flows(sock, number):
    """A busy kernel takes a datagram in, and its flow into the table, a moment after it was sent."""
    end = time.monotonic() + 10
    while sum(decode_count(answer.payload) for answer in sock.request(count_flows(sock.next_seq()))) < number:
        assert time.monotonic() < end, f"there were never {number} flows"
        time.sleep(0.001)


@pytest.mark.parametrize("picked_by_the_kernel", [False, True])
@pytest.mark.parametrize(
    ("address", "ended"),
    [
        ("127.0.0.1", 1),  # source
        ("127.0.0.2", 2),  # source of one, destination of another
        ("127.0.0.9", 1),  # only in the reply tuple: the real destination of a translated flow
        ("192.0.2.9", 1),  # only in the original tuple
        ("fd00::2", 1),
        ("127.0.0.77", 0),
    ],
)
def test_flows_of_an_address_end(tracked, address, ended, picked_by_the_kernel):
    conntrack = Conntrack(tracked, small=0 if picked_by_the_kernel else 1000)
    assert conntrack.forget([addr_bytes(address)]) == ended
    assert conntrack.forget([addr_bytes(address)]) == 0
    everything = [addr_bytes(a) for a in ("127.0.0.2", "192.0.2.1", "fd00::1")]
    assert conntrack.forget(everything) == 4 - ended


def test_many_addresses_are_ended_at_once_and_none_is_nothing(tracked):
    assert Conntrack(tracked).forget([]) == 0
    assert Conntrack(tracked).forget([bytes((127, 0, 0, n)) for n in range(1, 100)]) == 3
