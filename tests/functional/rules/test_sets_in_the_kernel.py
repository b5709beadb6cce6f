"""Sets in a real kernel: large ones change by what changes, CIDRs overlap, and they grow without losing a packet."""

from __future__ import annotations

import ipaddress
import threading
from typing import Any

import pytest

from calico.calc.messages import (
    ActiveRule,
    IPSetDelta,
    IPSetUpdate,
    PolicyUpdate,
    ProfileUpdate,
    RuleSide,
    TierPolicies,
)
from calico.dataplane.links import Links
from calico.lib.packed import addr_bytes, addr_port, net
from calico.model.keys import ResourceKey

pytestmark = pytest.mark.root

NP = ResourceKey("NetworkPolicy", "ns", "web")
OPEN = ProfileUpdate(name="open", ingress=(ActiveRule(action="allow"),), egress=(ActiveRule(action="allow"),))
TIER = TierPolicies(name="t", default_action="deny", ingress=(NP,))
FROM_SET = PolicyUpdate(
    key=NP, tier="t", ingress=(ActiveRule(action="allow", src=RuleSide(ip_sets=("s",))),), egress=()
)
FAMILIES = pytest.mark.parametrize("family", ["v4", "v6"])


def prepare(host: Any, *members: bytes) -> None:
    """The first workload lets in what the set ``s`` holds."""
    one, two = host.workloads
    host.apply(IPSetUpdate(id="s", kind="nets", members=frozenset(members)))
    host.apply(OPEN, FROM_SET, host.endpoint(one, tiers=(TIER,)), host.endpoint(two, profiles=("open",)))


def delta(host: Any, added: set[bytes] = frozenset(), removed: set[bytes] = frozenset()) -> int:  # type: ignore[assignment]
    """Change the set; the messages that it took."""
    host.ruleset.on_message(IPSetDelta(id="s", added=frozenset(added), removed=frozenset(removed)))
    result = host.dataplane.apply()
    assert result.failed == ()
    return int(result.messages)


def members_of(family: str, count: int, step: int, length: int) -> list[bytes]:
    """That many nets, ``step`` addresses apart."""
    first = int(ipaddress.ip_address("20.0.0.0" if family == "v4" else "fd20::"))
    size = 4 if family == "v4" else 16
    return [(first + number * step).to_bytes(size, "big") + bytes((length,)) for number in range(count)]


def arrives(host: Any, family: str, sources: list[str]) -> set[str]:
    """Sources from which a datagram of the second workload arrives at the first; the last one must."""
    one, two = host.workloads
    target = getattr(one, family)
    with one.udp(target, 53) as receiver:
        for source in sources:
            with two.udp(source, 0) as sender:
                sender.sendto(source.encode(), (target, 53))
        found: set[str] = set()
        while sources[-1] not in found:
            found.add(receiver.recv(100).decode())
    return found


@pytest.fixture
def many_sources(host: Any, own_addresses: Any) -> Any:
    """The second workload has a dozen addresses of each family more, which its own egress may use."""
    two = host.workloads[1]
    own = [f"10.66.0.{number}" for number in range(1, 13)] + [f"fd00:66::{number:x}" for number in range(1, 13)]
    with Links(two.netns) as inside, Links(host.netns) as links:
        for address in own:
            length = 128 if ":" in address else 32
            inside.add_address("eth0", f"{address}/{length}")
            links.add_route(f"{address}/{length}", dev=two.interface)
            links.add_neighbour(two.interface, address, two.mac)
    own_addresses(two.netns, *own)
    nets = tuple(net(address) for address in (two.v4, two.v6, *own))
    endpoint = host.endpoint
    host.endpoint = lambda workload, **more: endpoint(workload, **{"nets": nets, **more} if workload is two else more)
    return host


@FAMILIES
def test_a_set_of_a_hundred_thousand_addresses_changes_by_one_message_for_one_member(host: Any, family: str) -> None:
    length = 32 if family == "v4" else 128
    members = members_of(family, 100_000, 1, length)
    two = host.workloads[1]
    prepare(host, *members)
    mine = net(getattr(two, family))
    assert delta(host, {mine}) == 1
    assert arrives(host, family, [getattr(two, family)])
    assert delta(host, removed={members[5000]}) == 1
    assert delta(host, {members[5000]}, {members[7000]}) == 2
    assert delta(host, set(members_of(family, 100_003, 1, length)[-3:])) == 1


@FAMILIES
def test_a_set_of_ten_thousand_cidrs_changes_by_one_message_for_one_member(host: Any, family: str) -> None:
    length = 28 if family == "v4" else 124
    members = members_of(family, 10_000, 32, length)
    two = host.workloads[1]
    prepare(host, *members)
    around = net("10.65.0.0/30" if family == "v4" else "fd00:65::/126")
    assert delta(host, {around}) == 1
    assert arrives(host, family, [getattr(two, family)])
    assert delta(host, removed={members[5000]}) == 1
    assert delta(host, {members[5000]}, {members[7000]}) == 2


