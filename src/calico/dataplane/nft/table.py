"""One nftables table kept as it should be: the kernel follows a ``TableState``, transaction by transaction.

The table is owned by our socket and persists without it, where the kernel can do that: others cannot change it, and
after a restart it is found again, taken over and compared, so that traffic never meets a hole.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Collection
from typing import Final

import msgspec

from calico.dataplane.nft.grace import wait_for_packets
from calico.dataplane.nft.mirror import Mirror
from calico.dataplane.nft.moves import Keys, find_moves
from calico.dataplane.nft.plan import Plan, make_plan, make_plan_ahead, may_drop, same_shape
from calico.dataplane.nft.reading import NftSocket, TableStatus, read_counts, read_generation, read_status, read_table
from calico.dataplane.nft.refusal import Exclusions, Owner, Refused
from calico.errors import Transient, Uncertain
from calico.netlink.nftables import uapi
from calico.netlink.nftables.codec import Request, TableCodec, encode_batch, encode_rules
from calico.netlink.nftables.objects import Table
from calico.netlink.socket import NETLINK_NETFILTER, Failure, NetlinkSocket
from calico.rules.room import make_room
from calico.rules.table import Changes, TableState

__all__ = ["ApplyResult", "NftDataplane"]

_ATTEMPTS_MAX: Final = 100
"""Each attempt but a few learns of one more refused object, so this bounds how many loops are cut one by one."""

_FOREIGN_WRITES_MAX: Final = 20
_NO_KEYS: Final = ()
_ADOPT: Final = uapi.TABLE_F_OWNER | uapi.TABLE_F_PERSIST


class ApplyResult(msgspec.Struct, frozen=True, gc=False):
    """What an apply did: whether objects changed, the messages and bytes of the transaction that went through, how
    long all took, and what the kernel refuses (still, if nothing changed)."""

    changed: bool
    messages: int
    bytes: int
    took_ms: float
    failed: tuple[Refused, ...] = ()


class NftDataplane:
    """Brings the kernel's table to ``state``. All writes of the process to this table go through one of these.

    Always true: what differs between ``state`` and the kernel is dirty, or was refused and is tried again together
    with the next change, or a read is due.
    """

    def __init__(
        self,
        table: Table,
        state: TableState,
        *,
        socket_factory: Callable[[], NftSocket] | None = None,
        inherit: Collection[str] = (),
        layout: str = "",
    ) -> None:
        """``inherit``: sets whose elements in the kernel, from an earlier process, become wanted ones. ``layout``: a
        chain that a table must have as it is wanted; one that has another or none is replaced as a whole."""
        self._table = table
        self._state = state
        self._codec = TableCodec(table)
        self._sock = socket_factory() if socket_factory else NetlinkSocket(NETLINK_NETFILTER)
        self._mirror = Mirror()
        self._dirty = Changes()
        self._failed: tuple[Refused, ...] = ()
        self._generation: int | None = None
        self._prelude: list[Request] = []
        self._adopting = False
        self._kernel_can_own = True
        self._owned = False
        self._inherit = frozenset(inherit)
        self._was_read = False
        self._asked_for: set[str] | None = None
        self.repaired: tuple[str, ...] = ()
        """The objects that the last apply put right since others had changed them."""
        self._layout = layout
        self.conflicts = 0
        """Transactions planned again because somebody else wrote nftables meanwhile."""

    @property
    def owned(self) -> bool:
        """Whether only we can change the table now; False before the first apply and on kernels before 6.9."""
        return self._owned

    @property
    def failed(self) -> tuple[Refused, ...]:
        """What the kernel refused at the last apply."""
        return self._failed

    def close(self) -> None:
        """Let go of the table, which stays in force."""
        self._sock.close()

    def exists(self) -> bool:
        """Whether the table is in the kernel already, whoever made it."""
        return read_status(self._sock, self._codec).exists

    def counts(self, chain: str) -> list[int]:
        """Packets counted by each rule of a chain whose rules all count; empty while it is not in the kernel."""
        return read_counts(self._sock, self._codec, chain)

    def resync(self) -> None:
        """Read the table back at the next apply."""
        self._generation = None

    def tampered(self) -> bool:
        """Whether somebody may have changed our table since our last transaction: one message when nobody wrote
        nftables, two when others did and the table is ours alone. False while a read is due anyway."""
        if self._generation is None or read_generation(self._sock) == self._generation:
            return False
        return not self._still_ours()

    def apply(self) -> ApplyResult:
        """Bring the kernel to the state in one transaction, without what it refuses. What must be there before it or
        may leave only after it, so that no packet slips between, has a transaction of its own.

        Transient if that cannot be done now (another owner, no memory, others writing all the time): all stays dirty.
        """
        started = time.monotonic()
        self.repaired = ()
        _merge(self._dirty, self._state.take())
        if self._generation is not None and not self._dirty:
            return ApplyResult(False, 0, 0, _ms_since(started), self._failed)
        self._retry_failed()
        messages, size = self._attempt_all()
        return ApplyResult(messages > 0, messages, size, _ms_since(started), self._failed)

    # -- attempts ----------------------------------------------------------------------------------------------------

    def _attempt_all(self) -> tuple[int, int]:
        exclusions = Exclusions()
        foreign_writes = messages = size = 0
        reread = False
        prepared = False
        for _ in range(_ATTEMPTS_MAX):
            if self._generation is None:
                self._read()
            ahead = not prepared and self._may_prepare()
            late: Keys = (
                {} if ahead or not self._may_prepare() else find_moves(self._state, self._mirror, self._dirty).late
            )
            plan = self._plan_ahead() if ahead else self._make_plan(exclusions, late)
            sent, failures = self._send(plan)
            if not failures:
                messages, size = messages + len(plan.requests), size + sent
                if ahead:
                    self._commit_ahead(plan)
                    prepared = True
                elif self._adopting:
                    self._adopting, self._prelude, self._owned = False, [], True
                else:
                    self._commit(plan, exclusions, late)
                    if not self._dirty:
                        return messages, size
                    wait_for_packets()
            elif _is_restart(failures):
                foreign_writes += 1
                self.conflicts += 1
                if foreign_writes > _FOREIGN_WRITES_MAX:
                    raise Transient("others write nftables all the time")
                self._on_foreign_write()
            elif ahead:
                prepared = True  # all in one transaction then, which says what is to blame
            elif self._table_refused(failures):
                pass
            elif _is_stale(failures) and not reread:
                reread = True
                self._generation = None
            elif not exclusions.blame(failures, lambda name: may_drop(self._state.chains.get(name))):
                raise Transient(f"nftables transaction refused: {failures[0][1]}")
        raise Transient("nftables transaction refused again and again")

    def _may_prepare(self) -> bool:
        """Only a table that we know and have filled: what is made anew or repaired goes in one transaction."""
        return not self._prelude and self._asked_for is None

    def _plan_ahead(self) -> Plan:
        early = find_moves(self._state, self._mirror, self._dirty).early
        return make_plan_ahead(self._codec, self._state, self._mirror, self._dirty, early)

    def _commit_ahead(self, plan: Plan) -> None:
        plan.commit(self._mirror)
        if plan.needs_grace:
            wait_for_packets()

    def _make_plan(self, exclusions: Exclusions, late: Keys) -> Plan:
        """An existing table is adopted by itself: the kernel refuses a new base chain in the transaction that gives its
        table an owner (nf_tables_api.c, ``__NFT_TABLE_F_UPDATE``)."""
        if self._adopting:
            return Plan()
        return make_plan(self._codec, self._state, self._mirror, self._dirty, exclusions, late)

    def _send(self, plan: Plan) -> tuple[int, list[tuple[Owner, Failure]]]:
        """Send prelude and plan as one transaction; the bytes sent, and who was refused (nobody: it is in force)."""
        requests = [*self._prelude, *plan.requests]
        if not requests:
            return 0, []
        table: Owner = ("table", self._table.name, _NO_KEYS)
        owners = [table] * len(self._prelude) + plan.owners
        first = self._sock.next_seq(len(requests) + 2)
        data = encode_batch(requests, first, self._generation)
        try:
            done, failures = self._sock.exchange(data, first, first + len(requests) + 1)
        except Exception:
            self._generation = None
            raise
        if not failures:
            if not done:
                self._generation = None
                raise Uncertain("nftables transaction was not acknowledged")
            self._generation = _next_generation(self._generation)
            return len(data), []
        return len(data), [(_owner_of(owners, failure.seq - first - 1), failure) for failure in failures]

    def _commit(self, plan: Plan, exclusions: Exclusions, late: Keys) -> None:
        plan.commit(self._mirror)
        if self._asked_for is not None:
            self.repaired = tuple(sorted({name for _, name, _ in plan.owners} - self._asked_for))
            self._asked_for = None
        self._owned = self._wants_ownership()
        self._prelude = []
        self._dirty = Changes()
        self._dirty.elements.update({name: set(keys) for name, keys in late.items()})
        self._failed = exclusions.report()

    def _retry_failed(self) -> None:
        for refused in self._failed:
            if refused.kind == "elements":
                self._dirty.elements.setdefault(refused.name, set()).update(refused.keys)
            elif refused.kind in ("set", "gone-set"):
                self._dirty.sets.add(refused.name)
            elif refused.kind in ("counter", "gone-counter"):
                self._dirty.counters.add(refused.name)
            else:
                self._dirty.chains.add(refused.name)

    # -- the table itself --------------------------------------------------------------------------------------------

    def _wants_ownership(self) -> bool:
        return self._table.owned and self._kernel_can_own

    def _read(self) -> None:
        """Learn what is there; everything is dirty then, and the plan sends only what differs."""
        if self._was_read and self._asked_for is None:
            dirty = self._dirty
            self._asked_for = {*dirty.chains, *dirty.sets, *dirty.elements, *dirty.counters}
        generation = read_generation(self._sock)
        mirror, status = read_table(self._sock, self._codec)
        if status.owner and status.owner != self._sock.port:
            raise Transient(f"table {self._table.name} is owned by netlink port {status.owner}")
        self._take_elements(mirror)
        self._prelude = self._take_over(status, mirror)
        self._adopting = status.exists and len(self._prelude) == 1
        if len(self._prelude) > 1:
            mirror = Mirror()
        self._mirror = mirror
        self._generation = generation
        self._was_read = True
        self._dirty = Changes()
        self._dirty.chains.update(mirror.chains, self._state.chains)
        self._dirty.sets.update(mirror.sets, self._state.sets)
        self._dirty.counters.update(mirror.counters, self._state.counters)

    def _take_elements(self, mirror: Mirror) -> None:
        """At the first read only: later the state knows better."""
        for name in self._inherit & mirror.elements.keys() & self._state.sets.keys():
            if not same_shape(self._state.sets[name], mirror.sets[name].decl):
                continue  # another layout's
            for key, value in mirror.elements[name].items():
                self._state.want_element(name, key, value)
            make_room(self._state, name)
        self._inherit = frozenset()

    def _take_over(self, status: TableStatus, mirror: Mirror) -> list[Request]:
        """A table of another layout is replaced, and one that does not persist, which cannot be given an owner. All of
        the new one goes into the same transaction."""
        owns = self._wants_ownership()
        make = self._codec.put_table(_ADOPT if owns else 0)
        if not status.exists:
            return [make]
        if not self._is_known(mirror) or (owns and not status.flags & uapi.TABLE_F_PERSIST):
            return [self._codec.delete_table(), make]
        return [make] if owns and not status.owner else []

    def _is_known(self, mirror: Mirror) -> bool:
        """Whether a table has the layout that we write."""
        if not self._layout:
            return True
        found, wanted = mirror.chains.get(self._layout), self._state.chains[self._layout]
        return found is not None and found.fingerprint == encode_rules(wanted.rules, {})[1]

    def _on_foreign_write(self) -> None:
        """Someone else moved the generation. What we own they could not touch; else everything is read again."""
        if not self._prelude and self._still_ours():
            return
        self._owned = False
        self._generation = None

    def _still_ours(self) -> bool:
        """Whether nobody but us can have changed the table; then what others wrote is of no concern."""
        if not self._owned:
            return False
        generation = read_generation(self._sock)
        if read_status(self._sock, self._codec).owner != self._sock.port:
            return False
        self._generation = generation
        return True

    def _table_refused(self, failures: list[tuple[Owner, Failure]]) -> bool:
        """Whether the table was refused because this kernel knows no owner or persist flag (probed once, thereby)."""
        refused = [failure for owner, failure in failures if owner[:2] == ("table", self._table.name)]
        if not refused:
            return False
        if refused[0].errno in (errno.EOPNOTSUPP, errno.EINVAL) and self._wants_ownership():
            self._kernel_can_own = False
            self._generation = None
            return True
        raise Transient(f"table {self._table.name} refused: {refused[0]}")


def _merge(into: Changes, changes: Changes) -> None:
    into.chains |= changes.chains
    into.sets |= changes.sets
    into.counters |= changes.counters
    for name, keys in changes.elements.items():
        into.elements.setdefault(name, set()).update(keys)


def _owner_of(owners: list[Owner], index: int) -> Owner:
    """BEGIN and END stand for the transaction as a whole."""
    return owners[index] if 0 <= index < len(owners) else ("table", "", _NO_KEYS)


def _is_restart(failures: list[tuple[Owner, Failure]]) -> bool:
    return any(failure.errno == errno.ERESTART for _, failure in failures)


def _is_stale(failures: list[tuple[Owner, Failure]]) -> bool:
    """Whether the kernel lacks what the mirror has: it is wrong then."""
    return any(owner[0] == "gone-elements" for owner, _ in failures)


def _next_generation(generation: int | None) -> int | None:
    """A transaction moves the generation by one; 0 is skipped when it wraps."""
    return None if generation is None else (generation + 1) & 0xFFFFFFFF or 1


def _ms_since(started: float) -> float:
    return (time.monotonic() - started) * 1000
