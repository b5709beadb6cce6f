"""Tables, chains, rules and batches to netlink and back. Sets are in ``set_codec``, elements in ``element_codec``.

A *request* is what goes into a batch: message type, flags and payload, without a sequence number. A chain's first
rule carries the chain's fingerprint in its userdata, beside the comment, so that a chain can be told from another
version of itself without comparing rules.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from calico.netlink import wire
from calico.netlink.nftables import uapi
from calico.netlink.nftables.expr import Expr, Lookup, Rule
from calico.netlink.nftables.expr_codec import decode_exprs, encode_exprs
from calico.netlink.nftables.objects import Hook, Table
from calico.netlink.wire import (
    NLM_F_ACK,
    NLM_F_APPEND,
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REQUEST,
    WireError,
    attr,
    attr_be32,
    attr_str,
    nested,
)

__all__ = [
    "FINGERPRINT_BYTES",
    "KernelRule",
    "Request",
    "TableCodec",
    "decode_chain",
    "decode_generation",
    "decode_rule",
    "encode_batch",
    "encode_rules",
    "fingerprint_of",
    "generation_request",
    "same_rules",
]

FINGERPRINT_BYTES: Final = 8
_COMMENT_MAX: Final = 127
_SUBSYS: Final = uapi.SUBSYS_NFTABLES << 8

Request = tuple[int, int, bytes]
"""Message type (without the subsystem), flags and payload."""


class KernelRule(msgspec.Struct, frozen=True, gc=False):
    """A rule as the kernel has it: the chain, its expressions' bytes, what its userdata says."""

    chain: str
    exprs: bytes
    comment: str = ""
    fingerprint: bytes = b""


# -- rules -----------------------------------------------------------------------------------------------------------


def encode_rules(rules: Sequence[Rule], kernel_names: Mapping[str, str]) -> tuple[list[bytes], bytes]:
    """What follows table and chain in each rule's message, and the fingerprint that the first of them carries.

    ``kernel_names``: the sets whose kernel name is not their own.
    """
    bodies: list[bytes] = []
    for rule in rules:
        exprs = rule.exprs if not kernel_names else tuple(_renamed(expr, kernel_names) for expr in rule.exprs)
        encoded = encode_exprs(exprs)
        bodies.append(encoded + _userdata(rule.comment) if rule.comment else encoded)
    fingerprint = fingerprint_of(bodies)
    if bodies:
        exprs_end = (wire.u16(bodies[0]) + 3) & ~3
        bodies[0] = bodies[0][:exprs_end] + _userdata(rules[0].comment, fingerprint)
    return bodies, fingerprint


def fingerprint_of(bodies: Sequence[bytes]) -> bytes:
    """The fingerprint of a chain whose rules were encoded to ``bodies``."""
    return hashlib.blake2b(b"".join(bodies), digest_size=FINGERPRINT_BYTES).digest()


def same_rules(kernel: Sequence[KernelRule], bodies: Sequence[bytes]) -> bool:
    """Whether the kernel's rules do what encoded ones do, whatever their comments and counters."""
    if len(kernel) != len(bodies):
        return False
    try:
        return all(
            decode_exprs(rule.exprs) == decode_exprs(body[4 : wire.u16(body)])
            for rule, body in zip(kernel, bodies, strict=True)
        )
    except WireError:
        return False


def decode_rule(attrs: Mapping[int, bytes]) -> KernelRule:
    """A rule from the attributes of NFT_MSG_NEWRULE."""
    comment, fingerprint = "", b""
    userdata = attrs.get(uapi.RULE_USERDATA, b"")
    offset = 0
    while offset + 2 <= len(userdata):
        kind, length = userdata[offset], userdata[offset + 1]
        value = userdata[offset + 2 : offset + 2 + length]
        if kind == uapi.UDATA_RULE_COMMENT:
            comment = wire.text(value)
        elif kind == uapi.UDATA_RULE_FINGERPRINT:
            fingerprint = value
        offset += 2 + length
    chain = wire.text(attrs.get(uapi.RULE_CHAIN, b""))
    return KernelRule(chain, attrs.get(uapi.RULE_EXPRESSIONS, b""), comment, fingerprint)


