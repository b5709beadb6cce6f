"""Maps of data, translations, and base chains that come and go: with the real kernel and the fake one alike."""

import errno

import pytest

from calico.dataplane.nft.table import ApplyResult
from calico.netlink.nftables import uapi
from calico.netlink.nftables.codec import TableCodec, encode_rules
from calico.netlink.nftables.element_codec import element_chunks
from calico.netlink.nftables.expr import (
    ConnLimit,
    Counter,
    CountIn,
    Expr,
    Fib,
    Immediate,
    Limit,
    Lookup,
    Masquerade,
    Meta,
    Nat,
    Notrack,
    Payload,
    PayloadSet,
    Reject,
    Rule,
    Verdict,
)
from calico.netlink.nftables.objects import Chain, Hook, SetDecl, Table
from calico.netlink.nftables.set_codec import encode_set
from calico.rules.table import TableState

ACCEPT, DROP = Verdict("accept"), Verdict("drop")
FELIX = Table("felix")
CODEC = TableCodec(FELIX)
NAT_PRE, NAT_POST = Hook("prerouting", -100, type="nat"), Hook("postrouting", 100, type="nat")
NAT_OUT, NAT_IN = Hook("output", -100, type="nat"), Hook("input", 100, type="nat")
FORWARD = Hook("forward", 0)
DNAT = SetDecl("dnat", ("ipv4_addr",), "ipv4_addr", size=16)
TRANSLATE = (Payload("network", 16, 4), Lookup("dnat", dst=0), Nat("dnat", 4, 0))
TO_CONSTANT = (Immediate(b"1234"), Nat("dnat", 4, 0))
FROM_CONSTANT = (Immediate(b"1234"), Nat("snat", 4, 0))


def rules(*rules_of_exprs: tuple[Expr, ...]) -> tuple[Rule, ...]:
    return tuple(Rule(exprs) for exprs in rules_of_exprs)


def addr(number: int) -> bytes:
    return bytes((10, 0, number >> 8, number & 255))


def floating_state(*pairs: tuple[int, int]) -> TableState:
    """A filter chain that is always there, and floating addresses translated by a map."""
    state = TableState()
    state.want_chain(Chain("fwd", rules((ACCEPT,)), FORWARD))
    state.want_set(DNAT)
    for key, value in pairs:
        state.want_element("dnat", addr(key), addr(value))
    state.want_chain(Chain("nat-prerouting", rules(TRANSLATE), NAT_PRE))
    return state


def is_quiet(result: ApplyResult) -> bool:
    return (result.changed, result.messages, result.failed) == (False, 0, ())


def refused(result: ApplyResult) -> set[tuple[str, str]]:
    return {(item.kind, item.name) for item in result.failed}


# -- maps of data ------------------------------------------------------------------------------------------------------


def test_a_pair_more_or_less_is_one_message(kernel) -> None:
    state = floating_state((1, 101))
    dataplane = kernel.dataplane(state)
    assert dataplane.apply().failed == ()
    kernel.agrees(state)
    state.want_element("dnat", addr(2), addr(102))
    assert dataplane.apply().messages == 1
    kernel.agrees(state)
    state.unwant_element("dnat", addr(1))
    assert dataplane.apply().messages == 1
    kernel.agrees(state)


def test_a_pair_changes_its_value_by_leaving_and_entering(kernel) -> None:
    state = floating_state((1, 101), (2, 102))
    dataplane = kernel.dataplane(state)
    dataplane.apply()
    state.want_element("dnat", addr(1), addr(201))
    result = dataplane.apply()
    assert (result.messages, result.failed) == (2, ())
    kernel.agrees(state)


def test_a_full_map_changes_all_its_values_in_one_transaction(kernel) -> None:
    state = floating_state(*((number, 100 + number) for number in range(16)))
    dataplane = kernel.dataplane(state)
    assert dataplane.apply().failed == ()
    for number in range(16):
        state.want_element("dnat", addr(number), addr(200 + number))
    assert dataplane.apply().failed == ()
    kernel.agrees(state)


