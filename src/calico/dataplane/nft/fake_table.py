"""One table of the fake kernel: what is in it, and the kernel's reasons to refuse a change of that."""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from calico.dataplane.nft.fake_checks import Reach, Refusal, check_expr, check_hook, value_fits
from calico.netlink import wire
from calico.netlink.nftables import uapi
from calico.netlink.nftables.codec import decode_chain
from calico.netlink.nftables.element_codec import KernelElement, decode_elements, encode_value
from calico.netlink.nftables.expr import CountIn, Expr, Lookup, Verdict
from calico.netlink.nftables.expr_codec import decode_exprs
from calico.netlink.nftables.objects import ElementValue, Hook
from calico.netlink.wire import NLM_F_EXCL, WireError

__all__ = ["FakeTable"]

_NAME_MAX: Final = 255
_Reference = tuple[str, str]
_ElementKey = tuple[bytes, bool]


class _Rule(msgspec.Struct, frozen=True, gc=False):
    payload: bytes
    exprs: tuple[Expr, ...]
    references: tuple[_Reference, ...]


class _Chain(msgspec.Struct):
    payload: bytes
    hook: Hook | None
    rules: tuple[_Rule, ...] = ()


class _Set(msgspec.Struct):
    payload: bytes
    flags: int
    size: int
    data_type: int
    data_length: int
    elements: dict[_ElementKey, ElementValue] = msgspec.field(default_factory=dict)