@FAMILIES
def test_a_set_of_ports_of_a_hundred_thousand_members_changes_by_one_message(host: Any, family: str) -> None:
    one, two = host.workloads
    first = members_of(family, 100_000, 1, 0)
    host.apply(IPSetUpdate(id="s", kind="ports", members=frozenset(addr_port(m[:-1], 17, 53) for m in first)))
    rule = ActiveRule(action="allow", dst=RuleSide(named_ports=("s",)))
    host.apply(OPEN, PolicyUpdate(key=NP, tier="t", ingress=(rule,), egress=()))
    host.apply(host.endpoint(one, tiers=(TIER,)), host.endpoint(two, profiles=("open",)))
    assert delta(host, {addr_port(addr_bytes(getattr(one, family)), 17, 53)}) == 1
    assert arrives(host, family, [getattr(two, family)])


@FAMILIES
def test_overlapping_cidrs_merge_when_the_outer_comes_and_split_when_it_goes(many_sources: Any, family: str) -> None:
    host, two = many_sources, many_sources.workloads[1]
    v4 = family == "v4"
    sources = [f"10.66.0.{n}" if v4 else f"fd00:66::{n:x}" for n in range(1, 13)]
    fence = getattr(two, family)

    def member(first: int, spare: int) -> bytes:
        return net(f"10.66.0.{first}/{32 - spare}" if v4 else f"fd00:66::{first:x}/{128 - spare}")

    def open_to() -> set[int]:
        return {sources.index(source) + 1 for source in arrives(host, family, [*sources, fence]) if source != fence}

    outer, middle, inner, single = member(0, 4), member(4, 2), member(4, 1), member(9, 0)
    prepare(host, net(fence), inner, single)
    assert open_to() == {4, 5, 9}
    delta(host, {middle})
    assert open_to() == {4, 5, 6, 7, 9}
    delta(host, {outer})
    assert open_to() == set(range(1, 13))
    delta(host, removed={middle})
    assert open_to() == set(range(1, 13))
    delta(host, {middle}, {outer})
    assert open_to() == {4, 5, 6, 7, 9}
    delta(host, {member(8, 2)}, {middle})
    assert open_to() == {4, 5, 8, 9, 10, 11}
    delta(host, removed={member(8, 2), inner})
    assert open_to() == {9}
    host.dataplane.resync()
    assert host.dataplane.apply().messages == 0


@FAMILIES
def test_neighbouring_cidrs_stay_members_of_their_own(many_sources: Any, family: str) -> None:
    host, two = many_sources, many_sources.workloads[1]
    v4 = family == "v4"
    low, high = (net(t) for t in (("10.66.0.4/31", "10.66.0.6/31") if v4 else ("fd00:66::4/127", "fd00:66::6/127")))
    sources = [f"10.66.0.{n}" if v4 else f"fd00:66::{n:x}" for n in (3, 4, 5, 6, 7, 8)]
    fence = getattr(two, family)
    prepare(host, net(fence), low, high)
    assert arrives(host, family, [*sources, fence]) == {*sources[1:5], fence}
    delta(host, removed={low})
    assert arrives(host, family, [*sources, fence]) == {*sources[3:5], fence}


@FAMILIES
def test_a_set_grows_far_beyond_its_declared_size_and_loses_no_packet(host: Any, family: str) -> None:
    one, two = host.workloads
    target = getattr(one, family)
    prepare(host, net(getattr(two, family)))
    declared = {name: decl.size for name, decl in host.state.sets.items()}
    growing = threading.Event()
    sent = 0

    def stream(sender: Any) -> None:
        nonlocal sent
        while not growing.is_set():
            sender.sendto(sent.to_bytes(4, "big"), (target, 53))
            sent += 1

    with one.udp(target, 53) as receiver, two.udp(getattr(two, family), 40000) as sender:
        receiver.setsockopt(1, 33, 64 << 20)  # SO_RCVBUFFORCE
        thread = threading.Thread(target=stream, args=(sender,))
        thread.start()
        length = 32 if family == "v4" else 128
        members = members_of(family, 20_000, 1, length)
        try:
            for start in range(0, len(members), 500):
                delta(host, set(members[start : start + 500]))
            for start in range(0, len(members), 2000):
                delta(host, removed=set(members[start : start + 2000]))
        finally:
            growing.set()
            thread.join()
        sender.sendto(sent.to_bytes(4, "big"), (target, 53))
        arrived: set[int] = set()
        while sent not in arrived:
            arrived.add(int.from_bytes(receiver.recv(100), "big"))
    grown = [name for name, decl in host.state.sets.items() if decl.size > declared.get(name, 0)]
    assert grown
    assert sent > 100
    assert len(arrived) == sent + 1
