"""QoS policies of Neutron, and what becomes of packets."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from calico.dataplane.netns import in_netns
from cloud import Cloud, Document, Machine

_KILOBIT_S, _BURST_KILOBIT = 2000, 800
_QUEUE_OCTETS = 128 * 1024
"""What may wait besides."""


@contextlib.contextmanager
def limited(cloud: Cloud, name: str, kind: str, **fields: object) -> Iterator[None]:
    """The port of an instance has a policy with this one rule for the length of a with block."""
    policy: Document = cloud.api.call("POST", "qos/policies", {"policy": {"name": kind}})["policy"]
    path = f"qos/policies/{policy['id']}"
    cloud.api.call("POST", f"{path}/{kind}_rules", {f"{kind}_rule": fields})
    cloud.change(name, qos_policy_id=policy["id"])
    try:
        yield
    finally:
        cloud.change(name, qos_policy_id=None)
        cloud.api.call("DELETE", path)


def flood(source: Machine, target: Machine, packets: int, octets: int) -> tuple[int, float]:
    """Packets of this size that arrive of so many sent, and seconds from before the first to after the last."""
    receiver = in_netns(target.netns, lambda: _socket(target.address))
    sender = in_netns(source.netns, lambda: _socket(source.address))
    with receiver, sender:
        receiver.settimeout(1)
        started = last = time.monotonic()
        arrived = 0

        def send() -> None:
            for number in range(packets):
                sender.sendto(bytes(octets), receiver.getsockname())
                if number % 50 == 0:
                    time.sleep(0.002)

        thread = threading.Thread(target=send)
        thread.start()
        try:
            while True:
                receiver.recv(2048)
                arrived, last = arrived + 1, time.monotonic()
        except TimeoutError:
            pass
        thread.join()
        return arrived, last - started


def _socket(address: str) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    made.bind((address, 0))
    return made


@pytest.mark.parametrize(("name", "direction"), [("a", "egress"), ("b", "ingress")])
def test_no_more_octets_pass_than_a_bandwidth_limit_allows(cloud: Cloud, name: str, direction: str) -> None:
    """Too many are dropped, or wait: then the sender feels it, and all arrive later."""
    packets, octets = 1500, 1000

    def sent() -> tuple[int, float, float]:
        arrived, seconds = flood(cloud.a, cloud.b, packets, octets)
        burst = _BURST_KILOBIT * 125 + _QUEUE_OCTETS
        return arrived, seconds, 1.1 * (burst + _KILOBIT_S * 125 * seconds) / octets

    cloud.opens(cloud.a, cloud.b.address)

    def free() -> bool:
        arrived, _, allowed = sent()
        return arrived > allowed

    cloud.until("more passes without a limit", free)
    rule = {"max_kbps": _KILOBIT_S, "max_burst_kbps": _BURST_KILOBIT, "direction": direction}
    with limited(cloud, name, "bandwidth_limit", **rule):

        def held() -> bool:
            arrived, _, allowed = sent()
            return 0 < arrived <= allowed

        cloud.until("the limit holds", held)
    cloud.until("the limit is gone", free)


def test_no_more_packets_pass_than_a_packet_rate_allows(cloud: Cloud) -> None:
    packets = 6000

    def allowed(seconds: float) -> float:
        return 1.1 * (1000 + 1000 * seconds)

    def free() -> bool:
        arrived, seconds = flood(cloud.a, cloud.b, packets, 20)
        return arrived > allowed(seconds)

    cloud.until("more pass without a limit", free)
    with limited(cloud, "a", "packet_rate_limit", max_kpps=1, max_burst_kpps=1, direction="egress"):

        def held() -> bool:
            arrived, seconds = flood(cloud.a, cloud.b, packets, 20)
            return 0 < arrived <= allowed(seconds)

        cloud.until("the limit holds", held)
    cloud.until("the limit is gone", free)


def test_packets_of_an_instance_carry_the_dscp_of_its_policy(cloud: Cloud) -> None:
    def dscp() -> int:
        receiver = in_netns(cloud.outside.netns, lambda: _socket(cloud.outside.address))
        sender = in_netns(cloud.a.netns, lambda: _socket(cloud.a.address))
        with receiver, sender:
            receiver.settimeout(1)
            receiver.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
            sender.sendto(b"hello", receiver.getsockname())
            _, control, _, _ = receiver.recvmsg(64, 64)
            (marks,) = [data[0] for _, kind, data in control if kind == socket.IP_TOS]
            return marks >> 2

    assert dscp() == 0
    with limited(cloud, "a", "dscp_marking", dscp_mark=46):
        cloud.until("the mark is there", lambda: dscp() == 46)
    cloud.until("the mark is gone", lambda: dscp() == 0)
