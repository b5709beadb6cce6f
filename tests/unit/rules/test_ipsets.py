"""Sets of the calculation as kernel sets: exact addresses hashed, networks apart, sizes ahead of what is in them."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from calico.calc.messages import ActiveRule, IPSetDelta, IPSetRemove, IPSetUpdate, PolicyUpdate, RuleSide, TierPolicies
from calico.lib.packed import addr_bytes, addr_port, net, net_of_host
from calico.model.keys import ResourceKey
from calico.rules.ipsets import IPSets
from calico.rules.table import TableState
from retained import retained

KEY = ResourceKey("NetworkPolicy", "ns", "a")


def nets(*texts: str) -> frozenset[bytes]:
    return frozenset(map(net, texts))


def hosts(first: int, last: int) -> frozenset[bytes]:
    return frozenset(net_of_host(number.to_bytes(4, "big")) for number in range(first, last))


def update(*texts: str, name: str = "s") -> IPSetUpdate:
    return IPSetUpdate(id=name, kind="nets", members=nets(*texts))


def content(state: TableState) -> dict[str, set[bytes]]:
    return {name: set(state.elements(name)) for name in state.sets}


def test_exact_addresses_of_each_family_are_in_its_hash_and_there_is_no_interval_set() -> None:
    state = TableState()
    IPSets(state).replace(update("10.0.0.1", "fd00::1"))
    assert content(state) == {"h4-s": {addr_bytes("10.0.0.1")}, "h6-s": {addr_bytes("fd00::1")}}


def test_an_interval_set_exists_while_there_is_a_network_and_that_is_told() -> None:
    state = TableState()
    sets = IPSets(state)
    assert sets.replace(update("10.0.0.1"))
    assert not sets.change(IPSetDelta(id="s", added=nets("10.0.0.2"), removed=nets()))
    assert sets.change(IPSetDelta(id="s", added=nets("10.1.0.0/16"), removed=nets()))
    assert sets.address_parts("s", False) == ("h4-s", "n4-s")
    assert sets.address_parts("s", True) == ("h6-s",)
    assert state.sets["n4-s"].interval
    assert sets.change(IPSetDelta(id="s", added=nets(), removed=nets("10.1.0.0/16")))
    assert "n4-s" not in state.sets


def test_what_a_network_contains_is_not_shown_until_the_network_goes() -> None:
    state = TableState()
    sets = IPSets(state)
    sets.replace(update("10.0.0.1", "10.0.1.0/24", "10.9.9.9"))
    sets.change(IPSetDelta(id="s", added=nets("10.0.0.0/16"), removed=nets()))
    assert content(state)["h4-s"] == {addr_bytes("10.9.9.9")}
    assert content(state)["n4-s"] == {net("10.0.0.0/16")}
    sets.change(IPSetDelta(id="s", added=nets(), removed=nets("10.0.0.0/16")))
    assert content(state)["h4-s"] == {addr_bytes("10.9.9.9"), addr_bytes("10.0.0.1")}
    assert content(state)["n4-s"] == {net("10.0.1.0/24")}


def test_a_ports_set_is_keyed_by_address_protocol_and_port_each_padded() -> None:
    state = TableState()
    member = addr_port(addr_bytes("10.0.0.1"), 6, 80)
    IPSets(state).replace(IPSetUpdate(id="p", kind="ports", members=frozenset({member})))
    assert content(state)["hp4-p"] == {bytes((10, 0, 0, 1, 6, 0, 0, 0, 0, 80, 0, 0))}
    assert state.sets["hp4-p"].key == ("ipv4_addr", "inet_proto", "inet_service")


def test_a_set_is_declared_larger_before_it_is_full_counting_what_is_being_removed() -> None:
    state = TableState()
    sets = IPSets(state)
    sets.replace(IPSetUpdate(id="s", kind="nets", members=hosts(0, 32)))
    assert state.sets["h4-s"].size == 64
    state.take()
    sets.change(IPSetDelta(id="s", added=hosts(32, 48), removed=frozenset()))
    assert state.sets["h4-s"].size == 64
    state.take()
    sets.change(IPSetDelta(id="s", added=hosts(100, 148), removed=hosts(0, 48)))
    assert len(state.elements("h4-s")) == 48
    assert state.sets["h4-s"].size >= 96


def test_a_replaced_set_changes_only_the_members_that_differ() -> None:
    state = TableState()
    sets = IPSets(state)
    sets.replace(update("10.0.0.1", "10.0.0.2"))
    state.take()
    sets.replace(update("10.0.0.2", "10.0.0.3"))
    changes = state.take()
    assert changes.elements == {"h4-s": {addr_bytes("10.0.0.1"), addr_bytes("10.0.0.3")}}
    assert not changes.sets


def test_a_removed_set_leaves_nothing_behind() -> None:
    state = TableState()
    sets = IPSets(state)
    sets.replace(update("10.0.0.1", "10.1.0.0/16", "fd00::/64"))
    sets.remove("s")
    assert not state.sets
    assert sets.address_parts("s", False) == ()


def test_a_policy_is_rendered_again_when_its_set_gets_or_loses_its_networks(host: Any) -> None:
    allow = ActiveRule(action="allow", src=RuleSide(ip_sets=("s",)))
    host.say(update("10.9.0.1"), PolicyUpdate(key=KEY, tier="t", ingress=(allow,), egress=()))
    host.workload(1, TierPolicies(name="t", default_action="deny", ingress=(KEY,)))
    assert len(host.state.chains["pi-np/ns/a"].rules) == 2
    inside = host.flow("10.8.0.1", "10.0.0.1")
    assert not host.forwards("eth0", "cali1", inside)
    host.say(IPSetDelta(id="s", added=nets("10.8.0.0/16"), removed=nets()))
    assert len(host.state.chains["pi-np/ns/a"].rules) == 3
    assert host.forwards("eth0", "cali1", inside)
    host.say(IPSetDelta(id="s", added=nets(), removed=nets("10.8.0.0/16")))
    assert not host.forwards("eth0", "cali1", inside)
    assert len(host.state.chains["pi-np/ns/a"].rules) == 2


def test_a_member_of_a_set_is_one_element_and_no_rule(host: Any) -> None:
    allow = ActiveRule(action="allow", src=RuleSide(ip_sets=("s",)))
    host.say(update("10.9.0.1"), PolicyUpdate(key=KEY, tier="t", ingress=(allow,), egress=()))
    host.workload(1, TierPolicies(name="t", default_action="deny", ingress=(KEY,)))
    host.state.take()
    host.say(IPSetDelta(id="s", added=nets("10.9.0.2"), removed=nets()))
    changes = host.state.take()
    assert changes.elements == {"h4-s": {addr_bytes("10.9.0.2")}}
    assert (changes.chains, changes.sets) == (set(), set())


def test_a_rule_that_names_a_set_nobody_announced_matches_nothing(host: Any) -> None:
    allow = ActiveRule(action="allow", src=RuleSide(ip_sets=("s",)))
    host.say(PolicyUpdate(key=KEY, tier="t", ingress=(allow,), egress=()))
    host.workload(1, TierPolicies(name="t", default_action="deny", ingress=(KEY,)))
    packet = host.flow("10.9.0.1", "10.0.0.1")
    assert not host.forwards("eth0", "cali1", packet)
    host.say(update("10.9.0.1"))
    assert host.forwards("eth0", "cali1", packet)
    host.say(IPSetRemove(id="s"))
    assert not host.forwards("eth0", "cali1", packet)


small_nets = st.builds(
    lambda value, length: net(f"10.0.{value >> 8}.{value & 255}/{length}"),
    st.integers(0, 1023),
    st.sampled_from([8, 22, 24, 29, 30, 31, 32, 32]),
)


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), small_nets), max_size=40))
def test_any_history_leaves_the_kernel_sets_that_the_members_alone_would_give(
    history: list[tuple[bool, bytes]],
) -> None:
    state, fresh = TableState(), TableState()
    sets = IPSets(state)
    members: set[bytes] = set()
    sets.replace(update())
    for add, one in history:
        added, removed = ({one} - members, set()) if add else (set(), {one} & members)
        members = (members | added) - removed
        sets.change(IPSetDelta(id="s", added=frozenset(added), removed=frozenset(removed)))
    IPSets(fresh).replace(IPSetUpdate(id="s", kind="nets", members=frozenset(members)))
    assert content(state) == content(fresh)


def test_parts_are_told_of_the_kind_that_a_set_has_and_of_no_set_that_is_not_there() -> None:
    sets = IPSets(TableState())
    sets.replace(update("10.0.0.1", name="n"))
    sets.replace(IPSetUpdate(id="p", kind="ports", members=frozenset()))
    for v6, family in ((False, "4"), (True, "6")):
        assert sets.address_parts("n", v6) == (f"h{family}-n",)
        assert sets.port_parts("p", v6) == (f"hp{family}-p",)
        for parts in (sets.address_parts, sets.port_parts):
            assert parts("never", v6) == ()
        assert (sets.port_parts("n", v6), sets.address_parts("p", v6)) == ((), ())


def test_a_set_may_come_back_as_another_kind() -> None:
    state = TableState()
    sets = IPSets(state)
    sets.replace(update("10.0.0.1"))
    member = addr_port(addr_bytes("10.0.0.1"), 6, 80)
    assert sets.replace(IPSetUpdate(id="s", kind="ports", members=frozenset({member})))
    assert set(state.sets) == {"hp4-s", "hp6-s"}
    assert len(state.elements("hp4-s")) == 1


def test_a_change_of_a_set_that_is_not_there_changes_nothing() -> None:
    state = TableState()
    assert not IPSets(state).change(IPSetDelta(id="never", added=nets("10.0.0.1"), removed=nets()))
    assert not state.sets


def test_a_set_of_ports_is_declared_larger_before_it_is_full() -> None:
    state = TableState()
    sets = IPSets(state)
    sets.replace(IPSetUpdate(id="p", kind="ports", members=frozenset()))
    members = frozenset(addr_port(addr_bytes("10.0.0.1"), 6, number) for number in range(100))
    sets.change(IPSetDelta(id="p", added=members, removed=frozenset()))
    assert state.sets["hp4-p"].size >= 128
    assert len(state.elements("hp4-p")) == 100


def port_update(*members: bytes) -> IPSetUpdate:
    return IPSetUpdate(id="p", kind="ports", members=frozenset(members))


def test_a_ports_set_has_the_members_that_it_was_told_and_keeps_nothing_of_the_others() -> None:
    one, two = (addr_port(addr_bytes("10.0.0.1"), number, 0x1234) for number in (6, 17))
    six, more = (addr_port(addr_bytes("fd00::1"), 132, port) for port in (80, 0xFF01))
    state = TableState()
    sets = IPSets(state)
    assert sets.members("p") == set()
    for said in ((one, six), (two, six, more), (), (one, two, more)):
        sets.replace(port_update(*said))
        assert sets.members("p") == set(said)
        fresh = TableState()
        IPSets(fresh).replace(port_update(*said))
        assert content(state) == content(fresh)
    sets.change(IPSetDelta(id="p", added=frozenset({six}), removed=frozenset({one, more})))
    assert sets.members("p") == {two, six}
    sets.remove("p")
    assert sets.members("p") == set()
    assert not state.sets


def test_a_set_of_networks_has_its_members_whatever_the_kernel_is_shown() -> None:
    sets = IPSets(TableState())
    said = nets("10.0.0.0/8", "10.0.0.1", "fd00::/64", "fd00::1")
    sets.replace(IPSetUpdate(id="s", kind="nets", members=said))
    assert sets.members("s") == said


def test_a_set_that_is_removed_is_forgotten() -> None:
    state = TableState()
    sets = IPSets(state)
    sets.replace(update("10.0.0.1", "10.1.0.0/16", "fd00::/64"))
    sets.replace(port_update(addr_port(addr_bytes("10.0.0.1"), 6, 80)))
    for name in ("s", "p"):
        sets.remove(name)
    state.take()
    assert retained(sets) == retained(IPSets(TableState()))