def _renamed(expr: Expr, kernel_names: Mapping[str, str]) -> Expr:
    if isinstance(expr, Lookup) and expr.set in kernel_names:
        return msgspec.structs.replace(expr, set=kernel_names[expr.set])
    return expr


def _userdata(comment: str, fingerprint: bytes = b"") -> bytes:
    data = b""
    if comment:
        kept = comment.replace("\0", "").encode(errors="replace")[:_COMMENT_MAX]
        text = kept.decode(errors="ignore").encode() + b"\0"
        data = bytes((uapi.UDATA_RULE_COMMENT, len(text))) + text
    if fingerprint:
        data += bytes((uapi.UDATA_RULE_FINGERPRINT, len(fingerprint))) + fingerprint
    return attr(uapi.RULE_USERDATA, data)


# -- chains, generation ----------------------------------------------------------------------------------------------


def decode_chain(attrs: Mapping[int, bytes]) -> tuple[str, Hook | None]:
    """Name and hook of a chain from the attributes of NFT_MSG_NEWCHAIN. WireError for a hook that we never use."""
    name = wire.text(attrs.get(uapi.CHAIN_NAME, b""))
    if uapi.CHAIN_HOOK not in attrs:
        return name, None
    place = wire.parse_attrs(attrs[uapi.CHAIN_HOOK])
    number = wire.be32(place.get(uapi.HOOK_NUM, b""))
    if number >= len(uapi.HOOKS):
        raise WireError(f"chain {name}: hook {number}")
    priority = wire.be32(place.get(uapi.HOOK_PRIORITY, b""))
    if priority >> 31:
        priority -= 1 << 32
    policy: Any = "accept" if wire.be32(attrs.get(uapi.CHAIN_POLICY, b"\0\0\0\1")) else "drop"
    kind: Any = wire.text(attrs.get(uapi.CHAIN_TYPE, b""))
    hook: Any = uapi.HOOKS[number]
    return name, Hook(hook, priority, policy, kind)


def generation_request(seq: int) -> bytes:
    """Ask for the ruleset's generation."""
    return wire.message(_SUBSYS | uapi.GETGEN, NLM_F_REQUEST, seq, b"\0\0\0\0")


def decode_generation(payload: bytes) -> int:
    """The generation in an NFT_MSG_NEWGEN."""
    return wire.be32(wire.parse_attrs(payload[4:]).get(uapi.GEN_ID, b""))


# -- batches ---------------------------------------------------------------------------------------------------------


def encode_batch(requests: Iterable[Request], first_seq: int, generation: int | None) -> bytes:
    """One transaction: BEGIN has ``first_seq``, request ``i`` has ``first_seq + 1 + i``, END follows and asks for an
    acknowledgement. With a ``generation`` the kernel refuses it (ERESTART) if the ruleset has another."""
    head = b"\0\0" + uapi.SUBSYS_NFTABLES.to_bytes(2, "big")
    guard = b"" if generation is None else attr_be32(uapi.BATCH_GENID, generation)
    parts = [wire.message(uapi.BATCH_BEGIN, NLM_F_REQUEST, first_seq, head + guard)]
    seq = first_seq
    for kind, flags, payload in requests:
        seq += 1
        parts.append(wire.message(_SUBSYS | kind, NLM_F_REQUEST | flags, seq, payload))
    parts.append(wire.message(uapi.BATCH_END, NLM_F_REQUEST | NLM_F_ACK, seq + 1, head))
    return b"".join(parts)


