"""Which flows a change concerns: all that it forbids, those that the naive comparison names, and no others."""

from __future__ import annotations

import itertools
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from calico.calc.messages import (
    ActiveRule,
    EndpointId,
    EndpointRemove,
    EndpointUpdate,
    HostEndpointRemove,
    HostEndpointUpdate,
    IPSetDelta,
    IPSetRemove,
    IPSetUpdate,
    Message,
    PolicyRemove,
    PolicyUpdate,
    ProfileRemove,
    ProfileUpdate,
    RuleSide,
    TierPolicies,
)
from calico.lib.packed import addr_bytes, addr_port, net
from calico.model.keys import ResourceKey
from calico.rules.affected import Affected, Members
from calico.rules.config import RulesConfig
from calico.rules.evaluator.judge import Connection, Judge
from calico.rules.ruleset import Ruleset
from calico.rules.table import TableState

LOCAL = {addr_bytes(text): f"cali{text[-1]}" for n in (1, 2, 3) for text in (f"10.0.0.{n}", f"fd00::{n}")}
OUTSIDE = [addr_bytes(text) for text in ("10.0.0.9", "10.0.1.9", "fd00::9")]
ADDRESSES = [*LOCAL, *OUTSIDE]
MEMBERS = [address + bytes((len(address) * 8,)) for address in ADDRESSES]
MEMBERS += [net(text) for text in ("10.0.0.0/24", "10.0.1.0/24", "10.0.0.0/8", "fd00::/126", "::/0")]
PORTS = [80, 53]
SETS = ("n1", "n2", "p1")
POLICIES = [ResourceKey("NetworkPolicy", "ns", name) for name in "abc"]


def some(values: Any, size: int = 1) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(st.sampled_from(values), max_size=size, unique=True).map(tuple)


sides = st.builds(
    RuleSide,
    ip_sets=some(SETS[:2]),
    not_ip_sets=some(SETS[:2]),
    ports=st.sampled_from([(), (), ((80, 80),)]),
    named_ports=some(SETS[2:]),
    not_named_ports=some(SETS[2:]),
)
rules = st.builds(
    ActiveRule,
    action=st.sampled_from(["allow", "allow", "deny", "pass", "pass", "log"]),
    protocol=st.sampled_from([None, 6, 17]),
    src=sides,
    dst=st.one_of(st.just(RuleSide()), sides),
    comment=st.sampled_from(["", "words"]),
)
rule_lists = st.lists(rules, max_size=3).map(tuple)
net_members = st.frozensets(st.sampled_from(MEMBERS), max_size=5)
port_members = st.frozensets(
    st.builds(addr_port, st.sampled_from(ADDRESSES), st.sampled_from([6, 17]), st.sampled_from(PORTS)), max_size=4
)


def endpoint_of(number: int, more: bool, tiers: tuple[TierPolicies, ...], profiles: tuple[str, ...]) -> EndpointUpdate:
    own = [address for address, interface in LOCAL.items() if interface == f"cali{number}"]
    return EndpointUpdate(
        id=EndpointId("k8s", f"ns/w{number}", "eth0"),
        key=ResourceKey("WorkloadEndpoint", "ns", f"w{number}"),
        interface=f"cali{number}",
        nets=tuple(address + bytes((len(address) * 8,)) for address in own[: 1 + more]),
        tiers=tiers,
        profiles=profiles,
    )


tier = st.builds(
    TierPolicies,
    name=st.just("t"),
    default_action=st.sampled_from(["deny", "pass"]),
    ingress=some(POLICIES, 2),
    egress=some(POLICIES, 2),
)
endpoints = st.builds(
    endpoint_of, st.sampled_from([1, 2, 3]), st.booleans(), st.lists(tier, max_size=2).map(tuple), some(["x", "y"], 2)
)


def policy_updates(keys: list[ResourceKey]) -> st.SearchStrategy[PolicyUpdate]:
    key = st.sampled_from(keys)
    return st.builds(PolicyUpdate, key=key, tier=st.just("t"), ingress=rule_lists, egress=rule_lists)