class FakeTable:
    """Always true: ``_used`` counts, for each chain, set and counter, the rules and elements that refer to it."""

    def __init__(self) -> None:
        self.flags = 0
        self.owner = 0
        self._chains: dict[str, _Chain] = {}
        self._sets: dict[str, _Set] = {}
        self._counters: dict[str, bytes] = {}
        self._used: Counter[_Reference] = Counter()

    def copy(self) -> FakeTable:
        """A table to change while this one stays in force."""
        other = FakeTable()
        other.flags, other.owner = self.flags, self.owner
        other._chains = {name: msgspec.structs.replace(chain) for name, chain in self._chains.items()}
        other._sets = {
            name: msgspec.structs.replace(each, elements=dict(each.elements)) for name, each in self._sets.items()
        }
        other._counters = dict(self._counters)
        other._used = Counter(self._used)
        return other

    def request(self, kind: int, flags: int, attrs: Mapping[int, bytes]) -> None:
        """Carry one request out. Refusal if it cannot be."""
        if kind == uapi.NEWCHAIN:
            self._new_chain(attrs)
        elif kind == uapi.DELCHAIN:
            self._delete_chain(wire.text(attrs[uapi.CHAIN_NAME]))
        elif kind == uapi.NEWRULE:
            self._new_rule(attrs)
        elif kind == uapi.DELRULE:
            self._flush_chain(wire.text(attrs[uapi.RULE_CHAIN]))
        elif kind == uapi.NEWSET:
            self._new_set(attrs, flags)
        elif kind == uapi.DELSET:
            self._delete_set(wire.text(attrs[uapi.SET_NAME]))
        elif kind == uapi.NEWSETELEM:
            self._new_elements(attrs, flags)
        elif kind == uapi.DELSETELEM:
            self._delete_elements(attrs)
        elif kind == uapi.NEWOBJ:
            self._new_counter(attrs)
        elif kind == uapi.DELOBJ:
            self._delete_counter(wire.text(attrs[uapi.OBJ_NAME]))
        else:
            raise Refusal(errno.EOPNOTSUPP)

    def lacks_base_chain(self, attrs: Mapping[int, bytes]) -> bool:
        """Whether a request for a chain would make a base chain."""
        return uapi.CHAIN_HOOK in attrs and wire.text(attrs[uapi.CHAIN_NAME]) not in self._chains

    # -- chains and rules --------------------------------------------------------------------------------------------

    def _new_chain(self, attrs: Mapping[int, bytes]) -> None:
        name = _name(attrs[uapi.CHAIN_NAME])
        chain = self._chains.get(name)
        _, hook = decode_chain(attrs)
        if hook is not None:
            check_hook(hook)
        if chain is None:
            self._chains[name] = _Chain(_again(attrs), hook)
        elif hook is not None:
            if chain.hook is None:
                raise Refusal(errno.EEXIST)
            before = wire.parse_attrs(chain.payload)
            place = wire.parse_attrs(attrs[uapi.CHAIN_HOOK])
            if place != wire.parse_attrs(before[uapi.CHAIN_HOOK]):
                raise Refusal(errno.EEXIST)
            chain.payload, chain.hook = _again(attrs), hook

    def _delete_chain(self, name: str) -> None:
        """A chain goes with its rules."""
        self._flush_chain(name)
        if self._used["chain", name]:
            raise Refusal(errno.EBUSY)
        del self._chains[name]

    def _new_rule(self, attrs: Mapping[int, bytes]) -> None:
        chain = self._chain(wire.text(attrs[uapi.RULE_CHAIN]))
        try:
            exprs = decode_exprs(attrs.get(uapi.RULE_EXPRESSIONS, b""))
        except WireError:
            raise Refusal(errno.EINVAL) from None
        references = tuple(reference for expr in exprs if (reference := _reference(expr)) is not None)
        for reference in references:
            self._check(reference)
        for expr in exprs:
            check_expr(expr, self._sets[expr.set].data_type if isinstance(expr, Lookup) else None)
        chain.rules += (_Rule(_again(attrs), exprs, references),)
        self._used.update(references)

    def _flush_chain(self, name: str) -> None:
        chain = self._chain(name)
        for rule in chain.rules:
            self._used.subtract(rule.references)
        chain.rules = ()

    def _chain(self, name: str) -> _Chain:
        chain = self._chains.get(name)
        if chain is None:
            raise Refusal(errno.ENOENT)
        return chain

    def _check(self, reference: _Reference) -> None:
        kind, name = reference
        if kind == "set":
            if name not in self._sets:
                raise Refusal(errno.ENOENT)
        elif kind == "counter":
            if name not in self._counters:
                raise Refusal(errno.ENOENT)
        elif self._chain(name).hook is not None:
            raise Refusal(errno.EOPNOTSUPP)

    # -- counters ----------------------------------------------------------------------------------------------------

    def _new_counter(self, attrs: Mapping[int, bytes]) -> None:
        name = _name(attrs[uapi.OBJ_NAME])
        if _number(attrs, uapi.OBJ_TYPE) != uapi.OBJECT_COUNTER or uapi.OBJ_DATA not in attrs:
            raise Refusal(errno.EOPNOTSUPP)
        self._counters.setdefault(name, _again(attrs))

    def _delete_counter(self, name: str) -> None:
        if name not in self._counters:
            raise Refusal(errno.ENOENT)
        if self._used["counter", name]:
            raise Refusal(errno.EBUSY)
        del self._counters[name]

    # -- sets and elements -------------------------------------------------------------------------------------------

    def _new_set(self, attrs: Mapping[int, bytes], flags: int) -> None:
        name = _name(attrs[uapi.SET_NAME])
        if name in self._sets:
            if flags & NLM_F_EXCL:
                raise Refusal(errno.EEXIST)
            return
        desc = wire.parse_attrs(attrs.get(uapi.SET_DESC, b""))
        size, set_flags = _number(desc, uapi.SET_DESC_SIZE), _number(attrs, uapi.SET_FLAGS)
        data_type, data_length = _number(attrs, uapi.SET_DATA_TYPE), _number(attrs, uapi.SET_DATA_LEN)
        self._sets[name] = _Set(_again(attrs), set_flags, size, data_type, data_length)

    def _delete_set(self, name: str) -> None:
        each = self._set(name)
        if self._used["set", name]:
            raise Refusal(errno.EBUSY)
        for value in each.elements.values():
            self._unuse(value)
        del self._sets[name]

    def _new_elements(self, attrs: Mapping[int, bytes], flags: int) -> None:
        each = self._set(wire.text(attrs[uapi.ELEM_LIST_SET]))
        before = dict(each.elements) if each.flags & uapi.SET_F_INTERVAL else {}
        for key, value, is_end in decode_elements(attrs.get(uapi.ELEM_LIST_ELEMENTS, b"")):
            if not value_fits(value, each.data_type, each.data_length):
                raise Refusal(errno.EINVAL)
            if (key, is_end) in each.elements:
                if flags & NLM_F_EXCL or each.elements[key, is_end] != value:
                    raise Refusal(errno.EEXIST)
                continue
            if each.size and len(each.elements) >= each.size:
                raise Refusal(errno.ENFILE)
            if isinstance(value, Verdict) and value.chain:
                self._check(("chain", value.chain))
                self._used["chain", value.chain] += 1
            each.elements[key, is_end] = value
        if each.flags & uapi.SET_F_INTERVAL and not _alternates(each.elements):
            each.elements = before
            raise Refusal(errno.EEXIST)

    def _delete_elements(self, attrs: Mapping[int, bytes]) -> None:
        each = self._set(wire.text(attrs[uapi.ELEM_LIST_SET]))
        if uapi.ELEM_LIST_ELEMENTS not in attrs:
            found: list[KernelElement] = [(key, value, is_end) for (key, is_end), value in each.elements.items()]
        else:
            found = decode_elements(attrs[uapi.ELEM_LIST_ELEMENTS])
        for key, _, is_end in found:
            if (key, is_end) not in each.elements:
                raise Refusal(errno.ENOENT)
            self._unuse(each.elements.pop((key, is_end)))

    def _unuse(self, value: ElementValue) -> None:
        if isinstance(value, Verdict) and value.chain:
            self._used["chain", value.chain] -= 1

    def _set(self, name: str) -> _Set:
        each = self._sets.get(name)
        if each is None:
            raise Refusal(errno.ENOENT)
        return each

    # -- what base chains lead to ------------------------------------------------------------------------------------

    def fault(self) -> int:
        """The errno of what base chains must not lead to, or 0."""
        hooks = {name: chain.hook for name, chain in self._chains.items() if chain.hook is not None}
        return Reach(self._exprs, self._targets).fault(hooks)

    def _exprs(self, name: str) -> Iterator[Expr]:
        for rule in self._chains[name].rules:
            yield from rule.exprs

    def _targets(self, name: str) -> set[str]:
        targets: set[str] = set()
        for expr in self._exprs(name):
            if isinstance(expr, Verdict) and expr.chain:
                targets.add(expr.chain)
            elif isinstance(expr, Lookup) and expr.verdict:
                values = self._sets[expr.set].elements.values()
                targets.update(v.chain for v in values if isinstance(v, Verdict) and v.chain)
        return targets

    # -- reading -----------------------------------------------------------------------------------------------------

    def dump_chains(self) -> list[bytes]:
        return [chain.payload for chain in self._chains.values()]

    def dump_rules(self, chain: str = "") -> list[bytes]:
        """Of one chain, or of all."""
        chosen = [each for name, each in self._chains.items() if chain in ("", name)]
        return [rule.payload for each in chosen for rule in each.rules]

    def dump_counters(self) -> list[bytes]:
        """They count nothing: no packet passes here."""
        return list(self._counters.values())

    def dump_sets(self) -> list[bytes]:
        return [each.payload for each in self._sets.values()]

    def dump_elements(self, name: str) -> list[bytes]:
        """One attribute list per element, as small dumps of the kernel are."""
        each = self._set(name)
        head = wire.parse_attrs(each.payload)[uapi.SET_TABLE]
        return [
            wire.attr(uapi.ELEM_LIST_TABLE, head)
            + wire.attr_str(uapi.ELEM_LIST_SET, name)
            + wire.nested(uapi.ELEM_LIST_ELEMENTS, _element(key, value, is_end))
            for (key, is_end), value in each.elements.items()
        ]