def test_a_map_of_data_that_outgrew_its_size_is_replaced_together_with_the_rules_that_use_it(kernel) -> None:
    state = floating_state((1, 101))
    dataplane = kernel.dataplane(state)
    dataplane.apply()
    state.want_set(SetDecl("dnat", ("ipv4_addr",), "ipv4_addr", size=64))
    for number in range(1, 40):
        state.want_element("dnat", addr(number), addr(300 + number))
    assert dataplane.apply().failed == ()
    kernel.agrees(state)
    assert kernel.content().kernel_names["dnat"] != "dnat"
    dataplane.resync()
    assert is_quiet(dataplane.apply())


def test_a_map_may_come_to_hold_something_else(kernel) -> None:
    state = floating_state((1, 101))
    dataplane = kernel.dataplane(state)
    dataplane.apply()
    state.unwant_set("dnat")
    state.want_set(SetDecl("dnat", ("ipv4_addr",), "inet_service", size=16))
    state.want_element("dnat", addr(1), b"\x1f\x90\0\0")
    ports = (Immediate(b"1234"), Payload("network", 16, 4, 4), Lookup("dnat", 4, dst=4), Nat("dnat", 4, 0, 4))
    state.want_chain(Chain("nat-prerouting", rules(ports), NAT_PRE))
    assert dataplane.apply().failed == ()
    kernel.agrees(state)


def test_a_map_of_data_becomes_a_verdict_map(kernel) -> None:
    state = floating_state((1, 101))
    dataplane = kernel.dataplane(state)
    dataplane.apply()
    state.unwant_set("dnat")
    state.want_set(SetDecl("dnat", ("ipv4_addr",), "verdict", size=16))
    state.want_element("dnat", addr(1), DROP)
    state.want_chain(Chain("nat-prerouting", rules((Payload("network", 16, 4), Lookup("dnat", verdict=True))), NAT_PRE))
    assert dataplane.apply().failed == ()
    kernel.agrees(state)


def test_a_restart_with_the_same_pairs_sends_no_object(kernel) -> None:
    dataplane = kernel.dataplane(floating_state((1, 101), (2, 102)))
    dataplane.apply()
    dataplane.close()
    again = kernel.dataplane(floating_state((1, 101), (2, 102)))
    assert is_quiet(again.apply())


def test_a_restart_with_other_pairs_sends_only_the_difference(kernel) -> None:
    dataplane = kernel.dataplane(floating_state((1, 101), (2, 102), (3, 103)))
    dataplane.apply()
    dataplane.close()
    state = floating_state((1, 101), (2, 202), (4, 104))
    result = kernel.dataplane(state).apply()
    assert (result.messages, result.failed) == (2, ())  # a message each way: out 2 and 3, in 2 and 4
    kernel.agrees(state)


def test_a_pair_that_others_changed_is_put_right_by_a_resync(kernel) -> None:
    table = Table("felix", owned=False)
    state = floating_state((1, 101))
    dataplane = kernel.dataplane(state, table)
    dataplane.apply()
    ((gone, _),) = element_chunks(DNAT, [addr(1)])
    ((put, _),) = element_chunks(DNAT, [addr(1)], {addr(1): addr(9)})
    assert kernel.write(CODEC.delete_elements("dnat", gone), CODEC.add_elements("dnat", put)) == []
    dataplane.resync()
    assert dataplane.apply().failed == ()
    kernel.agrees(state)


def test_a_value_of_a_wrong_length_does_not_stop_the_others(kernel) -> None:
    state = floating_state((1, 101))
    state.want_element("dnat", addr(2), b"12345")
    state.want_element("dnat", addr(3), DROP)
    state.want_element("dnat", addr(4), None)
    result = kernel.dataplane(state).apply()
    assert [(item.name, set(item.keys)) for item in result.failed] == [("dnat", {addr(2), addr(3), addr(4)})]
    assert kernel.content().elements["dnat"] == {addr(1): addr(101)}