policies = policy_updates(POLICIES)
profiles = st.builds(ProfileUpdate, name=st.sampled_from(["x", "y"]), ingress=rule_lists, egress=rule_lists)
sets = st.one_of(st.tuples(st.sampled_from(SETS[:2]), net_members), st.tuples(st.just("p1"), port_members))
removals = st.one_of(
    st.builds(PolicyRemove, key=st.sampled_from(POLICIES)),
    st.builds(ProfileRemove, name=st.sampled_from(["x", "y"])),
    st.sampled_from([IPSetRemove(id=name) for name in SETS]),
    st.sampled_from([EndpointRemove(id=EndpointId("k8s", f"ns/w{n}", "eth0")) for n in (1, 2, 3)]),
)
OPEN = (ActiveRule(action="allow"),)
snapshots = st.tuples(
    *(st.tuples(st.just(name), port_members if name == "p1" else net_members) for name in SETS),
    *(policy_updates([key]) for key in POLICIES),
    *(st.just(ProfileUpdate(name=name, ingress=OPEN, egress=OPEN)) for name in "xy"),
    *(st.builds(endpoint_of, st.just(n), st.just(True), st.lists(tier, max_size=1).map(tuple), st.just(("x",)))
      for n in (1, 2, 3)),
).map(list)  # fmt: skip
changes = st.one_of(sets, sets, policies, profiles, endpoints, removals)


class World:
    """The ruleset, and the last message about each thing."""

    def __init__(self) -> None:
        self.state = TableState()
        self.ruleset = Ruleset(self.state, RulesConfig())
        self.sets: dict[str, frozenset[bytes]] = {}
        self.rules: dict[Any, tuple[tuple[ActiveRule, ...], tuple[ActiveRule, ...]]] = {}
        self.endpoints: dict[str, EndpointUpdate] = {}

    def say(self, draft: Any) -> None:
        message = self._resolved(draft)
        if message is not None:
            self.ruleset.on_message(message)

    def _resolved(self, draft: Any) -> Message | None:
        match draft:
            case (name, members):
                before = self.sets.get(name)
                self.sets[name] = members
                if before is None or len(members) % 2:
                    return IPSetUpdate(id=name, kind="ports" if name == "p1" else "nets", members=members)
                return IPSetDelta(id=name, added=members - before, removed=before - members)
            case IPSetRemove() if self.sets.pop(draft.id, None) is None:
                return None
            case PolicyUpdate():
                self.rules[draft.key] = (draft.ingress, draft.egress)
            case ProfileUpdate():
                self.rules[draft.name] = (draft.ingress, draft.egress)
            case PolicyRemove() if self.rules.pop(draft.key, None) is None:
                return None
            case ProfileRemove() if self.rules.pop(draft.name, None) is None:
                return None
            case EndpointUpdate():
                self.endpoints[draft.interface] = draft
            case EndpointRemove():
                self.endpoints.pop(f"cali{draft.id.workload[-1]}", None)
        return draft

    def allowed(self) -> set[Connection]:
        judge = Judge(self.state)
        connections = itertools.starmap(self._connection, itertools.product(ADDRESSES, ADDRESSES, (6, 17), PORTS))
        return {c for c in connections if c and (outcome := judge.judge(c)) and outcome.verdict == "accept"}

    def _connection(self, src: bytes, dst: bytes, protocol: int, port: int) -> Connection | None:
        if len(src) != len(dst) or src == dst:
            return None
        ends = [LOCAL.get(address, "eth0") for address in (src, dst)]
        nothing: dict[str, Any] = {"sport": 0, "icmp": (0, 0), "asked_dst": b"", "asked_dport": 0}
        ways: dict[str, Any] = {"came_from": ends[0], "goes_to": ends[1]}
        return Connection(**ways, src=src, dst=dst, protocol=protocol, dport=port, **nothing)


