"""A kernel's nf_tables in memory, for simulations and tests: it reads the same bytes and refuses what the kernel does.

Held to the same contract tests as the kernel. What it does not do: pass packets, name anonymous objects, other
families of hooks, check that registers are loaded before they are used, and report more than the kernel's errno.
"""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from calico.dataplane.nft.fake_checks import Refusal
from calico.dataplane.nft.fake_table import FakeTable
from calico.errors import Transient
from calico.netlink import wire
from calico.netlink.nftables import uapi
from calico.netlink.socket import Failure, NetlinkError
from calico.netlink.wire import Message

__all__ = ["FakeNft", "FakeNftSocket"]

_KNOWN_FLAGS: Final = uapi.TABLE_F_OWNER | uapi.TABLE_F_PERSIST
_Key = tuple[int, str]


class FakeNft:
    """The nf_tables of one network namespace. ``knows_owners`` False: a kernel before 6.9."""

    def __init__(self, *, knows_owners: bool = True) -> None:
        self.knows_owners = knows_owners
        self.generation = 1
        self.tables: dict[_Key, FakeTable] = {}
        self._ports = 1000
        self._given: set[_Key] = set()
        """Tables that this transaction gave an owner: they get no new base chain in it."""

    def socket(self) -> FakeNftSocket:
        """Another socket, with a port of its own."""
        self._ports += 1
        return FakeNftSocket(self, self._ports)

    def transaction(self, messages: list[Message], port: int) -> list[Failure]:
        """Carry all requests out, or none and tell which were refused."""
        before = self.tables
        self.tables = dict(before)
        copied: set[_Key] = set()
        failures = self._run(messages, port, copied, validate=False)
        if not failures and any(self.tables[key].fault() for key in copied if key in self.tables):
            self.tables = dict(before)
            failures = self._run(messages, port, set(), validate=True)
        if failures:
            self.tables = before
        elif messages:
            self.generation = (self.generation + 1) & 0xFFFFFFFF or 1
        return failures

    def release(self, port: int) -> None:
        """A socket was closed: its tables are nobody's, and go unless they persist."""
        for key, table in list(self.tables.items()):
            if table.owner != port:
                continue
            if table.flags & uapi.TABLE_F_PERSIST:
                self.tables[key] = table.copy()
                self.tables[key].owner = 0
                self.tables[key].flags &= ~uapi.TABLE_F_OWNER
            else:
                del self.tables[key]
                self.generation += 1

    def _run(self, messages: list[Message], port: int, copied: set[_Key], *, validate: bool) -> list[Failure]:
        failures = []
        self._given = set()
        for request in messages:
            try:
                self._request(request, port, copied, validate=validate)
            except Refusal as refusal:
                failures.append(Failure(request.seq, refusal.errno))
        return failures

    def _request(self, request: Message, port: int, copied: set[_Key], *, validate: bool) -> None:
        kind = request.type & 0xFF
        attrs = wire.parse_attrs(request.payload[4:])
        key = (request.payload[0], wire.text(attrs.get(1, b"")))
        if kind == uapi.NEWTABLE:
            self._put_table(key, attrs, port)
            return
        table = self.tables.get(key)
        if table is None:
            raise Refusal(errno.ENOENT)
        if table.owner not in (0, port):
            raise Refusal(errno.EPERM)
        if kind == uapi.DELTABLE:
            del self.tables[key]
            copied.discard(key)
            self._given.discard(key)
            return
        if kind == uapi.NEWCHAIN and key in self._given and table.lacks_base_chain(attrs):
            raise Refusal(errno.EINVAL)
        if key not in copied:
            table = self.tables[key] = table.copy()
            copied.add(key)
        table.request(kind, request.flags, attrs)
        if validate and kind in (uapi.NEWRULE, uapi.NEWSETELEM) and (fault := table.fault()):
            raise Refusal(fault)

    def _put_table(self, key: _Key, attrs: Mapping[int, bytes], port: int) -> None:
        flags = wire.be32(attrs.get(uapi.TABLE_FLAGS, b"\0\0\0\0"))
        known = _KNOWN_FLAGS if self.knows_owners else 0
        if flags & ~known:
            raise Refusal(errno.EOPNOTSUPP)
        table = self.tables.get(key)
        if table is not None and table.owner not in (0, port):
            raise Refusal(errno.EPERM)
        if table is not None and (flags ^ table.flags) & uapi.TABLE_F_PERSIST:
            raise Refusal(errno.EOPNOTSUPP)
        if table is not None and flags & uapi.TABLE_F_OWNER and not table.owner:
            self._given.add(key)
        table = FakeTable() if table is None else table.copy()
        table.flags = flags
        table.owner = port if flags & uapi.TABLE_F_OWNER else 0
        self.tables[key] = table