def test_the_kernel_takes_only_what_a_map_is_declared_to_hold(kernel) -> None:
    verdicts, ports = SetDecl("v", ("ipv4_addr",), "verdict"), SetDecl("p", ("ipv4_addr",), "inet_service")
    plain = SetDecl("s", ("ipv4_addr",))
    assert kernel.write(CODEC.put_table(0)) == []
    for number, decl in enumerate((DNAT, verdicts, ports, plain)):
        assert kernel.write(CODEC.create_set(encode_set(decl, decl.name, number + 1))) == []
    values = {DNAT: addr(1), verdicts: DROP, ports: b"\0\x50\0\0", plain: None}
    for decl in values:
        for other, value in values.items():
            ((chunk, _),) = element_chunks(other, [addr(1)], {addr(1): value})
            assert (kernel.write(CODEC.add_elements(decl.name, chunk)) == []) == (decl == other)


# -- base chains -------------------------------------------------------------------------------------------------------

PLACES = [
    Hook("prerouting", -300),
    Hook("prerouting", -150),
    Hook("postrouting", -150),
    Hook("postrouting", -140),
    Hook("forward", -10),
    NAT_PRE,
    NAT_OUT,
    NAT_POST,
    NAT_IN,
    Hook("output", -150, type="route"),
]


@pytest.mark.parametrize("hook", PLACES)
def test_a_base_chain_comes_and_goes_at_runtime_and_nothing_else_is_touched(kernel, hook: Hook) -> None:
    state = floating_state((1, 101))
    dataplane = kernel.dataplane(state)
    dataplane.apply()
    for _ in range(2):
        state.want_chain(Chain("extra", rules((Counter(),), (ACCEPT,)), hook))
        assert dataplane.apply().messages == 3
        kernel.agrees(state)
        state.unwant_chain("extra")
        assert dataplane.apply().messages == 2
        kernel.agrees(state)
    dataplane.resync()
    assert is_quiet(dataplane.apply())


def test_a_base_chain_without_rules_comes_and_goes(kernel) -> None:
    state = floating_state((1, 101))
    dataplane = kernel.dataplane(state)
    dataplane.apply()
    state.want_chain(Chain("empty", hook=NAT_POST))
    assert dataplane.apply().messages == 1
    kernel.agrees(state)
    state.unwant_chain("empty")
    assert dataplane.apply().messages == 1
    kernel.agrees(state)


def test_a_base_chain_goes_with_the_chains_and_maps_that_it_used_in_one_transaction(kernel) -> None:
    state = floating_state((1, 101))
    state.want_set(SetDecl("by-if", ("ifname",), "verdict", size=16))
    state.want_element("by-if", b"eth0".ljust(16, b"\0"), Verdict("goto", "masq"))
    state.want_chain(Chain("masq", rules((Masquerade(),))))
    state.want_chain(Chain("nat-postrouting", rules((Meta("oifname"), Lookup("by-if", verdict=True))), NAT_POST))
    dataplane = kernel.dataplane(state)
    assert dataplane.apply().failed == ()
    kernel.agrees(state)
    for name in ("nat-postrouting", "nat-prerouting", "masq"):
        state.unwant_chain(name)
    for name in ("by-if", "dnat"):
        state.unwant_set(name)
    assert dataplane.apply().failed == ()
    kernel.agrees(state)
    assert set(kernel.content().chains) == {"fwd"}


def test_one_base_chain_leaves_as_another_takes_its_place(kernel) -> None:
    state = floating_state((1, 101))
    dataplane = kernel.dataplane(state)
    dataplane.apply()
    state.unwant_chain("nat-prerouting")
    state.want_chain(Chain("other-prerouting", rules(TRANSLATE), NAT_PRE))
    assert dataplane.apply().failed == ()
    kernel.agrees(state)