def concerned(affected: Affected) -> set[tuple[bytes, bytes]]:
    return {pair for pair in itertools.product(ADDRESSES, ADDRESSES) if affected.concerns(*pair)}


QUIET = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


@QUIET
@given(snapshots, st.lists(st.lists(changes, min_size=1, max_size=4), min_size=1, max_size=4))
def test_whatever_a_change_forbids_is_among_the_flows_that_it_concerns(
    snapshot: list[Any], batches: list[list[Any]]
) -> None:
    world = World()
    for draft in snapshot:
        world.say(draft)
    world.ruleset.take_affected()
    pending = Affected()
    for number, batch in enumerate(batches):
        before = world.allowed()
        for draft in batch:
            world.say(draft)
        affected = world.ruleset.take_affected()
        after = world.allowed()
        forbidden = [c for c in before - after if _is_owned(world, c)]
        assert all(affected.concerns(c.src, c.dst) for c in forbidden), (number, forbidden)
        assert affected.changed or not any(_is_owned(world, c) for c in before ^ after)
        pending.merge(affected)
        lookups = pending.lookups(1000)
        assert lookups is not None
        for source, destination in concerned(pending):
            assert ("source", source) in lookups or ("destination", destination) in lookups


def _is_owned(world: World, c: Connection) -> bool:
    """Flows of an address that its endpoint lost are forgotten elsewhere."""
    nets = {net[:-1] for endpoint in world.endpoints.values() for net in endpoint.nets}
    return all(address in nets or address in OUTSIDE for address in (c.src, c.dst))


@QUIET
@given(snapshots, st.permutations(POLICIES).map(tuple), st.lists(changes, min_size=4, max_size=10))
def test_a_change_concerns_what_a_naive_comparison_names(
    snapshot: list[Any], keys: tuple[Any, ...], later: list[Any]
) -> None:
    world = World()
    for draft in snapshot:
        world.say(draft)
    tiers = (TierPolicies(name="t", default_action="pass", ingress=keys[:2], egress=keys[1:]),)
    world.say(endpoint_of(1, True, tiers, ("x",)))
    world.ruleset.take_affected()
    for draft in later:
        before = (dict(world.sets), dict(world.rules), dict(world.endpoints))
        world.say(draft)
        naive = {pair for pair in itertools.product(ADDRESSES, ADDRESSES) if _naively(world, before, *pair)}
        assert concerned(world.ruleset.take_affected()) == naive, draft


def _naively(world: World, before: Any, source: bytes, destination: bytes) -> bool:
    return any(
        _direction(world, before, number, own, other)
        for number, own, other in ((1, source, destination), (0, destination, source))
    )


def _direction(world: World, before: Any, number: int, own: bytes, other: bytes) -> bool:
    old_sets, old_rules, old_endpoints = before
    for interface, endpoint in world.endpoints.items():
        if own + bytes((len(own) * 8,)) not in endpoint.nets:
            continue
        old = old_endpoints.get(interface)
        if old is None or not set(endpoint.nets) <= set(old.nets) or _list(old, number) != _list(endpoint, number):
            return True
        for part in _parts(endpoint, number):
            rules, previous = (_deciding(book.get(part), number) for book in (world.rules, old_rules))
            if rules != previous:
                return True
            for name, gains, loses in _uses(rules or ()):
                now, then = (book.get(name, frozenset()) for book in (world.sets, old_sets))
                members = (now - then if gains else frozenset()) | (then - now if loses else frozenset())
                if own in Members(members) or other in Members(members):
                    return True
    return False


def _list(endpoint: EndpointUpdate, number: int) -> Any:
    tiers = [(t.name, t.default_action, (t.ingress, t.egress)[number]) for t in endpoint.tiers]
    return [tier for tier in tiers if tier[2]], endpoint.profiles


def _parts(endpoint: EndpointUpdate, number: int) -> list[Any]:
    return [key for tier in endpoint.tiers for key in (tier.ingress, tier.egress)[number]] + list(endpoint.profiles)


