"""What a kept table promises, with the real kernel and the fake one alike."""

import errno
import uuid

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from calico.dataplane.nft.reading import read_generation, read_status, read_table
from calico.dataplane.nft.table import ApplyResult
from calico.errors import Transient
from calico.lib import packed
from calico.netlink import wire
from calico.netlink.nftables import uapi
from calico.netlink.nftables.codec import TableCodec, encode_batch
from calico.netlink.nftables.expr import Cmp, Counter, Expr, Lookup, Meta, Nat, Payload, Rule, Verdict
from calico.netlink.nftables.expr_codec import encode_exprs
from calico.netlink.nftables.objects import Chain, ElementValue, Hook, SetDecl, Table
from calico.rules.table import TableState

ACCEPT, DROP = Verdict("accept"), Verdict("drop")
FORWARD = Hook("forward", 0)
FELIX = Table("felix")
CODEC = TableCodec(FELIX)
H4 = SetDecl("h4", ("ipv4_addr",), size=16)
MAP = SetDecl("from", ("ifname",), "verdict", size=16)


def rules(*rules_of_exprs: tuple[Expr, ...]) -> tuple[Rule, ...]:
    return tuple(Rule(exprs) for exprs in rules_of_exprs)


def jump(chain: str) -> tuple[Expr, ...]:
    return (Verdict("jump", chain),)


def from_set(name: str) -> tuple[Expr, ...]:
    return (Meta("nfproto"), Cmp("eq", b"\x02"), Payload("network", 12, 4), Lookup(name), ACCEPT)


def ifname(name: str) -> bytes:
    return name.encode().ljust(16, b"\0")


def addr(number: int) -> bytes:
    return bytes((10, 0, number >> 8, number & 255))


def policy_state() -> TableState:
    """Two workloads, one policy list, one policy that looks a set up."""
    state = TableState()
    state.want_set(H4)
    state.want_set(MAP)
    state.want_element("h4", addr(1))
    state.want_element("from", ifname("cali1"), Verdict("goto", "gi"))
    state.want_element("from", ifname("cali2"), Verdict("goto", "gi"))
    state.want_chain(Chain("pi-a", rules(from_set("h4"))))
    state.want_chain(Chain("gi", rules(jump("pi-a"), (DROP,))))
    dispatch = ((Meta("iifname"), Lookup("from", verdict=True)), (Meta("iifname"), Cmp("eq", b"cali"), DROP))
    state.want_chain(Chain("fwd", rules(*dispatch), FORWARD))
    return state


def agrees(kernel, state: TableState, table: Table = FELIX) -> None:
    kernel.agrees(state, table)


def is_quiet(result: ApplyResult) -> bool:
    return (result.changed, result.messages, result.failed) == (False, 0, ())


def refused(result: ApplyResult) -> set[tuple[str, str]]:
    return {(item.kind, item.name) for item in result.failed}


# -- following the state -----------------------------------------------------------------------------------------------


def test_the_first_apply_brings_everything_and_the_second_sends_nothing(kernel) -> None:
    state = policy_state()
    dataplane = kernel.dataplane(state)
    first = dataplane.apply()
    assert first.changed
    assert first.failed == ()
    agrees(kernel, state)
    assert is_quiet(dataplane.apply())


def test_a_member_more_or_less_is_one_message(kernel) -> None:
    state = policy_state()
    dataplane = kernel.dataplane(state)
    dataplane.apply()
    state.want_element("h4", addr(2))
    assert dataplane.apply().messages == 1
    state.unwant_element("h4", addr(2))
    assert dataplane.apply().messages == 1
    agrees(kernel, state)


def test_an_endpoint_more_or_less_is_a_message_per_element(kernel) -> None:
    state = policy_state()
    dataplane = kernel.dataplane(state)
    dataplane.apply()
    state.want_element("from", ifname("cali3"), Verdict("goto", "gi"))
    assert dataplane.apply().messages == 1
    state.unwant_element("from", ifname("cali3"))
    assert dataplane.apply().messages == 1


def test_a_change_that_is_taken_back_before_apply_sends_nothing(kernel) -> None:
    state = policy_state()
    dataplane = kernel.dataplane(state)
    dataplane.apply()
    state.want_element("h4", addr(9))
    state.unwant_element("h4", addr(9))
    state.want_chain(Chain("pi-a"))
    state.want_chain(Chain("pi-a", rules(from_set("h4"))))
    assert is_quiet(dataplane.apply())