@pytest.mark.parametrize("hook", [Hook("prerouting", -150), NAT_OUT, Hook("prerouting", -90, type="nat"), None])
def test_a_translating_chain_moves_to_another_place_or_type(kernel, hook: Hook | None) -> None:
    state = floating_state((1, 101))
    dataplane = kernel.dataplane(state)
    dataplane.apply()
    state.want_chain(Chain("nat-prerouting", rules((Counter(), ACCEPT)), hook))
    assert dataplane.apply().failed == ()
    kernel.agrees(state)


def test_base_chains_that_went_while_we_were_away_are_removed_at_the_restart(kernel) -> None:
    dataplane = kernel.dataplane(floating_state((1, 101)))
    dataplane.apply()
    dataplane.close()
    state = TableState()
    state.want_chain(Chain("fwd", rules((ACCEPT,)), FORWARD))
    assert kernel.dataplane(state).apply().failed == ()
    kernel.agrees(state)


@pytest.mark.parametrize("hook", [FORWARD, NAT_POST])
def test_base_chains_that_came_while_we_were_away_are_added_at_the_restart(kernel, hook: Hook) -> None:
    dataplane = kernel.dataplane(floating_state((1, 101)))
    dataplane.apply()
    dataplane.close()
    state = floating_state((1, 101))
    state.want_chain(Chain("extra", rules((ACCEPT,)), hook))
    state.want_chain(Chain("fwd", rules((ACCEPT,)), Hook("forward", 7)))
    again = kernel.dataplane(state)
    assert again.apply().failed == ()
    assert again.owned
    kernel.agrees(state)


def test_the_transaction_that_gives_a_table_an_owner_gets_no_new_base_chain(kernel) -> None:
    dataplane = kernel.dataplane(floating_state((1, 101)))
    dataplane.apply()
    dataplane.close()
    adopt = CODEC.put_table(uapi.TABLE_F_OWNER | uapi.TABLE_F_PERSIST)
    assert [failure.errno for failure in kernel.write(adopt, CODEC.put_chain("b", FORWARD))] == [errno.EINVAL]
    assert kernel.write(CODEC.put_chain("b", FORWARD)) == []


def test_every_new_expression_is_found_again_after_a_restart(kernel) -> None:
    def state() -> TableState:
        state = floating_state((1, 101))
        state.want_chain(Chain("raw", rules((Notrack(), ACCEPT)), Hook("prerouting", -300)))
        header = (Payload("network", 0, 2), PayloadSet(0, 2, 10))
        shares = ((Limit(10, 1, over=True), DROP), (Limit(10, 1, 0), DROP), (Limit(9, 1, 0, "bytes", over=True), DROP))
        state.want_chain(Chain("limits", rules(*shares, (ConnLimit(2, over=True), DROP), header), FORWARD))
        ports = (Immediate(b"\x03\xe8"), Immediate(b"\x07\xd0", 4))
        masquerading = ((*ports, Masquerade(0, 4, random_fully=True)), (*ports, Masquerade(0)), (Masquerade(),))
        state.want_chain(Chain("nat-postrouting", rules(*masquerading, FROM_CONSTANT), NAT_POST))
        return state

    dataplane = kernel.dataplane(state())
    assert dataplane.apply().failed == ()
    dataplane.close()
    assert is_quiet(kernel.dataplane(state()).apply())


# -- refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "hook",
    [
        Hook("forward", 0, type="nat"),
        Hook("prerouting", -200, type="nat"),
        Hook("prerouting", -300, type="nat"),
        Hook("prerouting", -150, type="route"),
        Hook("forward", 0, type="route"),
        Hook("postrouting", 0, type="route"),
    ],
)
def test_a_base_chain_where_the_kernel_has_none_of_its_type_does_not_stop_the_others(kernel, hook: Hook) -> None:
    state = floating_state((1, 101))
    state.want_chain(Chain("nowhere", rules((ACCEPT,)), hook))
    assert refused(kernel.dataplane(state).apply()) == {("chain", "nowhere")}
    assert set(kernel.content().chains) == {"fwd", "nat-prerouting"}


