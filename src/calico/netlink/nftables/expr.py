"""nf_tables expressions and rules as values, close to what the kernel executes.

Registers are the sixteen 4-byte registers ``R0..R15`` (NFT_REG32_00 + n); a value longer than 4 bytes occupies the
next ones too. Data is in network byte order unless the kernel keeps it in host order (marks, interface names are
NUL padded to 16 bytes, l4proto is one byte).
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

__all__ = [
    "Bitwise",
    "Byteorder",
    "Cmp",
    "ConnLimit",
    "CountIn",
    "Counter",
    "Ct",
    "Expr",
    "Exthdr",
    "Fib",
    "Immediate",
    "Limit",
    "Log",
    "Lookup",
    "Masquerade",
    "Meta",
    "MetaSet",
    "Nat",
    "Notrack",
    "Payload",
    "PayloadSet",
    "Range",
    "Reject",
    "Rule",
    "Verdict",
]


class _Expr(msgspec.Struct, frozen=True, gc=False):
    pass


class Verdict(_Expr, frozen=True):
    """An immediate verdict, also the value of a verdict map's element. ``chain`` for jump and goto."""

    kind: Literal["accept", "drop", "return", "jump", "goto", "continue"]
    chain: str = ""


class Meta(_Expr, frozen=True):
    """Load packet metadata into ``reg``."""

    key: Literal["iifname", "oifname", "iif", "oif", "l4proto", "nfproto", "protocol", "mark"]
    reg: int = 0


class MetaSet(_Expr, frozen=True):
    """Store ``reg`` into the packet's mark."""

    key: Literal["mark"]
    reg: int = 0


class Payload(_Expr, frozen=True):
    """Load ``length`` bytes at ``offset`` of a header; a packet too short (or a later fragment, for
    ``transport``) does not match the rule."""

    base: Literal["link", "network", "transport"]
    offset: int
    length: int
    reg: int = 0


class Exthdr(_Expr, frozen=True):
    """Load 1 into ``reg`` when the IPv6 extension header ``type`` is present, else 0."""

    type: int
    reg: int = 0


class PayloadSet(_Expr, frozen=True):
    """Store ``length`` bytes from ``reg`` at ``offset`` of the network header; ``checksum`` is the offset of the
    header's checksum to update, or None (IPv6)."""

    offset: int
    length: int
    checksum: int | None = None
    reg: int = 0


class Ct(_Expr, frozen=True):
    """Load conntrack data: ``state`` is a host-order bit mask (invalid 1, established 2, related 4, new 8, untracked
    64); so is ``status`` (expected 1, seen-reply 2, assured 4, confirmed 8, snat 16, dnat 32)."""

    key: Literal["state", "status", "mark", "direction"]
    reg: int = 0


class Fib(_Expr, frozen=True):
    """Look up the route to ``flags``' address; the result is an oif index (0 when missing) or an address type."""

    result: Literal["oif", "type"]
    flags: tuple[Literal["saddr", "daddr", "mark", "iif", "oif"], ...]
    reg: int = 0


class Immediate(_Expr, frozen=True):
    """Load constant data into ``reg``."""

    data: bytes
    reg: int = 0


class Cmp(_Expr, frozen=True):
    """Compare a register with constant data."""

    op: Literal["eq", "neq", "lt", "lte", "gt", "gte"]
    data: bytes
    reg: int = 0


class Range(_Expr, frozen=True):
    """Whether a register is within (eq) or outside (neq) an inclusive range."""

    op: Literal["eq", "neq"]
    low: bytes
    high: bytes
    reg: int = 0


class Bitwise(_Expr, frozen=True):
    """``dst = (src & mask) ^ xor`` over ``len(mask)`` bytes."""

    mask: bytes
    xor: bytes
    src: int = 0
    dst: int = 0


class Byteorder(_Expr, frozen=True):
    """Convert ``length`` bytes between host and network order in elements of ``size``."""

    op: Literal["ntoh", "hton"]
    length: int
    size: int
    src: int = 0
    dst: int = 0


class Lookup(_Expr, frozen=True):
    """Look the key that starts at ``reg`` up in a set (``inverted``: must not be there) or, with ``verdict``, in a
    verdict map whose verdict is then taken, or, with ``dst``, in a map whose value is loaded into that register; a
    miss ends the rule."""

    set: str
    reg: int = 0
    inverted: bool = False
    verdict: bool = False
    dst: int | None = None


class Log(_Expr, frozen=True):
    """Log the packet with a prefix (kernel log, or a netlink group)."""

    prefix: str
    group: int | None = None
    level: int | None = None


class Limit(_Expr, frozen=True):
    """Match at most ``rate`` packets (or bytes) per ``unit_s`` seconds, with bursts; ``over``: match the rest."""

    rate: int
    unit_s: int
    burst: int = 5
    unit: Literal["packets", "bytes"] = "packets"
    over: bool = False


class ConnLimit(_Expr, frozen=True):
    """Match while at most ``count`` connections that came to this rule are tracked; ``over``: when there are more."""

    count: int
    over: bool = False


class Notrack(_Expr, frozen=True):
    """Leave the packet out of connection tracking; only before it, at raw priority."""


class Nat(_Expr, frozen=True):
    """Translate the destination (``dnat``) or source (``snat``) of the connection: to the address in ``address`` (a
    register) and the ports from the registers ``port_min`` to ``port_max`` (network order), where given."""

    kind: Literal["dnat", "snat"]
    version: Literal[4, 6]
    address: int | None = None
    port_min: int | None = None
    port_max: int | None = None
    random_fully: bool = False


class Masquerade(_Expr, frozen=True):
    """Translate the source to the address of the interface it leaves by; ports as in ``Nat``."""

    port_min: int | None = None
    port_max: int | None = None
    random_fully: bool = False


class Counter(_Expr, frozen=True):
    """Count packets and bytes; the counts are not part of the value."""


class CountIn(_Expr, frozen=True):
    """Count packets and bytes in the table's counter of that name, which outlives the rule."""

    counter: str


class Reject(_Expr, frozen=True):
    """Answer with an ICMP port unreachable (``icmpx``) or a TCP reset."""

    kind: Literal["icmpx-port-unreachable", "icmpx-admin-prohibited", "tcp-reset"]


Expr: TypeAlias = (
    Verdict
    | Meta
    | MetaSet
    | Payload
    | PayloadSet
    | Exthdr
    | Ct
    | Fib
    | Cmp
    | Range
    | Bitwise
    | Byteorder
    | Lookup
    | Log
    | Limit
    | ConnLimit
    | Notrack
    | Nat
    | Masquerade
    | Counter
    | CountIn
    | Reject
    | Immediate
)


class Rule(msgspec.Struct, frozen=True, gc=False):
    """Expressions evaluated left to right until one does not match; the comment is shown by ``nft list``."""

    exprs: tuple[Expr, ...]
    comment: str = ""