def test_a_map_element_changes_its_verdict(kernel) -> None:
    state = policy_state()
    dataplane = kernel.dataplane(state)
    dataplane.apply()
    state.want_element("from", ifname("cali1"), DROP)
    assert dataplane.apply().failed == ()
    agrees(kernel, state)


def test_a_policy_list_and_all_that_it_needed_leave_together(kernel) -> None:
    state = policy_state()
    dataplane = kernel.dataplane(state)
    dataplane.apply()
    for name in ("cali1", "cali2"):
        state.unwant_element("from", ifname(name))
    state.unwant_chain("gi")
    state.unwant_chain("pi-a")
    state.unwant_set("h4")
    assert dataplane.apply().failed == ()
    agrees(kernel, state)


def test_a_map_and_the_chains_it_leads_to_leave_together(kernel) -> None:
    state = policy_state()
    dataplane = kernel.dataplane(state)
    dataplane.apply()
    state.unwant_set("from")
    state.unwant_chain("fwd")
    state.unwant_chain("gi")
    assert dataplane.apply().failed == ()
    agrees(kernel, state)


def test_chains_that_jump_to_one_another_in_a_row_leave_in_any_order(kernel) -> None:
    state = TableState()
    state.want_chain(Chain("b", rules(jump("c"))))
    state.want_chain(Chain("a", rules(jump("b"))))
    state.want_chain(Chain("c"))
    dataplane = kernel.dataplane(state)
    assert dataplane.apply().failed == ()
    for name in "cab":
        state.unwant_chain(name)
    assert dataplane.apply().failed == ()
    agrees(kernel, state)


def test_a_set_that_left_and_came_back_has_only_its_new_elements(kernel) -> None:
    state = policy_state()
    dataplane = kernel.dataplane(state)
    dataplane.apply()
    state.unwant_set("h4")
    state.want_set(H4)
    state.want_element("h4", addr(7))
    assert dataplane.apply().failed == ()
    agrees(kernel, state)


@pytest.mark.parametrize(
    "hook", [Hook("forward", 0, "drop"), Hook("forward", 10), Hook("input", 0), Hook("prerouting", -300, "drop"), None]
)
def test_a_base_chain_moves_to_another_hook_or_policy(kernel, hook: Hook | None) -> None:
    state = policy_state()
    dataplane = kernel.dataplane(state)
    dataplane.apply()
    state.want_chain(Chain("fwd", state.chains["fwd"].rules, hook))
    assert dataplane.apply().failed == ()
    agrees(kernel, state)


# -- sets that change their shape --------------------------------------------------------------------------------------


def test_a_set_that_outgrew_its_size_is_replaced_by_a_larger_one_in_one_transaction(kernel) -> None:
    state = policy_state()
    dataplane = kernel.dataplane(state)
    dataplane.apply()
    state.want_set(SetDecl("h4", ("ipv4_addr",), size=64))
    for number in range(2, 40):
        state.want_element("h4", addr(number))
    result = dataplane.apply()
    assert result.failed == ()
    agrees(kernel, state)
    assert kernel.content().kernel_names["h4"] != "h4"


def test_a_replaced_set_is_known_by_its_own_name_after_a_restart(kernel) -> None:
    state = policy_state()
    dataplane = kernel.dataplane(state)
    dataplane.apply()
    state.want_set(SetDecl("h4", ("ipv4_addr",), size=64))
    dataplane.apply()
    dataplane.close()
    fresh = policy_state()
    fresh.want_set(SetDecl("h4", ("ipv4_addr",), size=64))
    assert is_quiet(kernel.dataplane(fresh).apply())


def test_a_set_may_grow_again_and_again(kernel) -> None:
    state = policy_state()
    dataplane = kernel.dataplane(state)
    for size in (16, 32, 64, 128):
        state.want_set(SetDecl("h4", ("ipv4_addr",), size=size))
        state.want_set(SetDecl("from", ("ifname",), "verdict", size=size))
        assert dataplane.apply().failed == ()
        agrees(kernel, state)