MISPLACED = [
    (FORWARD, TO_CONSTANT),
    (FORWARD, (Masquerade(),)),
    (NAT_POST, TO_CONSTANT),
    (NAT_IN, TO_CONSTANT),
    (NAT_PRE, FROM_CONSTANT),
    (NAT_OUT, FROM_CONSTANT),
    (NAT_PRE, (Masquerade(),)),
    (NAT_IN, (Masquerade(),)),
    (Hook("postrouting", 0), (Reject("icmpx-port-unreachable"),)),
    (Hook("output", 0), (Fib("type", ("daddr", "iif")), DROP)),
    (Hook("prerouting", 0), (Fib("type", ("daddr", "oif")), DROP)),
    (Hook("postrouting", 0), (Fib("oif", ("daddr",)), DROP)),
]


@pytest.mark.parametrize(("hook", "exprs"), MISPLACED)
def test_what_has_no_meaning_in_a_base_chain_costs_only_that_chain(kernel, hook: Hook, exprs: tuple[Expr, ...]) -> None:
    state = floating_state((1, 101))
    state.want_chain(Chain("a-misplaced", rules(exprs), hook))
    state.want_chain(Chain("z-later", rules((ACCEPT,)), FORWARD))
    assert refused(kernel.dataplane(state).apply()) == {("rules", "a-misplaced")}
    content = kernel.content()
    assert content.chains.get("a-misplaced") == ([(DROP,)] if hook.hook == "forward" else None)
    assert content.chains["z-later"] == [(ACCEPT,)]
    assert content.chains["nat-prerouting"] == [TRANSLATE]


@pytest.mark.parametrize(
    ("hook", "exprs"),
    [
        (NAT_PRE, TO_CONSTANT),
        (NAT_OUT, TO_CONSTANT),
        (NAT_POST, FROM_CONSTANT),
        (NAT_IN, FROM_CONSTANT),
        (NAT_POST, (Masquerade(),)),
        (FORWARD, (Notrack(),)),
        (FORWARD, (Fib("type", ("daddr",)), DROP)),
        (FORWARD, (Fib("type", ("saddr", "iif")), DROP)),
        (Hook("output", 0), (Fib("type", ("daddr", "oif")), DROP)),
        (Hook("prerouting", 0), (Fib("oif", ("saddr", "iif")), DROP)),
        (Hook("prerouting", -300), (ConnLimit(1), DROP)),
        (Hook("prerouting", 0), (Reject("icmpx-port-unreachable"),)),
    ],
)
def test_what_has_a_meaning_in_a_base_chain_is_accepted(kernel, hook: Hook, exprs: tuple[Expr, ...]) -> None:
    state = floating_state((1, 101))
    state.want_chain(Chain("placed", rules(exprs), hook))
    assert kernel.dataplane(state).apply().failed == ()
    kernel.agrees(state)


def test_what_a_chain_leads_to_counts_where_it_comes_from(kernel) -> None:
    state = floating_state((1, 101))
    state.want_chain(Chain("to-it", rules(TO_CONSTANT)))
    state.want_chain(Chain("nat-output", rules((Verdict("jump", "to-it"),)), NAT_OUT))
    dataplane = kernel.dataplane(state)
    assert dataplane.apply().failed == ()
    state.want_chain(Chain("wrong", rules((Verdict("jump", "to-it"),)), FORWARD))
    assert refused(dataplane.apply()) == {("rules", "wrong")}
    assert kernel.content().chains["nat-output"] == [(Verdict("jump", "to-it"),)]
    assert kernel.content().chains["wrong"] == [(DROP,)]