def _deciding(both: Any, number: int) -> Any:
    if both is None:
        return None
    fields = ("action", "protocol", "src", "dst")
    return [tuple(getattr(rule, f) for f in fields) for rule in both[number] if rule.action != "log"]


def _uses(rules: Any) -> list[tuple[str, bool, bool]]:
    """A set, whether rules may deny more when it gains a member, and when it loses one."""
    found = []
    for action, _, *both in rules:
        for side in both:
            for name in (*side.ip_sets, *side.named_ports):
                found.append((name, action != "allow", action != "deny"))
            for name in (*side.not_ip_sets, *side.not_named_ports):
                found.append((name, action != "deny", action != "allow"))
    return found


@given(
    st.frozensets(
        st.one_of(st.sampled_from(MEMBERS), st.builds(addr_port, st.sampled_from(ADDRESSES), st.just(6), st.just(80)))
    )
)
def test_members_hold_an_address_when_one_of_them_covers_it(members: frozenset[bytes]) -> None:
    found = Members(members)
    for address in ADDRESSES:
        value = int.from_bytes(address, "big")
        covers = False
        for member in members:
            size = len(address)
            if len(member) == size + 3:
                covers = covers or member[:size] == address
            elif len(member) == size + 1:
                shift = size * 8 - member[-1]
                covers = covers or value >> shift == int.from_bytes(member[:-1], "big") >> shift
        assert (address in found) == covers


def test_the_first_time_every_flow_of_an_endpoint_is_concerned_and_then_none() -> None:
    world = World()
    world.say(endpoint_of(1, True, (), ("x",)))
    affected = world.ruleset.take_affected()
    one, outside, two = addr_bytes("10.0.0.1"), addr_bytes("10.0.0.9"), addr_bytes("10.0.0.2")
    assert affected.concerns(one, outside)
    assert affected.concerns(outside, one)
    assert not affected.concerns(outside, two)
    later = world.ruleset.take_affected()
    assert (bool(later), later.changed) == (False, False)
    world.ruleset.affect_everything()
    assert world.ruleset.take_affected().concerns(outside, one)


def test_logging_and_words_for_people_concern_nothing() -> None:
    world = World()
    allow = ActiveRule(action="allow", protocol=6)
    tiers = (TierPolicies(name="t", default_action="deny", ingress=(POLICIES[0],), egress=(POLICIES[0],)),)
    world.say(PolicyUpdate(key=POLICIES[0], tier="t", ingress=(allow,), egress=(allow,)))
    world.say(endpoint_of(1, True, tiers, ()))
    world.ruleset.take_affected()
    worded = ActiveRule(action="allow", protocol=6, comment="because")
    world.say(PolicyUpdate(key=POLICIES[0], tier="t", ingress=(ActiveRule(action="log"), worded), egress=(worded,)))
    affected = world.ruleset.take_affected()
    assert (bool(affected), affected.changed) == (False, False)
    world.say(PolicyUpdate(key=POLICIES[0], tier="t", ingress=(worded,), egress=(worded, allow)))
    own, other = addr_bytes("10.0.0.1"), addr_bytes("10.0.0.9")
    affected = world.ruleset.take_affected()
    assert (affected.concerns(own, other), affected.concerns(other, own)) == (True, False)


def test_a_set_that_makes_a_rule_too_large_concerns_every_flow() -> None:
    world = World()
    both = RuleSide(ip_sets=tuple(f"n{number}" for number in range(10, 16)))
    key, own, other = POLICIES[0], addr_bytes("10.0.0.1"), addr_bytes("10.0.0.9")
    for name in both.ip_sets:
        world.say((name, frozenset({net("10.0.0.0/24"), net("10.0.0.1/32")})))
    world.say((both.ip_sets[0], frozenset({net("10.0.0.1/32")})))
    world.say(PolicyUpdate(key=key, tier="t", ingress=(ActiveRule(action="allow", src=both, dst=both),), egress=()))
    tiers = (TierPolicies(name="t", default_action="deny", ingress=(key,)),)
    world.say(endpoint_of(1, True, tiers, ()))
    world.ruleset.take_affected()
    world.say((both.ip_sets[0], frozenset({net("10.0.0.1/32"), net("10.9.0.0/24")})))
    assert world.ruleset.take_affected().concerns(other, own)