def test_a_set_may_get_another_key_together_with_the_rules_that_look_it_up(kernel) -> None:
    state = policy_state()
    dataplane = kernel.dataplane(state)
    dataplane.apply()
    state.unwant_set("h4")
    state.want_set(SetDecl("h4", ("ipv6_addr",), size=16))
    state.want_element("h4", packed.addr_bytes("fd00::1"))
    lookup = (Meta("nfproto"), Cmp("eq", b"\x0a"), Payload("network", 8, 16), Lookup("h4"), ACCEPT)
    state.want_chain(Chain("pi-a", rules(lookup)))
    assert dataplane.apply().failed == ()
    agrees(kernel, state)


def test_a_set_whose_name_another_set_has_in_the_kernel_gets_a_name_of_its_own(kernel) -> None:
    state = policy_state()
    dataplane = kernel.dataplane(state)
    dataplane.apply()
    state.want_set(SetDecl("h4", ("ipv4_addr",), size=64))
    dataplane.apply()
    state.want_set(SetDecl("h4.1", ("ipv4_addr",), size=16))
    state.want_element("h4.1", addr(5))
    assert dataplane.apply().failed == ()
    agrees(kernel, state)


# -- restarts and others -----------------------------------------------------------------------------------------------


def test_closing_leaves_the_table_in_force(kernel) -> None:
    state = policy_state()
    dataplane = kernel.dataplane(state)
    dataplane.apply()
    assert dataplane.owned
    dataplane.close()
    agrees(kernel, state)


def test_a_restart_with_the_same_state_sends_no_object(kernel) -> None:
    dataplane = kernel.dataplane(policy_state())
    dataplane.apply()
    dataplane.close()
    again = kernel.dataplane(policy_state())
    assert is_quiet(again.apply())
    assert again.owned


def test_a_restart_with_another_state_sends_only_the_difference(kernel) -> None:
    dataplane = kernel.dataplane(policy_state())
    dataplane.apply()
    dataplane.close()
    state = policy_state()
    state.want_element("h4", addr(3))
    state.unwant_element("from", ifname("cali2"))
    state.want_chain(Chain("gi", rules((DROP,))))
    state.unwant_chain("pi-a")
    again = kernel.dataplane(state)
    result = again.apply()
    assert result.failed == ()
    assert result.messages == 6  # an element each way; flush, add for gi; flush, delete for pi-a
    agrees(kernel, state)


def test_a_rule_changed_while_nobody_owned_the_table_is_put_right_at_the_restart(kernel) -> None:
    dataplane = kernel.dataplane(policy_state())
    dataplane.apply()
    dataplane.close()
    forged = fingerprinted(kernel, "pi-a", (ACCEPT,))
    assert kernel.write(CODEC.flush_chain("pi-a"), CODEC.append_rule("pi-a", forged)) == []
    state = policy_state()
    assert kernel.dataplane(state).apply().changed
    agrees(kernel, state)


def fingerprinted(kernel, chain: str, exprs: tuple[Expr, ...]) -> bytes:
    """A rule that bears the chain's fingerprint and is another."""
    mirror, _ = read_table(kernel.socket(), CODEC)
    fingerprint = mirror.chains[chain].fingerprint
    userdata = bytes((uapi.UDATA_RULE_FINGERPRINT, len(fingerprint))) + fingerprint
    return encode_exprs(exprs) + wire.attr(uapi.RULE_USERDATA, userdata)


def test_an_owned_table_cannot_be_changed_by_others(kernel) -> None:
    state = policy_state()
    kernel.dataplane(state).apply()
    (failure,) = kernel.write(CODEC.flush_chain("fwd"))
    assert failure.errno == errno.EPERM
    agrees(kernel, state)


def test_a_table_owned_by_another_is_left_alone_until_that_one_lets_go(kernel) -> None:
    first = kernel.dataplane(policy_state())
    first.apply()
    state = policy_state()
    state.want_element("h4", addr(8))
    second = kernel.dataplane(state)
    with pytest.raises(Transient):
        second.apply()
    first.close()
    assert second.apply().failed == ()
    agrees(kernel, state)


def test_a_table_without_persistence_is_replaced_with_all_that_was_in_it(kernel) -> None:
    old = kernel.dataplane(policy_state(), Table("felix", owned=False))
    old.apply()
    assert not old.owned
    state = TableState()
    state.want_chain(Chain("only", rules((DROP,))))
    new = kernel.dataplane(state)
    assert new.apply().failed == ()
    assert new.owned
    agrees(kernel, state)