def test_a_look_up_that_does_not_fit_its_set_is_refused(kernel) -> None:
    sets = {
        "s": SetDecl("s", ("ipv4_addr",)),
        "v": SetDecl("v", ("ipv4_addr",), "verdict"),
        "d": SetDecl("d", ("ipv4_addr",), "ipv4_addr"),
    }
    assert kernel.write(CODEC.put_table(0), CODEC.put_chain("c", None)) == []
    for number, decl in enumerate(sets.values()):
        assert kernel.write(CODEC.create_set(encode_set(decl, decl.name, number + 1))) == []
    fitting = {("s", False, None, False), ("s", False, None, True), ("v", True, None, False), ("d", False, 0, False)}
    for name in sets:
        for verdict in (False, True):
            for dst in (None,) if verdict else (None, 0):
                for inverted in (False, True):
                    if name != "s" and not verdict and dst is None:
                        continue  # a map looked up as a set: kernels differ
                    lookup = Lookup(name, inverted=inverted, verdict=verdict, dst=dst)
                    ((body,), _) = encode_rules([Rule((Payload("network", 16, 4), lookup))], {})
                    accepted = kernel.write(CODEC.append_rule("c", body)) == []
                    assert accepted == ((name, verdict, dst, inverted) in fitting), lookup


@pytest.mark.parametrize(
    "expr",
    [
        Fib("type", ("saddr", "daddr")),
        Fib("type", ("iif",)),
        Limit(0, 1),
        Limit((1 << 64) - 1, 1),
        Limit(2 * 10**10, 1, 0, "bytes"),
    ],
)
def test_an_expression_that_makes_no_sense_is_refused(kernel, expr: Expr) -> None:
    state = floating_state((1, 101))
    state.want_chain(Chain("bad", rules((expr, ACCEPT))))
    assert refused(kernel.dataplane(state).apply()) == {("rules", "bad")}
    assert kernel.content().chains["bad"] == [(DROP,)]


@pytest.mark.parametrize(
    "expr",
    [
        Limit(1, 1, 0xFFFFFFFF),
        Limit(1, 1, 0xFFFFFFFF, "bytes"),
        Limit(14 * 10**9, 1, 0xFFFFFFFF, "bytes"),
        Limit(10**9, 1, 1, over=True),
        ConnLimit(0, over=True),
        ConnLimit(0xFFFFFFFF),
    ],
)
def test_a_large_limit_is_kept_as_it_is(kernel, expr: Expr) -> None:
    state = floating_state((1, 101))
    state.want_chain(Chain("large", rules((expr, ACCEPT))))
    dataplane = kernel.dataplane(state)
    assert dataplane.apply().failed == ()
    dataplane.resync()
    assert is_quiet(dataplane.apply())


def counting_state(*more: Expr) -> TableState:
    state = TableState()
    state.want_counter("c")
    state.want_chain(Chain("fwd", rules((*more, CountIn("c"), DROP)), FORWARD))
    return state


def test_counters_are_kept_while_rules_change_and_when_another_process_takes_over(kernel) -> None:
    first = kernel.dataplane(counting_state())
    assert first.apply().failed == ()
    kernel.agrees(counting_state())
    first.close()
    state = counting_state()
    again = kernel.dataplane(state)
    assert not again.apply().changed or again.failed == ()
    again.resync()
    assert not again.apply().changed
    changed = counting_state(Meta("mark"))
    state.want_chain(changed.chains["fwd"])
    result = again.apply()
    assert (result.failed, result.messages) == ((), 2)
    kernel.agrees(changed)


def test_what_an_older_version_counted_in_goes(kernel) -> None:
    state = counting_state()
    state.want_counter("old")
    first = kernel.dataplane(state)
    first.apply()
    first.close()
    second = kernel.dataplane(counting_state())
    assert second.apply().failed == ()
    kernel.agrees(counting_state())


def test_a_rule_cannot_count_in_what_is_not_there(kernel) -> None:
    state = TableState()
    state.want_chain(Chain("lost", rules((CountIn("nowhere"), DROP))))
    (refused,) = kernel.dataplane(state).apply().failed
    assert (refused.kind, refused.name) == ("rules", "lost")
