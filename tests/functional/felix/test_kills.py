"""Felix killed at any moment while policy changes, under a steady stream of packets."""

from __future__ import annotations

import random
import select
import threading
import time

import pytest
from felix_packets import Packet, build
from felix_world import World, arrivals, resource

KILLS = 20
_PERIOD_S = 0.002
_FORBIDDEN, _ALLOWED, _ESTABLISHED, _REPLIES = "forbidden", "allowed", "established", "replies"


class Stream:
    """Every 2 ms a new forbidden and a new allowed connection and both ways of an established one: 2000 packets/s."""

    def __init__(self, world: World, family: int) -> None:
        self.sent: dict[str, dict[int, float]] = {kind: {} for kind in (_FORBIDDEN, _ALLOWED, _ESTABLISHED, _REPLIES)}
        self.seen: set[int] = set()
        self._world, self._family = world, family
        self._stop = threading.Event()
        self._ports = (world.ports["a"], world.ports["b"])
        self._threads = [threading.Thread(target=work) for work in (self._send, self._receive)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _send(self) -> None:
        a, b = self._ports
        known = self._world.packet("a>b udp:7001:7000", self._family)
        reply = self._world.packet("b>a udp:7000:7001", self._family)
        tag, due = 1 << 20, time.monotonic()
        while not self._stop.is_set():
            port = 10000 + tag // 4 % 50000
            new: dict[str, Packet] = {
                _FORBIDDEN: known._replace(sport=port, dport=9999),
                _ALLOWED: known._replace(sport=port, dport=8000),
                _ESTABLISHED: known,
                _REPLIES: reply,
            }
            for kind, packet in new.items():
                tag += 1
                self.sent[kind][tag] = time.monotonic()
                (b if kind == _REPLIES else a).send(build(packet, tag))
            due = max(due + _PERIOD_S, time.monotonic() - 0.1)
            time.sleep(max(0.0, due - time.monotonic()))

    def _receive(self) -> None:
        socks = [sock for port in self._ports for sock in port.seen]
        last = 0.0
        while not self._stop.is_set() or time.monotonic() < last:
            if not self._stop.is_set():
                last = time.monotonic() + 0.5  # what was sent last may still be on its way
            for sock in select.select(socks, [], [], 0.05)[0]:
                self.seen.update(arrivals(sock))


def policy(version: int) -> tuple[dict[str, object], ...]:
    """Ever different policies (rules, sets, tiers, order) that agree about the stream's three ports."""
    some = [{"action": "Allow", "protocol": "TCP", "destination": {"ports": [100 + version % 50]}}] * (version % 5)
    allow = {"action": "Allow", "protocol": "UDP", "destination": {"ports": [7000, 8000]}}
    nets = [f"10.{version % 200}.{n}.0/24" for n in range(version % 40)]
    also = {
        "action": "Allow",
        "protocol": "UDP",
        "source": {"selector": "set == 'some'"},
        "destination": {"ports": [53]},
    }
    spec = {"selector": "app == 'b'", "types": ["Ingress"], "order": version % 7, "ingress": [*some, allow, also]}
    return (
        resource("GlobalNetworkSet", "some", {"nets": nets}, set="some"),
        resource("GlobalNetworkPolicy", "p", spec),
        resource("GlobalNetworkPolicy", f"extra{version % 3}", {"selector": "app == 'b'", "types": ["Ingress"],
                 "order": 10 + version % 3, "ingress": [allow] if version % 2 else []}),
    )  # fmt: skip


@pytest.mark.timeout(180)
def test_a_felix_killed_at_any_moment_lets_nothing_forbidden_pass_and_drops_nothing_allowed(
    world: World, family: int
) -> None:
    random_moment = random.Random(family)
    world.apply(*policy(0))
    world.expect(family, "a>b udp:7001:7000", "b>a udp:7000:7001", "a>b udp:8000", "!a>b udp:9999")
    stream = Stream(world, family)
    stream.start()
    version, before = 0, world.log().count("ruleset applied")
    try:
        for kill in range(KILLS):
            until = time.monotonic() + (0.1 if kill % 4 == 0 else random_moment.uniform(0.6, 2.2))
            while time.monotonic() < until:
                version += 1
                world.apply(*policy(version), settle=False)
                time.sleep(random_moment.uniform(0, 0.05))
            world.kill_felix()
            world.start_felix()
        world.settle()
    finally:
        stream.stop()
    sent = sum(map(len, stream.sent.values()))
    passed = stream.sent[_FORBIDDEN].keys() & stream.seen
    lost = {kind: len(stream.sent[kind].keys() - stream.seen) for kind in (_ESTABLISHED, _REPLIES, _ALLOWED)}
    first, *_, last = stream.sent[_FORBIDDEN].values()
    print(f"{sent} packets in {last - first:.1f} s, {KILLS} kills, {version} versions of the policy; lost: {lost}")
    assert world.log().count("ruleset applied") - before > KILLS, "hardly any change was programmed between the kills"
    assert not passed
    assert lost == {_ESTABLISHED: 0, _REPLIES: 0, _ALLOWED: 0}
    assert sent / (last - first) >= 500, "the machine was too slow for the measurement"