def test_another_tables_writer_neither_hinders_nor_causes_a_read(kernel) -> None:
    state = policy_state()
    dataplane = kernel.dataplane(state)
    dataplane.apply()
    for number in range(2):
        assert kernel.write(TableCodec(Table(f"other{number}")).put_table(0)) == []
        assert number or not dataplane.tampered()
        state.want_element("h4", addr(4 + number))
        result = dataplane.apply()
        assert (result.messages, result.failed) == (1, ())
        assert dataplane.repaired == ()
    assert not dataplane.tampered()
    agrees(kernel, state)


def test_a_foreign_change_of_an_unowned_table_is_repaired_with_our_next_change(kernel) -> None:
    table = Table("felix", owned=False)
    state = policy_state()
    dataplane = kernel.dataplane(state, table)
    dataplane.apply()
    foreign = CODEC.append_rule("fwd", encode_exprs((ACCEPT,)))
    assert not dataplane.tampered()
    assert kernel.write(CODEC.flush_chain("fwd"), foreign) == []
    assert dataplane.tampered()
    state.want_element("h4", addr(4))
    assert dataplane.apply().failed == ()
    assert dataplane.repaired == ("fwd",)
    agrees(kernel, state)
    assert not dataplane.apply().changed
    assert dataplane.repaired == ()


def test_a_resync_repairs_what_others_did_and_sends_nothing_otherwise(kernel) -> None:
    table = Table("felix", owned=False)
    state = policy_state()
    dataplane = kernel.dataplane(state, table)
    dataplane.apply()
    dataplane.resync()
    assert is_quiet(dataplane.apply())
    assert kernel.write(CODEC.put_chain("foreign", None), CODEC.delete_elements("h4")) == []
    dataplane.resync()
    assert dataplane.apply().changed
    assert dataplane.repaired == ("foreign", "h4")
    agrees(kernel, state)


def test_a_deleted_table_comes_back_with_the_next_resync(kernel) -> None:
    table = Table("felix", owned=False)
    state = policy_state()
    dataplane = kernel.dataplane(state, table)
    dataplane.apply()
    assert kernel.write(CODEC.delete_table()) == []
    dataplane.resync()
    assert dataplane.apply().failed == ()
    assert set(dataplane.repaired) >= {*state.chains, *state.sets}
    agrees(kernel, state)


def test_a_set_of_a_foreign_shape_under_our_name_is_replaced(kernel) -> None:
    table = Table("felix", owned=False)
    state = policy_state()
    dataplane = kernel.dataplane(state, table)
    dataplane.apply()
    dataplane.close()
    state = policy_state()
    state.unwant_set("h4")
    state.want_set(SetDecl("h4", ("ipv4_addr",), interval=True))
    state.want_element("h4", packed.net("10.0.0.0/8"))
    assert kernel.dataplane(state, table).apply().failed == ()
    agrees(kernel, state)


# -- refusals ----------------------------------------------------------------------------------------------------------


def test_a_jump_to_nowhere_is_replaced_by_drop_and_the_rest_goes_through(kernel) -> None:
    state = policy_state()
    state.want_chain(Chain("pi-bad", rules((Counter(),), jump("nowhere"))))
    state.want_chain(Chain("gi", rules(jump("pi-bad"), jump("pi-a"), (DROP,))))
    result = kernel.dataplane(state).apply()
    assert refused(result) == {("rules", "pi-bad")}
    content = kernel.content()
    assert content.chains["pi-bad"] == [(DROP,)]
    assert content.chains["gi"] == [jump("pi-bad"), jump("pi-a"), (DROP,)]
    assert content.elements["h4"] == {addr(1): None}


def test_a_refused_chain_is_tried_again_with_the_next_change(kernel) -> None:
    state = policy_state()
    state.want_chain(Chain("pi-bad", rules(jump("late"))))
    dataplane = kernel.dataplane(state)
    assert refused(dataplane.apply()) == {("rules", "pi-bad")}
    assert refused(dataplane.apply()) == {("rules", "pi-bad")}
    state.want_chain(Chain("late"))
    assert dataplane.apply().failed == ()
    agrees(kernel, state)