def test_few_members_are_looked_for_instead_of_many_endpoints() -> None:
    affected = Affected()
    own = [bytes((10, 1, n >> 8, n & 255)) for n in range(400)]
    gone = addr_bytes("10.0.0.9")
    affected.add("ingress", own, Members([gone + b"\x20"]))
    assert affected.lookups(4) == {("source", gone)}
    affected.add("egress", own[:2])
    assert affected.lookups(4) == {("source", gone), ("source", own[0]), ("source", own[1])}
    affected.add("egress", own, Members([net("10.0.0.0/8")]))
    assert affected.lookups(4) is None


def test_many_changes_of_an_endpoints_sets_are_all_its_flows() -> None:
    affected, own = Affected(), addr_bytes("10.0.0.1")
    for n in range(8):
        affected.add("egress", [own], Members([bytes((10, 9, 9, n, 32))]))
    assert not affected.concerns(own, addr_bytes("10.0.0.2"))
    affected.add("egress", [own], Members([bytes((10, 9, 9, 9, 32))]))
    assert affected.concerns(own, addr_bytes("10.0.0.2"))


class HostWorld:
    """A host endpoint with one policy, and what is affected by what is said of it."""

    KEY = ResourceKey("GlobalNetworkPolicy", "", "servers")

    def __init__(self, stage: str = "tiers") -> None:
        self.ruleset = Ruleset(TableState(), RulesConfig())
        self.ruleset.on_host_interface("eth0", frozenset({addr_bytes("192.0.2.1")}))
        self.say(IPSetUpdate(id="n1", kind="nets", members=frozenset(MEMBERS[:2])))
        self.policy("allow")
        tiers = (TierPolicies(name="t", default_action="deny", ingress=(self.KEY,)),)
        self.say(
            HostEndpointUpdate(name="h", key=ResourceKey("HostEndpoint", "", "h"), interface="eth0", **{stage: tiers})
        )
        self.ruleset.take_affected()

    def say(self, message: Message) -> None:
        self.ruleset.on_message(message)

    def policy(self, action: Any) -> None:
        rule = ActiveRule(action=action, src=RuleSide(ip_sets=("n1",)))
        self.say(PolicyUpdate(key=self.KEY, tier="t", ingress=(rule,), egress=()))

    def affected(self) -> Affected:
        return self.ruleset.take_affected()


ANYBODY, SOMEBODY = addr_bytes("198.51.100.7"), addr_bytes("192.0.2.1")


def test_a_policy_of_a_host_endpoint_concerns_every_flow() -> None:
    world = HostWorld()
    assert not world.affected()
    world.policy("deny")
    affected = world.affected()
    assert affected.concerns(ANYBODY, SOMEBODY)
    assert affected.concerns(SOMEBODY, ANYBODY)
    assert affected.lookups(10) is None


def test_members_of_a_set_of_a_host_endpoint_concern_the_flows_that_have_them() -> None:
    world = HostWorld()
    gone = addr_bytes("10.0.0.1")
    world.say(IPSetDelta(id="n1", added=frozenset(), removed=frozenset({gone + b"\x20"})))
    affected = world.affected()
    assert affected.concerns(gone, SOMEBODY)
    assert affected.concerns(SOMEBODY, gone)
    assert not affected.concerns(ANYBODY, SOMEBODY)
    assert affected.lookups(10) == {("source", gone), ("destination", gone)}


@pytest.mark.parametrize("stage", ["pre_dnat_tiers", "untracked_tiers"])
def test_what_is_judged_before_translation_is_not_known_by_the_ends_of_a_flow(stage: str) -> None:
    world = HostWorld(stage)
    world.say(IPSetDelta(id="n1", added=frozenset(), removed=frozenset(MEMBERS[:1])))
    assert world.affected().concerns(ANYBODY, SOMEBODY)