class FakeNftSocket:
    """Stands for a ``NetlinkSocket`` of the nftables kind."""

    def __init__(self, kernel: FakeNft, port: int) -> None:
        self._kernel = kernel
        self._port = port
        self._seq = 0
        self.sent: Counter[int] = Counter()
        """How many requests of each type went through this socket."""

    @property
    def port(self) -> int:
        return self._port

    def next_seq(self, n: int = 1) -> int:
        first = self._seq + 1
        self._seq += n
        return first

    def close(self) -> None:
        self._kernel.release(self._port)

    def exchange(self, data: bytes, first_seq: int, last_seq: int) -> tuple[bool, list[Failure]]:
        begin, *requests, end = wire.iter_messages(data)
        if (begin.type, end.type) != (uapi.BATCH_BEGIN, uapi.BATCH_END) or end.seq != last_seq:
            raise Transient("not one transaction")
        self.sent.update(request.type & 0xFF for request in requests)
        guard = wire.parse_attrs(begin.payload[4:]).get(uapi.BATCH_GENID)
        if guard is not None and wire.be32(guard) != self._kernel.generation:
            return False, [Failure(first_seq, errno.ERESTART)]
        failures = self._kernel.transaction(requests, self._port)
        return not failures, failures

    def request(self, request: bytes) -> list[Message]:
        (asked,) = wire.iter_messages(request)
        self.sent[asked.type & 0xFF] += 1
        if asked.type & 0xFF == uapi.GETGEN:
            return [self._answer(asked, uapi.NEWGEN, 0, wire.attr_be32(uapi.GEN_ID, self._kernel.generation))]
        family, name, table = self._table_of(asked)
        attrs = wire.attr_str(uapi.TABLE_NAME, name) + wire.attr_be32(uapi.TABLE_FLAGS, table.flags)
        if table.owner:
            attrs += wire.attr_be32(uapi.TABLE_OWNER, table.owner)
        return [self._answer(asked, uapi.NEWTABLE, family, attrs)]

    def dump(self, request: bytes) -> Iterator[Message]:
        (asked,) = wire.iter_messages(request)
        kind = asked.type & 0xFF
        self.sent[kind] += 1
        attrs = wire.parse_attrs(asked.payload[4:])
        if kind != uapi.GETSETELEM and (asked.payload[0], wire.text(attrs.get(1, b""))) not in self._kernel.tables:
            return  # the kernel lists nothing of a table that is not there
        family, _, table = self._table_of(asked)
        readers: dict[int, Callable[[], list[bytes]]] = {
            uapi.GETRULE: lambda: table.dump_rules(wire.text(attrs.get(uapi.RULE_CHAIN, b""))),
            uapi.GETCHAIN: table.dump_chains,
            uapi.GETSET: table.dump_sets,
            uapi.GETOBJ: table.dump_counters,
            uapi.GETSETELEM: lambda: table.dump_elements(wire.text(attrs.get(uapi.ELEM_LIST_SET, b""))),
        }
        try:
            found = readers[kind]()
        except Refusal as refusal:
            raise NetlinkError(Failure(asked.seq, refusal.errno)) from refusal
        for payload in found:
            yield self._answer(asked, kind - 1, family, payload)

    def _table_of(self, asked: Message) -> tuple[int, str, FakeTable]:
        family = asked.payload[0]
        name = wire.text(wire.parse_attrs(asked.payload[4:]).get(1, b""))
        table = self._kernel.tables.get((family, name))
        if table is None:
            raise NetlinkError(Failure(asked.seq, errno.ENOENT))
        return family, name, table

    def _answer(self, asked: Message, kind: int, family: int, attrs: bytes) -> Message:
        head = bytes((family, 0, 0, 0))
        return Message(uapi.SUBSYS_NFTABLES << 8 | kind, 0, asked.seq, self._port, head + attrs)