def test_a_chain_that_was_fine_is_replaced_by_drop_when_its_new_rules_are_refused(kernel) -> None:
    state = policy_state()
    dataplane = kernel.dataplane(state)
    dataplane.apply()
    state.want_chain(Chain("pi-a", rules(from_set("no-such-set"))))
    state.want_element("h4", addr(2))
    assert refused(dataplane.apply()) == {("rules", "pi-a")}
    content = kernel.content()
    assert content.chains["pi-a"] == [(DROP,)]
    assert content.elements["h4"] == {addr(1): None, addr(2): None}


def test_a_rule_that_cannot_be_encoded_is_replaced_by_drop(kernel) -> None:
    state = policy_state()
    state.want_chain(Chain("pi-a", rules((Cmp("eq", b"\1", 99), ACCEPT))))
    assert refused(kernel.dataplane(state).apply()) == {("rules", "pi-a")}
    assert kernel.content().chains["pi-a"] == [(DROP,)]


def test_only_one_chain_of_a_loop_is_replaced_by_drop(kernel) -> None:
    state = policy_state()
    state.want_chain(Chain("pi-b", rules(jump("pi-c"))))
    state.want_chain(Chain("pi-c", rules(jump("pi-b"))))
    state.want_chain(Chain("gi", rules(jump("pi-b"), (DROP,))))
    result = kernel.dataplane(state).apply()
    assert len(result.failed) == 1
    assert result.failed[0].kind == "rules"
    content = kernel.content()
    kept = [name for name in ("gi", "pi-a", "pi-b", "pi-c", "fwd") if content.chains[name] != [(DROP,)]]
    assert len(kept) == 4


def test_sixteen_jumps_in_a_row_are_cut_and_fifteen_are_not(kernel) -> None:
    for depth, cut in ((15, 0), (16, 1)):
        state = TableState()
        state.want_chain(Chain("base", rules(jump("c1")), FORWARD))
        for level in range(1, depth):
            state.want_chain(Chain(f"c{level}", rules(jump(f"c{level + 1}"))))
        state.want_chain(Chain(f"c{depth}"))
        result = kernel.dataplane(state, Table(f"deep{depth}")).apply()
        assert len(result.failed) == cut


def test_a_map_element_to_nowhere_is_left_out_and_named(kernel) -> None:
    state = policy_state()
    state.want_element("from", ifname("cali3"), Verdict("goto", "nowhere"))
    result = kernel.dataplane(state).apply()
    assert refused(result) == {("elements", "from")}
    assert result.failed[0].keys == (ifname("cali3"),)
    assert set(kernel.content().elements["from"]) == {ifname("cali1"), ifname("cali2")}


def test_a_map_element_whose_new_verdict_is_refused_is_removed(kernel) -> None:
    state = policy_state()
    dataplane = kernel.dataplane(state)
    dataplane.apply()
    state.want_element("from", ifname("cali1"), Verdict("goto", "nowhere"))
    assert refused(dataplane.apply()) == {("elements", "from")}
    assert set(kernel.content().elements["from"]) == {ifname("cali2")}
    state.want_chain(Chain("nowhere"))
    assert dataplane.apply().failed == ()
    agrees(kernel, state)


def test_elements_beyond_the_declared_size_are_left_out_and_named(kernel) -> None:
    state = policy_state()
    for number in range(2, 21):
        state.want_element("h4", addr(number))
    dataplane = kernel.dataplane(state)
    result = dataplane.apply()
    assert refused(result) == {("elements", "h4")}
    assert len(result.failed[0].keys) == 4
    assert len(kernel.content().elements["h4"]) == 16
    state.want_set(SetDecl("h4", ("ipv4_addr",), size=64))
    assert dataplane.apply().failed == ()
    agrees(kernel, state)


def test_of_overlapping_nets_one_is_left_out_and_named(kernel) -> None:
    state = policy_state()
    state.want_set(SetDecl("n4", ("ipv4_addr",), interval=True))
    for text in ("10.0.0.0/8", "10.1.0.0/16", "11.0.0.0/8"):
        state.want_element("n4", packed.net(text))
    result = kernel.dataplane(state).apply()
    assert refused(result) == {("elements", "n4")}
    (left_out,) = result.failed[0].keys
    assert packed.net_str(left_out) in ("10.0.0.0/8", "10.1.0.0/16")
    assert len(kernel.content().elements["n4"]) == 2


