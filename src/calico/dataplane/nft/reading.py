"""Reading our table back from the kernel: the mirror of what is there, whoever wrote it.

A read is only as good as the generation it was made at: the first transaction after it is guarded by that.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Iterator, Mapping
from typing import Final, Protocol

import msgspec

from calico.dataplane.nft.mirror import KernelChain, Mirror
from calico.errors import ResyncRequired, Transient
from calico.netlink import wire
from calico.netlink.nftables import uapi
from calico.netlink.nftables.codec import (
    KernelRule,
    TableCodec,
    decode_chain,
    decode_generation,
    decode_rule,
    fingerprint_of,
    generation_request,
)
from calico.netlink.nftables.counters import Counted, decode_counter, packets_counted
from calico.netlink.nftables.element_codec import KernelElement, decode_elements, elements_to_content
from calico.netlink.nftables.objects import ElementValue, Hook
from calico.netlink.nftables.set_codec import KernelSet, decode_set
from calico.netlink.socket import Failure, NetlinkError
from calico.netlink.wire import Message, WireError

__all__ = [
    "NftSocket",
    "TableStatus",
    "read_counters",
    "read_counts",
    "read_generation",
    "read_status",
    "read_table",
]

_INTERRUPTED_MAX: Final = 20
_REHASH_READS: Final = 20
_REHASH_WAIT_S: Final = 0.05
_FOREIGN_HOOK: Final = Hook("postrouting", 0x7FFFFFFF, type="route")
"""Stands for a hook that we never use; equals none that is wanted."""


class NftSocket(Protocol):
    """What is needed of ``NetlinkSocket``; the fake kernel has it too."""

    @property
    def port(self) -> int: ...

    def next_seq(self, n: int = 1) -> int: ...

    def exchange(self, data: bytes, first_seq: int, last_seq: int) -> tuple[bool, list[Failure]]: ...

    def request(self, request: bytes) -> list[Message]: ...

    def dump(self, request: bytes) -> Iterator[Message]: ...

    def close(self) -> None: ...


class TableStatus(msgspec.Struct, frozen=True, gc=False):
    """Whether the table exists, its flags, and the netlink port of its owner (0: nobody's)."""

    exists: bool
    flags: int = 0
    owner: int = 0


def read_generation(sock: NftSocket) -> int:
    """The ruleset's generation: it moves with each transaction of anyone in this namespace."""
    for answer in sock.request(generation_request(sock.next_seq())):
        return decode_generation(answer.payload)
    raise Transient("the kernel did not tell its nftables generation")


def read_status(sock: NftSocket, codec: TableCodec) -> TableStatus:
    """Whose the table is."""
    try:
        answers = sock.request(codec.get_table(sock.next_seq()))
    except NetlinkError as error:
        if error.errno == errno.ENOENT:
            return TableStatus(exists=False)
        raise
    for answer in answers:
        attrs = wire.parse_attrs(answer.payload[4:])
        flags = wire.be32(attrs.get(uapi.TABLE_FLAGS, b"\0\0\0\0"))
        return TableStatus(exists=True, flags=flags, owner=wire.be32(attrs.get(uapi.TABLE_OWNER, b"\0\0\0\0")))
    raise Transient("the kernel did not describe the table")


def read_table(sock: NftSocket, codec: TableCodec) -> tuple[Mirror, TableStatus]:
    """All of our table. Transient if others write so much that it cannot be read in one piece."""
    for _ in range(_INTERRUPTED_MAX):
        try:
            status = read_status(sock, codec)
            return (_read_mirror(sock, codec) if status.exists else Mirror()), status
        except ResyncRequired:
            continue
    raise Transient("the table kept changing while it was read")


def read_counts(sock: NftSocket, codec: TableCodec, chain: str) -> list[int]:
    """Packets counted by each rule of a chain, all of which count, in order; empty without such a chain. The kernel
    looks at that chain only. Transient if it keeps changing."""
    for _ in range(_INTERRUPTED_MAX):
        try:
            found = _dump(sock, codec, uapi.GETRULE, wire.attr_str(uapi.RULE_CHAIN, chain))
            return [packets_counted(attrs.get(uapi.RULE_EXPRESSIONS, b"")) for attrs in found]
        except ResyncRequired:
            continue
    raise Transient(f"chain {chain} kept changing while it was read")


def read_counters(sock: NftSocket, codec: TableCodec) -> dict[str, Counted]:
    """What the table's named counters have counted; empty without such a table. Transient if others keep writing."""
    for _ in range(_INTERRUPTED_MAX):
        try:
            found = [decode_counter(attrs) for attrs in _dump(sock, codec, uapi.GETOBJ)]
            return dict(filter(None, found))
        except ResyncRequired:
            continue
    raise Transient("the table kept changing while its counters were read")


def _read_mirror(sock: NftSocket, codec: TableCodec) -> Mirror:
    mirror = Mirror()
    rules: dict[str, list[KernelRule]] = {}
    for attrs in _dump(sock, codec, uapi.GETRULE):
        rule = decode_rule(attrs)
        rules.setdefault(rule.chain, []).append(rule)
    for attrs in _dump(sock, codec, uapi.GETCHAIN):
        name, hook = _chain_of(attrs)
        mirror.put_chain(name, _kernel_chain(hook, rules.get(name, ())))
    for attrs in list(_dump(sock, codec, uapi.GETSET)):  # a socket has one dump at a time
        if not wire.be32(attrs.get(uapi.SET_FLAGS, b"\0\0\0\0")) & uapi.SET_F_ANONYMOUS:
            _read_set(sock, codec, mirror, decode_set(attrs))
    for attrs in _dump(sock, codec, uapi.GETOBJ):
        counter = decode_counter(attrs)
        if counter is not None:
            mirror.counters.add(counter[0])
    return mirror


def _chain_of(attrs: Mapping[int, bytes]) -> tuple[str, Hook | None]:
    try:
        return decode_chain(attrs)
    except WireError:
        return wire.text(attrs.get(uapi.CHAIN_NAME, b"")), _FOREIGN_HOOK


def _kernel_chain(hook: Hook | None, rules: list[KernelRule] | tuple[()]) -> KernelChain:
    fingerprint = rules[0].fingerprint if rules else fingerprint_of(())
    return KernelChain(hook, fingerprint, len(rules), read=tuple(rules))


def _read_set(sock: NftSocket, codec: TableCodec, mirror: Mirror, found: KernelSet) -> None:
    """A set that is not what we declare is kept under its name without shape: it will be replaced or removed.

    So is a second set that claims the same own name, under a name that nobody wants.
    """
    if found.name in mirror.sets:
        found = KernelSet(found.kernel_name, f"{found.kernel_name}\0stray", None)
    content = _read_content(sock, codec, found) if found.decl is not None else {}
    if content is None:
        found, content = msgspec.structs.replace(found, decl=None), {}
    mirror.put_set(found)
    mirror.change_elements(found.name, (), content)


def _read_content(sock: NftSocket, codec: TableCodec, found: KernelSet) -> dict[bytes, ElementValue] | None:
    """A hash without a size lists elements twice, and others not, until it has grown; then it is read again."""
    assert found.decl is not None
    growing = not found.decl.size and not found.decl.interval
    content = elements_to_content(found.decl, _elements(sock, codec, found.kernel_name))
    for _ in range(_REHASH_READS if growing else 0):
        if content is not None:
            break
        time.sleep(_REHASH_WAIT_S)
        content = elements_to_content(found.decl, _elements(sock, codec, found.kernel_name))
    return content


def _elements(sock: NftSocket, codec: TableCodec, kernel_name: str) -> Iterator[KernelElement]:
    for attrs in _dump(sock, codec, uapi.GETSETELEM, wire.attr_str(uapi.ELEM_LIST_SET, kernel_name)):
        if uapi.ELEM_LIST_ELEMENTS in attrs:
            yield from decode_elements(attrs[uapi.ELEM_LIST_ELEMENTS])


def _dump(sock: NftSocket, codec: TableCodec, kind: int, more: bytes = b"") -> Iterator[dict[int, bytes]]:
    """Attributes of each object of our table: the kernel does not filter all dumps by table."""
    wanted = codec.table.name
    family = uapi.FAMILY[codec.table.family]
    for answer in sock.dump(codec.dump(kind, sock.next_seq(), more)):
        attrs = wire.parse_attrs(answer.payload[4:])
        if answer.payload[0] == family and wire.text(attrs.get(1, b"")) == wanted:
            yield attrs