def _name(payload: bytes) -> str:
    if len(payload) > _NAME_MAX + 1:
        raise Refusal(errno.ENAMETOOLONG)
    return wire.text(payload)


def _number(attrs: Mapping[int, bytes], kind: int) -> int:
    return wire.be32(attrs.get(kind, b"\0\0\0\0"))


def _again(attrs: Mapping[int, bytes]) -> bytes:
    return b"".join(wire.attr(kind, payload) for kind, payload in attrs.items())


def _reference(expr: Expr) -> _Reference | None:
    if isinstance(expr, Verdict) and expr.chain:
        return "chain", expr.chain
    if isinstance(expr, Lookup):
        return "set", expr.set
    if isinstance(expr, CountIn):
        return "counter", expr.counter
    return None


def _alternates(elements: Mapping[_ElementKey, ElementValue]) -> bool:
    """Whether starts and ends take turns, that is, no two intervals overlap."""
    is_open = False
    for _, is_end in sorted(elements, key=lambda element: (element[0], not element[1])):
        if is_end != is_open:
            return False
        is_open = not is_end
    return True


def _element(key: bytes, value: ElementValue, is_end: bool) -> bytes:
    parts = [wire.nested(uapi.ELEM_KEY, wire.attr(uapi.DATA_VALUE, key))]
    if value is not None:
        parts.append(encode_value(value))
    if is_end:
        parts.append(wire.attr_be32(uapi.ELEM_FLAGS, uapi.ELEM_F_INTERVAL_END))
    return wire.nested(uapi.LIST_ELEM, *parts)