def test_an_element_of_a_wrong_length_does_not_stop_the_others(kernel) -> None:
    state = policy_state()
    dataplane = kernel.dataplane(state)
    dataplane.apply()
    state.want_element("h4", b"12345")
    state.want_element("h4", addr(2))
    state.want_element("from", ifname("cali3"), DROP)
    result = dataplane.apply()
    assert [(item.name, item.keys) for item in result.failed] == [("h4", (b"12345",))]
    content = kernel.content()
    assert ifname("cali3") in content.elements["from"]
    assert addr(2) in content.elements["h4"]


def test_a_base_chain_of_the_host_keeps_its_rules_when_its_new_ones_are_refused(kernel) -> None:
    state = TableState()
    state.want_chain(Chain("input", rules((Counter(), ACCEPT)), Hook("input", 0)))
    dataplane = kernel.dataplane(state)
    dataplane.apply()
    state.want_chain(Chain("input", rules(jump("nowhere")), Hook("input", 0)))
    assert refused(dataplane.apply()) == {("rules", "input")}
    assert kernel.content().chains["input"] == [(Counter(), ACCEPT)]


def test_a_forward_base_chain_fails_closed(kernel) -> None:
    state = TableState()
    state.want_chain(Chain("fwd", rules(jump("nowhere")), FORWARD))
    assert refused(kernel.dataplane(state).apply()) == {("rules", "fwd")}
    assert kernel.content().chains["fwd"] == [(DROP,)]


def test_a_chain_that_is_still_referred_to_stays_and_is_named(kernel) -> None:
    state = policy_state()
    dataplane = kernel.dataplane(state)
    dataplane.apply()
    state.unwant_chain("gi")
    state.want_element("h4", addr(2))
    assert refused(dataplane.apply()) == {("gone-chain", "gi")}
    content = kernel.content()
    assert content.chains["gi"] == [jump("pi-a"), (DROP,)]
    assert addr(2) in content.elements["h4"]
    for name in ("cali1", "cali2"):
        state.unwant_element("from", ifname(name))
    assert dataplane.apply().failed == ()
    agrees(kernel, state)


def test_a_set_that_is_still_looked_up_stays_and_is_named(kernel) -> None:
    state = policy_state()
    dataplane = kernel.dataplane(state)
    dataplane.apply()
    state.unwant_set("h4")
    state.unwant_element("from", ifname("cali2"))
    assert refused(dataplane.apply()) == {("gone-set", "h4")}
    assert set(kernel.content().elements["from"]) == {ifname("cali1")}
    state.want_chain(Chain("pi-a"))
    assert dataplane.apply().failed == ()
    agrees(kernel, state)


def test_a_set_with_a_name_the_kernel_refuses_does_not_stop_the_others(kernel) -> None:
    state = policy_state()
    long_name = "x" * 300
    state.want_set(SetDecl(long_name, ("ipv4_addr",)))
    state.want_chain(Chain("pi-b", rules(from_set(long_name))))
    result = kernel.dataplane(state).apply()
    assert refused(result) == {("set", long_name), ("rules", "pi-b")}
    assert kernel.content().chains["pi-b"] == [(DROP,)]


def test_a_chain_with_a_name_the_kernel_refuses_does_not_stop_the_others(kernel) -> None:
    state = policy_state()
    long_name = "y" * 300
    state.want_chain(Chain(long_name, rules((ACCEPT,))))
    state.want_chain(Chain("pi-b", rules(jump(long_name))))
    result = kernel.dataplane(state).apply()
    assert refused(result) == {("chain", long_name), ("rules", "pi-b")}
    assert kernel.content().chains["pi-b"] == [(DROP,)]


def test_names_and_comments_that_cannot_be_encoded_do_not_stop_the_others(kernel) -> None:
    state = policy_state()
    state.want_chain(Chain("bad\0chain", rules((ACCEPT,))))
    state.want_set(SetDecl("bad\0set", ("ipv4_addr",)))
    state.want_set(SetDecl("ranges", ("ifname", "ipv4_addr"), interval=True))
    state.want_element("from", ifname("cali3"), Verdict("goto", "bad\0chain"))
    state.want_chain(Chain("pi-b", (Rule((ACCEPT,), "half a character: \ud800, \0, and so on " + "é" * 200),)))
    result = kernel.dataplane(state).apply()
    found = {("chain", "bad\0chain"), ("set", "bad\0set"), ("set", "ranges"), ("elements", "from")}
    assert refused(result) == found
    assert kernel.content().chains["pi-b"] == [(ACCEPT,)]


