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
    "Counter",
    "Ct",
    "Expr",
    "Exthdr",
    "Fib",
    "Limit",
    "Log",
    "Lookup",
    "Meta",
    "MetaSet",
    "Payload",
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


class Ct(_Expr, frozen=True):
    """Load conntrack data: ``state`` is a host-order bit mask (invalid 1, established 2, related 4, new 8)."""

    key: Literal["state", "status", "mark", "direction"]
    reg: int = 0


class Fib(_Expr, frozen=True):
    """Look up the route to ``flags``' address; the result is an oif index (0 when missing) or an address type."""

    result: Literal["oif", "type"]
    flags: tuple[Literal["saddr", "daddr", "mark", "iif", "oif"], ...]
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
    verdict map whose verdict is then taken; a miss ends the rule."""

    set: str
    reg: int = 0
    inverted: bool = False
    verdict: bool = False


class Log(_Expr, frozen=True):
    """Log the packet with a prefix (kernel log, or a netlink group)."""

    prefix: str
    group: int | None = None
    level: int | None = None


class Limit(_Expr, frozen=True):
    """Match at most ``rate`` packets per ``unit_s`` seconds, with bursts."""

    rate: int
    unit_s: int
    burst: int = 5


class Counter(_Expr, frozen=True):
    """Count packets and bytes; the counts are not part of the value."""


class Reject(_Expr, frozen=True):
    """Answer with an ICMP port unreachable (``icmpx``) or a TCP reset."""

    kind: Literal["icmpx-port-unreachable", "icmpx-admin-prohibited", "tcp-reset"]


Expr: TypeAlias = (
    Verdict
    | Meta
    | MetaSet
    | Payload
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
    | Counter
    | Reject
)


class Rule(msgspec.Struct, frozen=True, gc=False):
    """Expressions evaluated left to right until one does not match; the comment is shown by ``nft list``."""

    exprs: tuple[Expr, ...]
    comment: str = ""
