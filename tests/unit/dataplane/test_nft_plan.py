"""Plans are pure: which requests, in which order, for which change."""

import errno

from calico.dataplane.nft.mirror import Mirror
from calico.dataplane.nft.plan import Plan, make_plan, may_drop
from calico.dataplane.nft.refusal import Exclusions
from calico.netlink.nftables import uapi
from calico.netlink.nftables.codec import TableCodec
from calico.netlink.nftables.expr import CountIn, Lookup, Meta, Nat, Payload, Rule, Verdict
from calico.netlink.nftables.objects import Chain, Hook, SetDecl, Table
from calico.netlink.socket import Failure
from calico.rules.table import Changes, TableState

CODEC = TableCodec(Table("felix"))
KINDS = {getattr(uapi, name): name for name in dir(uapi) if name.startswith(("NEW", "DEL"))}


def jump(chain: str) -> Rule:
    return Rule((Verdict("jump", chain),))


def ifname(name: str) -> bytes:
    return name.encode().ljust(16, b"\0")


class Kept:
    """A state and the mirror of a kernel that carries out every plan."""

    def __init__(self) -> None:
        self.state = TableState()
        self.mirror = Mirror()

    def plan(self, exclusions: Exclusions | None = None) -> Plan:
        return make_plan(CODEC, self.state, self.mirror, self.state.take(), exclusions or Exclusions())

    def carry_out(self) -> Plan:
        plan = self.plan()
        plan.commit(self.mirror)
        return plan


def kinds(plan: Plan) -> list[tuple[str, str]]:
    return [(KINDS[request[0]], owner[1]) for request, owner in zip(plan.requests, plan.owners, strict=True)]


def policy() -> Kept:
    table = Kept()
    table.state.want_chain(Chain("fwd", (Rule((Meta("iifname"), Lookup("from", verdict=True))),), Hook("forward", 0)))
    table.state.want_chain(Chain("gi", (jump("pi"),)))
    table.state.want_chain(Chain("pi", (Rule((Lookup("h4"), Verdict("accept"))),)))
    table.state.want_set(SetDecl("h4", ("ipv4_addr",), size=16))
    table.state.want_set(SetDecl("from", ("ifname",), "verdict", size=16))
    table.state.want_element("h4", b"1234")
    table.state.want_element("from", ifname("cali1"), Verdict("goto", "gi"))
    return table


def test_nothing_refers_to_what_is_not_there_yet() -> None:
    assert kinds(policy().plan()) == [
        ("NEWSET", "from"),
        ("NEWSET", "h4"),
        ("NEWCHAIN", "fwd"),
        ("NEWCHAIN", "gi"),
        ("NEWCHAIN", "pi"),
        ("NEWSETELEM", "from"),
        ("NEWSETELEM", "h4"),
        ("NEWRULE", "fwd"),
        ("NEWRULE", "gi"),
        ("NEWRULE", "pi"),
    ]


def test_nothing_leaves_while_it_is_referred_to() -> None:
    table = policy()
    table.carry_out()
    for name in ("fwd", "gi", "pi"):
        table.state.unwant_chain(name)
    for name in ("h4", "from"):
        table.state.unwant_set(name)
    assert kinds(table.plan()) == [
        ("DELRULE", "fwd"),
        ("DELRULE", "gi"),
        ("DELRULE", "pi"),
        ("DELSETELEM", "from"),
        ("DELSET", "from"),
        ("DELSET", "h4"),
        ("DELCHAIN", "fwd"),
        ("DELCHAIN", "gi"),
        ("DELCHAIN", "pi"),
    ]


def floating() -> Kept:
    table = Kept()
    nat = (Payload("network", 16, 4), Lookup("dnat", dst=0), Nat("dnat", 4, 0))
    table.state.want_chain(Chain("nat", (Rule(nat),), Hook("prerouting", -100, type="nat")))
    table.state.want_set(SetDecl("dnat", ("ipv4_addr",), "ipv4_addr", size=16))
    table.state.want_element("dnat", b"1234", b"5678")
    table.carry_out()
    return table


