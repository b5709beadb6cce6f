"""Why the kernel refuses a base chain, an expression, an element or a way of jumps, for the fake kernel.

Follows ``nf_tables_api.c``, ``nft_chain_nat.c`` and the ``init`` and ``validate`` functions of ``nft_lookup.c``,
``nft_nat.c``, ``nft_masq.c``, ``nft_fib.c``, ``nft_reject.c`` and ``nft_limit.c`` (net/netfilter). That registers are
loaded before they are used is not checked.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from calico.netlink.nftables import uapi
from calico.netlink.nftables.expr import Expr, Fib, Limit, Lookup, Masquerade, Nat, Reject, Verdict
from calico.netlink.nftables.objects import ElementValue, Hook

__all__ = ["Reach", "Refusal", "check_expr", "check_hook", "value_fits"]

_JUMP_STACK: Final = 16
_U64_MAX: Final = (1 << 64) - 1
_NS_PER_S: Final = 10**9
_CONNTRACK_PRIORITY: Final = -200
_HOOKS_OF_TYPE: Final = {
    "filter": ("prerouting", "input", "forward", "output", "postrouting"),
    "nat": ("prerouting", "input", "output", "postrouting"),
    "route": ("output",),
}
_HOOKS_OF_NAT: Final = {"dnat": ("prerouting", "output"), "snat": ("postrouting", "input")}
_HOOKS_OF_REJECT: Final = ("prerouting", "input", "forward", "output")


class Refusal(Exception):
    """A request is refused with this errno."""

    def __init__(self, code: int) -> None:
        self.errno = code
        super().__init__(errno.errorcode.get(code, str(code)))


def check_hook(hook: Hook) -> None:
    """Refusal unless a base chain may sit there."""
    if hook.hook not in _HOOKS_OF_TYPE.get(hook.type, ()):
        raise Refusal(errno.EOPNOTSUPP)
    if hook.type == "nat" and hook.priority <= _CONNTRACK_PRIORITY:
        raise Refusal(errno.EOPNOTSUPP)


def check_expr(expr: Expr, data_type: int | None) -> None:
    """Refusal unless an expression makes sense in itself; ``data_type`` is that of the set it looks up."""
    match expr:
        case Lookup():
            wanted = uapi.DATA_TYPE_VERDICT if expr.verdict else data_type
            takes = expr.verdict or expr.dst is not None
            if takes and (expr.inverted or not data_type or data_type != wanted):
                raise Refusal(errno.EINVAL)
            if expr.dst is not None and data_type == uapi.DATA_TYPE_VERDICT:
                raise Refusal(errno.EINVAL)
        case Fib() if ("saddr" in expr.flags) == ("daddr" in expr.flags):
            raise Refusal(errno.EINVAL)
        case Limit(rate=0):
            raise Refusal(errno.EINVAL)
        case Limit() if expr.rate + expr.burst > _U64_MAX:
            raise Refusal(errno.EOVERFLOW)
        case Limit(unit="bytes") if expr.unit_s * _NS_PER_S * (expr.rate + expr.burst) > _U64_MAX:
            raise Refusal(errno.EOVERFLOW)


def value_fits(value: ElementValue, data_type: int, data_length: int) -> bool:
    """Whether an element holds what its set is declared to hold."""
    if data_type == uapi.DATA_TYPE_VERDICT:
        return isinstance(value, Verdict)
    if data_type:
        return isinstance(value, bytes) and len(value) == data_length
    return value is None


class Reach:
    """What base chains lead to: a packet must not jump deeper than the kernel's stack (a loop is that, too), nor meet
    what has no meaning in the base chain that it comes from."""

    def __init__(self, exprs: Callable[[str], Iterable[Expr]], targets: Callable[[str], set[str]]) -> None:
        self._exprs = exprs
        self._targets = targets
        self._depths: dict[str, int] = {}

    def fault(self, hooks: Mapping[str, Hook]) -> int:
        """The errno that base chains are refused with, or 0."""
        if any(self._depth(name) >= _JUMP_STACK for name in hooks):
            return errno.EMLINK
        return 0 if all(self._has_meaning(name, hook) for name, hook in hooks.items()) else errno.EOPNOTSUPP

    def _depth(self, name: str) -> int:
        """The longest way of jumps from a chain; without end while the chain itself is on the way."""
        if name not in self._depths:
            self._depths[name] = _JUMP_STACK
            self._depths[name] = max((1 + self._depth(target) for target in self._targets(name)), default=0)
        return self._depths[name]

    def _has_meaning(self, base: str, hook: Hook) -> bool:
        reached, ahead = {base}, [base]
        while ahead:
            name = ahead.pop()
            if not all(_fits(expr, hook) for expr in self._exprs(name)):
                return False
            ahead += self._targets(name) - reached
            reached |= self._targets(name)
        return True


def _fits(expr: Expr, hook: Hook) -> bool:
    """Whether an expression has a meaning for packets of a base chain."""
    match expr:
        case Nat():
            return hook.type == "nat" and hook.hook in _HOOKS_OF_NAT[expr.kind]
        case Masquerade():
            return hook.type == "nat" and hook.hook == "postrouting"
        case Reject():
            return hook.hook in _HOOKS_OF_REJECT
        case Fib(result="type") if "iif" in expr.flags:
            return hook.hook in ("prerouting", "input", "forward")
        case Fib(result="type") if "oif" in expr.flags:
            return hook.hook in ("output", "postrouting", "forward")
        case Fib(result="oif"):
            return hook.hook in ("prerouting", "input", "forward")
        case _:
            return True