# -- the transaction ---------------------------------------------------------------------------------------------------


def test_one_bad_request_and_nothing_of_the_transaction_happens(kernel) -> None:
    state = policy_state()
    kernel.dataplane(state, Table("felix", owned=False)).apply()
    gone = CODEC.delete_chain("no such chain")
    failures = kernel.write(CODEC.flush_chain("fwd"), gone, CODEC.put_chain("new", None), gone)
    assert [failure.errno for failure in failures] == [errno.ENOENT] * 2
    assert failures[1].seq - failures[0].seq == 2
    agrees(kernel, state)


def test_a_transaction_made_for_another_generation_is_refused(kernel) -> None:
    sock = kernel.socket()
    generation = read_generation(sock)
    assert kernel.write(TableCodec(Table("other")).put_table(0)) == []
    data = encode_batch([CODEC.put_table(0)], 1, generation)
    done, (failure,) = sock.exchange(data, 1, 3)
    assert (done, failure.errno) == (False, errno.ERESTART)
    assert not read_status(sock, CODEC).exists


def test_a_transaction_moves_the_generation_by_one(kernel) -> None:
    sock = kernel.socket()
    before = read_generation(sock)
    assert kernel.write(CODEC.put_table(0), CODEC.put_chain("a", None), CODEC.put_chain("b", None)) == []
    assert read_generation(sock) == before + 1


# -- any history -------------------------------------------------------------------------------------------------------

chain_names = st.sampled_from(["a", "b", "c"])
set_names = st.sampled_from(["s", "t"])
map_names = st.sampled_from(["m", "n"])
data_names = st.sampled_from(["d", "e"])
addresses = st.integers(1, 4).map(addr)
verdicts = st.sampled_from([ACCEPT, DROP, Verdict("goto", "a"), Verdict("jump", "b"), Verdict("goto", "c")])
bodies = st.lists(
    st.sampled_from(
        [(ACCEPT,), (DROP,), (Counter(),), jump("z"), from_set("s"), from_set("t")]
        + [(Meta("iifname"), Lookup(name, verdict=True)) for name in ("m", "n")]
        + [(Payload("network", 16, 4), Lookup(name, dst=0), Counter()) for name in ("d", "e")]
    ),
    max_size=3,
).map(lambda found: rules(*found))
translations = st.lists(
    st.sampled_from(
        [(Payload("network", 16, 4), Lookup(name, dst=0), Nat("dnat", 4, 0)) for name in ("d", "e")] + [(ACCEPT,)]
    ),
    max_size=2,
).map(lambda found: rules(*found))
hooks = st.sampled_from(
    [Hook("prerouting", -100, type="nat"), Hook("prerouting", -90, type="nat"), Hook("output", -100, type="nat")]
)
operations = st.lists(
    st.one_of(
        st.tuples(st.just("chain"), chain_names, bodies),
        st.tuples(st.just("no chain"), chain_names),
        st.tuples(st.just("base"), st.sampled_from(["x", "y"]), translations, hooks),
        st.tuples(st.just("no base"), st.sampled_from(["x", "y"])),
        st.tuples(st.just("data map"), data_names, st.sampled_from([8, 16])),
        st.tuples(st.just("pair"), data_names, addresses, addresses),
        st.tuples(st.just("no pair"), data_names, addresses),
        st.tuples(st.just("set"), set_names, st.sampled_from([8, 16])),
        st.tuples(st.just("no set"), set_names),
        st.tuples(st.just("map"), map_names, st.sampled_from([8, 16])),
        st.tuples(st.just("member"), set_names, addresses),
        st.tuples(st.just("no member"), set_names, addresses),
        st.tuples(st.just("entry"), map_names, addresses, verdicts),
        st.tuples(st.just("apply")),
        st.tuples(st.just("resync")),
        st.tuples(st.just("restart")),
    ),
    max_size=25,
)