def test_an_interface_that_becomes_a_host_endpoint_concerns_every_flow() -> None:
    world = HostWorld()
    world.ruleset.on_host_interface("eth1", frozenset({ANYBODY}))
    assert not world.affected()
    world.say(HostEndpointUpdate(name="i", key=ResourceKey("HostEndpoint", "", "i"), expected_ips=(ANYBODY,)))
    assert world.affected().concerns(LOCAL_ONE, ANYBODY)


def test_a_host_endpoint_of_all_interfaces_that_comes_concerns_every_flow() -> None:
    world = HostWorld()
    world.say(HostEndpointUpdate(name="i", key=ResourceKey("HostEndpoint", "", "i"), interface="*"))
    assert world.affected().concerns(LOCAL_ONE, ANYBODY)
    assert not world.affected()


def test_when_the_kernel_may_have_had_any_rules_host_endpoints_concern_every_flow() -> None:
    world = HostWorld()
    world.ruleset.affect_everything()
    affected = world.affected()
    assert affected.concerns(ANYBODY, SOMEBODY)
    assert affected.changed
    without = World()
    without.say(endpoint_of(1, True, (), ("x",)))
    without.ruleset.affect_everything()
    assert not without.ruleset.take_affected().concerns(ANYBODY, SOMEBODY)


LOCAL_ONE = addr_bytes("10.0.0.1")


def test_at_first_anything_may_be_decided_otherwise_even_where_no_endpoint_is() -> None:
    ruleset = Ruleset(TableState(), RulesConfig())
    first, then = ruleset.take_affected(), ruleset.take_affected()
    assert (bool(first), first.changed, bool(then), then.changed) == (False, True, False, False)


def test_a_host_endpoint_without_policy_that_comes_or_goes_is_a_change() -> None:
    ruleset = Ruleset(TableState(), RulesConfig())
    ruleset.on_host_interface("eth0", frozenset({SOMEBODY}))
    ruleset.take_affected()
    ruleset.on_message(HostEndpointUpdate(name="h", key=ResourceKey("HostEndpoint", "", "h"), interface="eth0"))
    assert ruleset.take_affected().changed
    ruleset.on_message(HostEndpointRemove(name="h"))
    assert ruleset.take_affected().changed


def world_of_one(*rules: ActiveRule, keys: Any = POLICIES[:1], kind: Any = "policy") -> World:
    """Workload 1 whose ingress policies all have these rules; the change that they make is taken."""
    world = World()
    world.say(("n1", frozenset({net("10.0.0.9")})))
    for key in keys:
        world.say(PolicyUpdate(key=key, tier="t", kind=kind, ingress=rules, egress=()))
    tiers = (TierPolicies(name="t", default_action="deny", ingress=tuple(keys)),)
    world.say(endpoint_of(1, True, tiers, ("x",)))
    world.ruleset.take_affected()
    return world


FROM_N1 = RuleSide(ip_sets=("n1",))
NINE, TEN = net("10.0.0.9"), net("10.0.0.10")
OWN = addr_bytes("10.0.0.1")


def test_a_set_that_is_said_again_changes_nothing() -> None:
    world = world_of_one(ActiveRule(action="allow", src=FROM_N1))
    world.say(IPSetUpdate(id="n1", kind="nets", members=frozenset({NINE})))
    affected = world.ruleset.take_affected()
    assert (bool(affected), affected.changed) == (False, False)


def test_a_member_more_of_what_is_allowed_concerns_no_flow_but_is_a_change() -> None:
    world = world_of_one(ActiveRule(action="allow", src=FROM_N1))
    world.say(("n1", frozenset({NINE, TEN})))
    affected = world.ruleset.take_affected()
    assert (bool(affected), affected.changed) == (False, True)
    world.say(("n1", frozenset({TEN})))
    affected = world.ruleset.take_affected()
    assert affected.concerns(NINE[:-1], OWN)
    assert not affected.concerns(TEN[:-1], OWN)