def test_a_map_of_data_refers_to_no_chain_and_is_deleted_with_its_elements() -> None:
    table = floating()
    table.state.unwant_chain("nat")
    table.state.unwant_set("dnat")
    assert kinds(table.plan()) == [("DELRULE", "nat"), ("DELSET", "dnat"), ("DELCHAIN", "nat")]


def test_only_a_value_that_changed_leaves_and_enters_a_map() -> None:
    table = floating()
    table.state.want_element("dnat", b"1235", b"5678")
    table.state.want_element("dnat", b"1234", b"5678")
    assert kinds(table.carry_out()) == [("NEWSETELEM", "dnat")]
    table.state.want_element("dnat", b"1234", b"9999")
    assert kinds(table.carry_out()) == [("DELSETELEM", "dnat"), ("NEWSETELEM", "dnat")]
    assert table.mirror.elements["dnat"] == {b"1234": b"9999", b"1235": b"5678"}


def test_a_larger_map_takes_its_values_and_its_users_along() -> None:
    table = floating()
    table.state.want_set(SetDecl("dnat", ("ipv4_addr",), "ipv4_addr", size=64))
    assert kinds(table.carry_out()) == [
        ("NEWSET", "dnat"),
        ("NEWSETELEM", "dnat"),
        ("DELRULE", "nat"),
        ("NEWRULE", "nat"),
        ("DELSET", "dnat"),
    ]
    assert table.mirror.elements["dnat"] == {b"1234": b"5678"}


def test_a_plan_that_was_carried_out_is_empty_the_next_time() -> None:
    table = policy()
    table.carry_out()
    everything = Changes()
    everything.chains.update(table.state.chains)
    everything.sets.update(table.state.sets)
    assert make_plan(CODEC, table.state, table.mirror, everything, Exclusions()).requests == []


def test_a_changed_policy_rewrites_its_own_chain_only() -> None:
    table = policy()
    table.carry_out()
    table.state.want_chain(Chain("pi", (Rule((Verdict("drop"),)),)))
    assert kinds(table.plan()) == [("DELRULE", "pi"), ("NEWRULE", "pi")]


def test_a_comment_alone_rewrites_the_chain() -> None:
    table = policy()
    table.carry_out()
    table.state.want_chain(Chain("gi", (Rule((Verdict("jump", "pi"),), "why"),)))
    assert kinds(table.plan()) == [("DELRULE", "gi"), ("NEWRULE", "gi")]


def test_a_changed_verdict_takes_the_element_out_before_it_puts_it_in() -> None:
    table = policy()
    table.carry_out()
    table.state.want_element("from", ifname("cali1"), Verdict("drop"))
    assert kinds(table.plan()) == [("DELSETELEM", "from"), ("NEWSETELEM", "from")]


def test_a_base_chains_policy_is_changed_in_place_and_its_hook_by_another_chain() -> None:
    table = policy()
    table.carry_out()
    rules = table.state.chains["fwd"].rules
    table.state.want_chain(Chain("fwd", rules, Hook("forward", 0, "drop")))
    assert kinds(table.carry_out()) == [("NEWCHAIN", "fwd")]
    table.state.want_chain(Chain("fwd", rules, Hook("forward", 5, "drop")))
    assert kinds(table.carry_out()) == [
        ("DELRULE", "fwd"),
        ("DELCHAIN", "fwd"),
        ("NEWCHAIN", "fwd"),
        ("NEWRULE", "fwd"),
    ]


def test_a_larger_set_takes_the_place_of_the_old_one_in_the_chains_that_look_it_up() -> None:
    table = policy()
    table.carry_out()
    table.state.want_set(SetDecl("h4", ("ipv4_addr",), size=64))
    plan = table.carry_out()
    assert kinds(plan) == [
        ("NEWSET", "h4"),
        ("NEWSETELEM", "h4"),
        ("DELRULE", "pi"),
        ("NEWRULE", "pi"),
        ("DELSET", "h4"),
    ]
    assert table.mirror.renamed == {"h4": "h4.1"}
    table.state.want_set(SetDecl("h4", ("ipv4_addr",), size=128))
    table.carry_out()
    assert table.mirror.renamed == {}


