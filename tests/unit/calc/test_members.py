"""Sets in use and not in use: what is told of their members."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from calico.calc.compile_entity import SetSpec
from calico.calc.labels import pack_labels
from calico.calc.members import Contribution, MemberIndex
from calico.calc.services import ServiceEndpoints
from calico.lib.packed import addr_bytes, addr_port, net
from calico.model.keys import ResourceKey
from calico.model.selector import parse
from retained import retained

KEY, OTHER = ResourceKey("GlobalNetworkSet", "", "s"), ResourceKey("GlobalNetworkSet", "", "t")
SELECTOR = parse("has(a)")
SPEC = SetSpec("s", "nets", SELECTOR)
WEB = ("red", "web")
WEB_NETS, WEB_PORTS = SetSpec("v", "nets", None, service=WEB), SetSpec("w", "ports", None, service=WEB)
ADDRESS, PORT = net("10.0.0.7"), addr_port(addr_bytes("10.0.0.7"), 6, 80)
BEHIND_WEB = ServiceEndpoints(addresses=frozenset({ADDRESS}), ports=frozenset({PORT}))


def bringing(*nets: str) -> Contribution:
    return Contribution(pack_labels({"a": "x"}), (), tuple(map(net, nets)))


def test_a_set_that_is_not_used_any_more_is_told_of_no_more_and_told_anew_when_it_is_used_again() -> None:
    index = MemberIndex()
    index.on_set("s", SPEC)
    index.on_contribution(KEY, bringing("10.0.0.1"))
    assert index.tell("s") == ("nets", {net("10.0.0.1")})
    index.on_contribution(KEY, bringing("10.0.0.2"))
    index.on_set("s", None)
    index.on_contribution(KEY, bringing("10.0.0.3"))
    assert list(index.take_changes()) == []
    index.on_set("s", SPEC)
    assert index.tell("s") == ("nets", {net("10.0.0.3")})


def test_what_was_told_once_is_not_told_again() -> None:
    index = MemberIndex()
    index.on_set("s", SPEC)
    index.tell("s")
    index.on_contribution(KEY, bringing("10.0.0.1"))
    assert list(index.take_changes()) == [("s", {net("10.0.0.1")}, frozenset())]
    assert list(index.take_changes()) == []
    index.on_contribution(KEY, bringing("10.0.0.1"))
    assert list(index.take_changes()) == []


def test_a_set_without_a_selector_has_no_members() -> None:
    index = MemberIndex()
    index.on_set("s", SetSpec("s", "nets", None))
    index.on_contribution(KEY, bringing("10.0.0.1"))
    assert index.tell("s") == ("nets", frozenset())
    index.on_set("s", None)


def test_a_set_of_a_service_holds_what_is_behind_it_whichever_was_known_first() -> None:
    for service_first in (True, False):
        index = MemberIndex()
        if service_first:
            index.on_service(WEB, BEHIND_WEB)
        index.on_set("v", WEB_NETS)
        index.on_set("w", WEB_PORTS)
        index.on_service(WEB, BEHIND_WEB)
        assert (index.tell("v"), index.tell("w")) == (("nets", {ADDRESS}), ("ports", {PORT}))


def test_what_others_still_bring_stays_in_a_set_and_what_only_one_brought_goes_with_him() -> None:
    index = MemberIndex()
    index.on_set("s", SPEC)
    index.on_contribution(KEY, bringing("10.0.0.1", "10.0.0.2"))
    index.on_contribution(OTHER, bringing("10.0.0.2", "10.0.0.3"))
    index.tell("s")
    index.on_contribution(KEY, None)
    assert list(index.take_changes()) == [("s", frozenset(), {net("10.0.0.1")})]
    index.on_contribution(OTHER, Contribution(pack_labels({"b": "x"}), (), (net("10.0.0.2"), net("10.0.0.3"))))
    assert list(index.take_changes()) == [("s", frozenset(), {net("10.0.0.2"), net("10.0.0.3")})]


def test_a_port_is_in_the_sets_of_its_name_and_protocol_only() -> None:
    index = MemberIndex()
    index.on_contribution(KEY, Contribution(pack_labels({"a": "x"}), (), (ADDRESS,), (("web", 6, 80), ("dns", 17, 53))))
    specs = {"any": (None, "web"), "tcp": (6, "web"), "udp": (17, "web"), "dns": (17, "dns")}
    for set_id, (protocol, port) in specs.items():
        index.on_set(set_id, SetSpec(set_id, "ports", SELECTOR, protocol, port))
    dns = addr_port(addr_bytes("10.0.0.7"), 17, 53)
    expected = {"any": {PORT}, "tcp": {PORT}, "udp": set(), "dns": {dns}}
    assert {set_id: index.tell(set_id)[1] for set_id in specs} == expected


def test_only_sets_that_changed_since_they_were_told_are_looked_at() -> None:
    index = MemberIndex()
    for spec in (SPEC, WEB_NETS):
        index.on_set(spec.id, spec)
        index.tell(spec.id)
    index.on_contribution(KEY, bringing("10.0.0.1"))
    index.on_service(WEB, BEHIND_WEB)
    assert {told for told, _, _ in index.take_changes()} == {"s", "v"}
    assert not vars(index)["_changed"]


def test_nothing_is_kept_of_what_is_gone() -> None:
    index = MemberIndex()
    index.on_profile_labels("p", {"b": "y"})
    for spec in (SPEC, WEB_NETS, WEB_PORTS):
        index.on_set(spec.id, spec)
    index.on_service(WEB, BEHIND_WEB)
    for labels in ({"a": "x"}, {"a": "y"}, {"c": "z"}):
        index.on_contribution(KEY, Contribution(pack_labels(labels), ("p",), (ADDRESS,), (("web", 6, 80),)))
        index.on_contribution(OTHER, Contribution(pack_labels(labels), ("p",), (net("10.0.0.0/8"),)))
    assert list(index.take_changes())
    index.on_contribution(KEY, None)
    index.on_contribution(OTHER, None)
    index.on_service(WEB, None)
    for set_id in ("s", "v", "w"):
        index.on_set(set_id, None)
    index.on_profile_labels("p", None)
    assert retained(index) == retained(MemberIndex())


PIECES = st.frozensets(st.sampled_from([net("10.0.0.7"), net("10.0.0.8"), net("10.0.0.9")]))
PARTS = st.tuples(st.sampled_from("abc"), st.one_of(st.none(), PIECES))


@given(st.lists(PARTS, max_size=20), st.integers(0, 20))
def test_a_set_of_a_service_holds_what_all_its_parts_bring_after_any_history(history: list[Any], used_at: int) -> None:
    index, parts, told = MemberIndex(), dict[str, frozenset[bytes]](), set[bytes]()
    for step, (part, addresses) in enumerate(history):
        if step == used_at:
            index.on_set("v", WEB_NETS)
            told |= index.tell("v")[1]
        index.on_service(WEB, None if addresses is None else ServiceEndpoints(addresses=addresses), part)
        parts[part] = addresses or frozenset()
        for _, added, removed in index.take_changes():
            assert not added & told
            assert removed <= told
            told = told - removed | added
        if step >= used_at:
            assert told == frozenset().union(*parts.values())