class TableCodec:
    """Requests about one table and what is in it."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self._family = bytes((uapi.FAMILY[table.family], 0, 0, 0))
        self._prefix = self._family + attr_str(1, table.name)  # every object names its table in attribute 1
        self._rule_prefix: tuple[str, bytes] = ("", b"")

    def put_table(self, flags: int) -> Request:
        """Create the table, or give an existing one these flags (owner and persist adopt it)."""
        return uapi.NEWTABLE, NLM_F_CREATE, self._prefix + attr_be32(uapi.TABLE_FLAGS, flags)

    def delete_table(self) -> Request:
        return uapi.DELTABLE, 0, self._prefix

    def put_chain(self, name: str, hook: Hook | None) -> Request:
        """Create a chain, or change the policy of an existing base chain."""
        data = attr_str(uapi.CHAIN_NAME, name)
        if hook is not None:
            data += nested(
                uapi.CHAIN_HOOK,
                attr_be32(uapi.HOOK_NUM, uapi.HOOKS.index(hook.hook)),
                attr_be32(uapi.HOOK_PRIORITY, hook.priority & 0xFFFFFFFF),
            )
            data += attr_be32(uapi.CHAIN_POLICY, 1 if hook.policy == "accept" else 0)
            data += attr_str(uapi.CHAIN_TYPE, hook.type)
        return uapi.NEWCHAIN, NLM_F_CREATE, self._prefix + data

    def delete_chain(self, name: str) -> Request:
        return uapi.DELCHAIN, 0, self._prefix + attr_str(uapi.CHAIN_NAME, name)

    def flush_chain(self, name: str) -> Request:
        """Delete all rules of a chain."""
        return uapi.DELRULE, 0, self._prefix + attr_str(uapi.RULE_CHAIN, name)

    def append_rule(self, chain: str, body: bytes) -> Request:
        """Append a rule; ``body`` comes from ``encode_rules``."""
        if self._rule_prefix[0] != chain:
            self._rule_prefix = (chain, self._prefix + attr_str(uapi.RULE_CHAIN, chain))
        return uapi.NEWRULE, NLM_F_CREATE | NLM_F_APPEND, self._rule_prefix[1] + body

    def create_set(self, body: bytes) -> Request:
        """Create a set that does not exist; ``body`` comes from ``encode_set``."""
        return uapi.NEWSET, NLM_F_CREATE | NLM_F_EXCL, self._prefix + body

    def delete_set(self, kernel_name: str) -> Request:
        return uapi.DELSET, 0, self._prefix + attr_str(uapi.SET_NAME, kernel_name)

    def add_elements(self, kernel_name: str, chunk: bytes) -> Request:
        """Add elements that are not there (EEXIST otherwise); ``chunk`` comes from ``element_chunks``."""
        data = attr_str(uapi.ELEM_LIST_SET, kernel_name) + chunk
        return uapi.NEWSETELEM, NLM_F_CREATE | NLM_F_EXCL, self._prefix + data

    def delete_elements(self, kernel_name: str, chunk: bytes = b"") -> Request:
        """Delete elements, all of them without a chunk."""
        return uapi.DELSETELEM, 0, self._prefix + attr_str(uapi.ELEM_LIST_SET, kernel_name) + chunk

    def put_counter(self, name: str) -> Request:
        """Create a named counter; one that exists keeps what it has counted."""
        data = attr_str(uapi.OBJ_NAME, name) + attr_be32(uapi.OBJ_TYPE, uapi.OBJECT_COUNTER)
        return uapi.NEWOBJ, NLM_F_CREATE, self._prefix + data + nested(uapi.OBJ_DATA)

    def delete_counter(self, name: str) -> Request:
        data = attr_str(uapi.OBJ_NAME, name) + attr_be32(uapi.OBJ_TYPE, uapi.OBJECT_COUNTER)
        return uapi.DELOBJ, 0, self._prefix + data

    def dump(self, kind: int, seq: int, attrs: bytes = b"") -> bytes:
        """A dump of our table's chains, rules, sets, named objects, or (with the set's name) elements."""
        return wire.message(_SUBSYS | kind, NLM_F_REQUEST | wire.NLM_F_DUMP, seq, self._prefix + attrs)

    def get_table(self, seq: int) -> bytes:
        """Ask for the table itself."""
        return wire.message(_SUBSYS | uapi.GETTABLE, NLM_F_REQUEST, seq, self._prefix)