def test_the_work_of_a_member_does_not_grow_with_the_table() -> None:
    table = policy()
    for number in range(500):
        table.state.want_chain(Chain(f"pi-{number}", (Rule((Verdict("drop"),)),)))
    table.carry_out()
    table.state.want_element("h4", b"5678")
    assert kinds(table.plan()) == [("NEWSETELEM", "h4")]


def test_an_excluded_chain_is_left_as_it_is() -> None:
    table = policy()
    table.carry_out()
    table.state.want_chain(Chain("pi", ()))
    exclusions = Exclusions()
    exclusions.chains.add("pi")
    assert table.plan(exclusions).requests == []


def test_a_dropped_chain_has_one_rule() -> None:
    table = policy()
    exclusions = Exclusions()
    exclusions.dropped.add("gi")
    plan = table.plan(exclusions)
    assert kinds(plan).count(("NEWRULE", "gi")) == 1
    assert plan.chains["gi"] is not None
    assert plan.chains["gi"].sets == frozenset()


def test_single_elements_go_one_to_a_message() -> None:
    table = policy()
    for number in range(5):
        table.state.want_element("h4", bytes((10, 0, 0, number)))
    exclusions = Exclusions()
    exclusions.single.add("h4")
    assert kinds(table.plan(exclusions)).count(("NEWSETELEM", "h4")) == 6


def test_drop_may_stand_for_any_chain_but_the_hosts_own() -> None:
    assert may_drop(Chain("pi"))
    assert may_drop(Chain("fwd", hook=Hook("forward", 0)))
    assert not may_drop(Chain("input", hook=Hook("input", 0)))
    assert not may_drop(Chain("raw", hook=Hook("prerouting", -300)))
    assert not may_drop(None)


def counting() -> Kept:
    table = Kept()
    table.state.want_counter("c")
    table.state.want_chain(Chain("pi", (Rule((CountIn("c"), Verdict("drop"))),)))
    return table


def test_a_counter_is_there_before_the_rules_that_count_in_it_and_is_not_made_anew_with_them() -> None:
    table = counting()
    assert kinds(table.carry_out()) == [("NEWOBJ", "c"), ("NEWCHAIN", "pi"), ("NEWRULE", "pi")]
    table.state.want_chain(Chain("pi", (Rule((Meta("mark"), CountIn("c"), Verdict("drop"))),)))
    assert kinds(table.carry_out()) == [("DELRULE", "pi"), ("NEWRULE", "pi")]


def test_a_counter_that_nobody_wants_goes_after_all_else() -> None:
    table = counting()
    table.mirror.counters.add("of-another-version")
    plan = make_plan(CODEC, table.state, table.mirror, everything(table), Exclusions())
    assert kinds(plan)[-1] == ("DELOBJ", "of-another-version")
    plan.commit(table.mirror)
    assert table.mirror.counters == {"c"}


def test_where_a_counter_is_refused_the_rules_decide_without_counting() -> None:
    table = counting()
    exclusions = Exclusions()
    failure = (("counter", "c", ()), Failure(1, errno.EOPNOTSUPP))
    assert exclusions.blame([failure, (("rules", "pi", ()), Failure(2, errno.ENOENT))], lambda _: True)
    plan = table.plan(exclusions)
    assert kinds(plan) == [("NEWCHAIN", "pi"), ("NEWRULE", "pi")]
    assert b"objref" not in plan.requests[-1][2]
    assert [(item.kind, item.name) for item in exclusions.report()] == [("counter", "c")]


def everything(table: Kept) -> Changes:
    """As after reading the kernel's table back."""
    dirty = table.state.take()
    dirty.counters.update(table.mirror.counters, table.state.counters)
    return dirty