def carry_out(state: TableState, operation: tuple) -> None:
    match operation:
        case ("chain", name, body):
            state.want_chain(Chain(name, body))
        case ("no chain", name) if not is_referred_to(state, name):
            state.unwant_chain(name)
        case ("base", name, body, hook) if has_all_it_looks_up(state, body):
            state.want_chain(Chain(name, body, hook))
        case ("no base", name):
            state.unwant_chain(name)
        case ("data map", name, size):
            state.want_set(SetDecl(name, ("ipv4_addr",), "ipv4_addr", size=size))
        case ("pair", name, key, value) if name in state.sets:
            state.want_element(name, key, value)
        case ("no pair", name, key) if name in state.sets:
            state.unwant_element(name, key)
        case ("set", name, size):
            state.want_set(SetDecl(name, ("ipv4_addr",), size=size))
        case ("no set", name) if not is_referred_to(state, name):
            state.unwant_set(name)
        case ("map", name, size):
            state.want_set(SetDecl(name, ("ifname",), "verdict", size=size))
        case ("member", name, key) if name in state.sets:
            state.want_element(name, key)
        case ("no member", name, key) if name in state.sets:
            state.unwant_element(name, key)
        case ("entry", name, key, verdict) if name in state.sets:
            state.want_element(name, key.ljust(16, b"\0"), verdict)


def has_all_it_looks_up(state: TableState, body: tuple[Rule, ...]) -> bool:
    """A base chain of the host is left as it was when its rules are refused, which depends on history."""
    return all(expr.set in state.sets for rule in body for expr in rule.exprs if isinstance(expr, Lookup))


def is_referred_to(state: TableState, name: str) -> bool:
    exprs = [expr for chain in state.chains.values() for rule in chain.rules for expr in rule.exprs]
    verdicts = [value for set_name in state.sets for value in state.elements(set_name).values()]
    targets = {item.chain for item in exprs + verdicts if isinstance(item, Verdict)}
    return name in targets or any(isinstance(expr, Lookup) and expr.set == name for expr in exprs)


def expected_refusals(state: TableState) -> set[tuple[str, str]]:
    """What refers to something that is not there."""
    found: set[tuple[str, str]] = set()
    for name, chain in state.chains.items():
        for rule in chain.rules:
            for expr in rule.exprs:
                if isinstance(expr, Lookup) and expr.set not in state.sets:
                    found.add(("rules", name))
                if isinstance(expr, Verdict) and expr.chain and expr.chain not in state.chains:
                    found.add(("rules", name))
    for name in state.sets:
        if any(leads_nowhere(state, value) for value in state.elements(name).values()):
            found.add(("elements", name))
    return found


def leads_nowhere(state: TableState, value: ElementValue) -> bool:
    return isinstance(value, Verdict) and bool(value.chain) and value.chain not in state.chains


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(operations)
def test_after_any_history_the_kernel_has_what_is_desired(kernel, history: list[tuple]) -> None:
    state = TableState()
    state.want_chain(Chain("z"))
    table = Table(f"t-{uuid.uuid4().hex[:10]}")
    dataplane = kernel.dataplane(state, table)
    for operation in (*history, ("apply",)):
        match operation:
            case ("apply",):
                assert refused(dataplane.apply()) == expected_refusals(state)
                has_all_that_is_possible(kernel, state, table)
            case ("resync",):
                dataplane.resync()
            case ("restart",):
                dataplane.close()
                dataplane = kernel.dataplane(state, table)
            case _:
                carry_out(state, operation)
    dataplane.close()
    assert kernel.write(TableCodec(table).delete_table()) == []  # a hook has room for 1024 base chains


def has_all_that_is_possible(kernel, state: TableState, table: Table) -> None:
    content = kernel.content(table)
    bad = {name for kind, name in expected_refusals(state) if kind == "rules"}
    assert content.sets == dict(state.sets)
    assert content.chains == {
        name: [(DROP,)] if name in bad else [rule.exprs for rule in chain.rules] for name, chain in state.chains.items()
    }
    for name in state.sets:
        wanted = state.elements(name).items()
        possible = {key: value for key, value in wanted if not leads_nowhere(state, value)}
        assert content.elements[name] == possible


def test_counts_are_those_of_the_rules_of_one_chain_in_order(kernel) -> None:
    state = TableState()
    state.want_chain(Chain("one", rules((Counter(), ACCEPT), (Counter(),))))
    state.want_chain(Chain("other", rules((DROP,))))
    dataplane = kernel.dataplane(state)
    assert dataplane.counts("one") == []
    dataplane.apply()
    assert dataplane.counts("one") == [0, 0]
    assert dataplane.counts("absent") == []