def test_a_set_that_nothing_uses_is_no_change() -> None:
    world = world_of_one(ActiveRule(action="allow"))
    world.say(("n1", frozenset({TEN})))
    affected = world.ruleset.take_affected()
    assert (bool(affected), affected.changed) == (False, False)


def test_members_of_a_set_that_many_policies_use_are_still_told_apart() -> None:
    keys = [ResourceKey("NetworkPolicy", "ns", f"many{n}") for n in range(9)]
    world = world_of_one(ActiveRule(action="allow", src=FROM_N1), keys=keys)
    world.say(("n1", frozenset()))
    affected = world.ruleset.take_affected()
    assert affected.concerns(NINE[:-1], OWN)
    assert not affected.concerns(TEN[:-1], OWN)


def test_the_first_network_of_a_set_concerns_the_flows_from_it_only() -> None:
    world = world_of_one(ActiveRule(action="deny", src=FROM_N1))
    world.say(("n1", frozenset({NINE, net("10.9.0.0/16")})))
    affected = world.ruleset.take_affected()
    assert affected.concerns(addr_bytes("10.9.1.1"), OWN)
    assert not affected.concerns(TEN[:-1], OWN)


def test_rules_that_stay_too_large_are_no_change_of_all_flows_and_those_that_fit_again_are() -> None:
    both = RuleSide(ip_sets=tuple(f"n{number}" for number in range(10, 16)))
    wide, narrow = frozenset({net("10.9.0.0/24"), net("10.0.0.1")}), frozenset({net("10.0.0.1")})
    world = World()
    for name in both.ip_sets:
        world.say((name, wide))
    world.say(
        PolicyUpdate(key=POLICIES[0], tier="t", ingress=(ActiveRule(action="deny", src=both, dst=both),), egress=())
    )
    world.say(endpoint_of(1, True, (TierPolicies(name="t", default_action="deny", ingress=(POLICIES[0],)),), ()))
    world.ruleset.take_affected()
    world.say((both.ip_sets[0], frozenset({*wide, TEN})))
    assert not world.ruleset.take_affected().concerns(addr_bytes("10.5.5.5"), OWN)
    first, second = both.ip_sets[:2]
    for name, members, all_flows in (
        (first, narrow, True),
        (first, wide, True),
        (first, narrow, True),
        (second, narrow, False),
        (second, wide, False),
    ):
        world.say((name, members))
        assert world.ruleset.take_affected().concerns(addr_bytes("10.5.5.5"), OWN) == all_flows


def test_what_a_staged_policy_would_decide_concerns_no_flow() -> None:
    world = world_of_one(ActiveRule(action="deny", src=FROM_N1), kind="staged")
    world.say(("n1", frozenset({TEN})))
    assert not world.ruleset.take_affected()
    world.say(PolicyUpdate(key=POLICIES[0], tier="t", kind="staged", ingress=(ActiveRule(action="deny"),), egress=()))
    affected = world.ruleset.take_affected()
    assert (bool(affected), affected.changed) == (False, False)


def test_an_endpoint_that_came_and_went_concerns_no_flow() -> None:
    world = World()
    world.ruleset.take_affected()
    world.say(endpoint_of(1, True, (), ("x",)))
    world.say(EndpointRemove(id=EndpointId("k8s", "ns/w1", "eth0")))
    assert not world.ruleset.take_affected()


def test_a_network_of_an_endpoint_is_no_address_of_it() -> None:
    world = World()
    world.say(msgspec.structs.replace(endpoint_of(1, True, (), ("x",)), nets=(net("10.0.0.1"), net("10.7.0.0/24"))))
    affected = world.ruleset.take_affected()
    assert affected.touches([addr_bytes("10.0.0.1")])
    assert not affected.touches([addr_bytes("10.7.0.0")])
