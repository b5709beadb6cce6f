"""Fields that only newer versions know survive every read-modify-write, of every kind and at every depth."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from any_document import documents
from hypothesis import given, settings
from hypothesis import strategies as st

from calico.model.codec import decode, encode, merge_unknown, unknown_fields
from calico.model.defaults import with_defaults
from calico.model.keys import ResourceKey
from calico.model.kinds import BY_KIND, KINDS
from calico.model.policy import EntityRule, NetworkPolicy, Rule
from calico.model.schema import shapes_of

FUTURE = "fromTheFuture"
BIG = "340282366920938463463374607431768211456"
VALUES = st.sampled_from(["null", "1", "1.50", "1e400", BIG, '"ä\\n"', '{"a":[1,{"b":null}]}', "[[]]", '{"spec":{}}'])


def key_of(kind: str) -> ResourceKey:
    return ResourceKey(kind, "ns" if BY_KIND[kind].namespaced else "", "x")


@st.composite
def stored_by_a_newer_version(draw: st.DrawFn, kind: str) -> tuple[bytes, dict[str, bytes]]:
    """Bytes of a document that holds unknown fields wherever an object may hold any, and their values by path."""
    document = draw(documents(kind))
    added: dict[str, bytes] = {}
    for path, place in list(objects(document, BY_KIND[kind].cls, "")):
        if draw(st.booleans()):
            value = draw(VALUES)
            place[FUTURE] = msgspec.Raw(value.encode())
            added[f"{path}.{FUTURE}".lstrip(".")] = value.encode()
    return msgspec.json.encode(document), added


def objects(document: dict[str, Any], cls: type, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, document
    for name, value in document.items():
        shape = shapes_of(cls)[name]
        if shape.cls is None:
            continue
        if shape.kind == "object" and isinstance(value, dict):
            yield from objects(value, shape.cls, f"{path}.{name}")
        elif isinstance(value, list):
            for index, item in enumerate(value):
                if isinstance(item, dict):
                    yield from objects(item, shape.cls, f"{path}.{name}[{index}]")


def value_at(raw: bytes, path: str) -> bytes | None:
    """The bytes of the value at a path."""
    value: Any = msgspec.Raw(raw)
    for step in path.replace("[", ".[").split("."):
        if step.startswith("["):
            value = msgspec.json.decode(value, type=list[msgspec.Raw])[int(step[1:-1])]
        else:
            value = msgspec.json.decode(value, type=dict[str, msgspec.Raw]).get(step)
        if value is None:
            return None
    return bytes(value)


@pytest.mark.parametrize("kind", [info.kind for info in KINDS])
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_write_of_what_was_read_loses_no_field(kind: str, data: st.DataObject) -> None:
    raw, added = data.draw(stored_by_a_newer_version(kind))
    read = decode(key_of(kind), raw)
    assert read.resource is not None, read.problems
    assert read.problems == ()
    labels = {**read.resource.metadata.labels, "changed": "yes"}
    changed = msgspec.structs.replace(
        read.resource, metadata=msgspec.structs.replace(read.resource.metadata, labels=labels)
    )
    merged = merge_unknown(raw, encode(with_defaults(changed)))
    assert {path: value_at(merged, path) for path in added} == added
    assert sorted(unknown_fields(msgspec.json.decode(merged.replace(b"1e400", b"1")), BY_KIND[kind].cls)) == sorted(
        added
    )
    again = decode(key_of(kind), merged).resource
    assert again is not None
    assert again.metadata.labels["changed"] == "yes"


RULES = [Rule(action="Allow", source=EntityRule(nets=(f"10.{number}.0.0/16",))) for number in range(6)]


@given(st.permutations(range(6)), st.sets(st.integers(0, 5)), st.integers(0, 5))
def test_rules_that_stay_keep_their_unknown_fields_wherever_they_go(
    order: list[int], dropped: set[int], inserted_at: int
) -> None:
    original = {"spec": {"ingress": [{**msgspec.to_builtins(rule), FUTURE: at} for at, rule in enumerate(RULES)]}}
    kept = [at for at in order if at not in dropped]
    rules = [RULES[at] for at in kept]
    rules.insert(inserted_at, Rule(action="Deny"))
    new = NetworkPolicy(spec=msgspec.structs.replace(NetworkPolicy().spec, ingress=tuple(rules)))
    merged = json.loads(merge_unknown(json.dumps(original).encode(), encode(new)))["spec"]["ingress"]
    found = {rule["source"]["nets"][0]: rule.get(FUTURE) for rule in merged if rule["action"] == "Allow"}
    assert found == {RULES[at].source.nets[0]: at for at in kept}
    assert FUTURE not in merged[min(inserted_at, len(kept))]


def merged_rules(original: list[dict[str, Any]], new: tuple[Rule, ...]) -> list[dict[str, Any]]:
    document = json.dumps({"spec": {"egress": original}}).encode()
    policy = NetworkPolicy(spec=msgspec.structs.replace(NetworkPolicy().spec, egress=new))
    result: list[dict[str, Any]] = json.loads(merge_unknown(document, encode(policy)))["spec"]["egress"]
    return result


def test_an_edited_rule_keeps_its_unknown_fields_and_an_exchanged_one_does_not() -> None:
    original = [{"action": "Allow", "protocol": "TCP", "source": {"nets": ["10.0.0.0/8"], FUTURE: 1}, FUTURE: 2}]
    edited = Rule(action="Allow", protocol="TCP", source=EntityRule(nets=("10.0.0.0/9",)))
    assert merged_rules(original, (edited,)) == [
        {"action": "Allow", "protocol": "TCP", "source": {"nets": ["10.0.0.0/9"], FUTURE: 1}, FUTURE: 2}
    ]
    assert merged_rules(original, (Rule(action="Deny"),)) == [{"action": "Deny"}]


def test_an_edited_rule_is_found_behind_one_that_was_put_before_it() -> None:
    original = [{"action": "Allow", "protocol": 6, FUTURE: 1}, {"action": "Log", FUTURE: 2}]
    new = (Rule(action="Deny"), Rule(action="Allow", protocol="UDP"), Rule(action="Log"))
    assert [rule.get(FUTURE) for rule in merged_rules(original, new)] == [None, 1, 2]


def test_another_spelling_of_a_scalar_is_no_change() -> None:
    original = [{"action": "Allow", "protocol": "6", "source": {}, "destination": {"ports": ["80"], FUTURE: 1}}]
    (rule,) = merged_rules(original, (Rule(action="Allow", protocol=6, destination=EntityRule(ports=(80,))),))
    assert rule == {"action": "Allow", "protocol": 6, "destination": {"ports": [80], FUTURE: 1}}


def test_unknown_values_that_nobody_can_hold_stay_as_they_are() -> None:
    original = b'{"spec":{"order":5,"x":1e400,"y":' + BIG.encode() + b',"z":{"a":\n[1,\t2]}},"w":"\xff"}'
    merged = merge_unknown(original, encode(NetworkPolicy()))
    assert value_at(merged, "spec.x") == b"1e400"
    assert value_at(merged, "spec.y") == BIG.encode()
    assert value_at(merged, "spec.z") == b'{"a":[1,2]}'
    assert value_at(merged, "w") == '"\ufffd"'.encode()
    assert b"\n" not in merged


def test_an_object_dropped_on_purpose_does_not_return() -> None:
    original = b'{"spec":{"bgp":{"asNumber":1,"fromTheFuture":2},"wireguard":{"fromTheFuture":3}}}'
    key = ResourceKey("Node", "", "n")
    node: Any = decode(key, original).resource
    without = msgspec.structs.replace(node, spec=msgspec.structs.replace(node.spec, bgp=None))
    merged = json.loads(merge_unknown(original, encode(without)))
    assert merged["spec"] == {"wireguard": {"fromTheFuture": 3}}


def test_thousands_of_like_elements_are_matched_in_bounded_time() -> None:
    many = [{"action": "Allow", FUTURE: at} for at in range(20_000)]
    assert len(merged_rules(many, tuple([Rule(action="Deny")] * 1000))) == 1000
    assert merged_rules(many, (Rule(action="Allow"),)) == [{"action": "Allow", FUTURE: 0}]
