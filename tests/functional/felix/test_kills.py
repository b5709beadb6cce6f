"""Felix killed at any moment while policy changes, under a steady stream of packets."""

from __future__ import annotations

import random
import time

import pytest
from felix_stream import Stream
from felix_world import World, resource

KILLS = 20


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
    version, kills, before = 0, 0, world.log().count("ruleset applied")
    try:
        while kills < KILLS or (kills < 4 * KILLS and world.log().count("ruleset applied") - before <= KILLS):
            until = time.monotonic() + (0.1 if kills % 4 == 0 else random_moment.uniform(0.6, 2.2))
            while time.monotonic() < until:
                version += 1
                world.apply(*policy(version), settle=False)
                time.sleep(random_moment.uniform(0, 0.05))
            world.kill_felix()
            world.start_felix()
            kills += 1
        world.settle()
    finally:
        stream.stop()
    lost, sent, seconds = stream.lost(), stream.count, stream.seconds
    print(f"{sent} packets in {seconds:.1f} s, {kills} kills, {version} versions of the policy; lost: {lost}")
    assert world.log().count("ruleset applied") - before > KILLS, "hardly any change was programmed between the kills"
    assert not stream.passed()
    assert not any(lost.values()), lost
    assert sent >= 100 * kills, "too few packets for so many kills"
