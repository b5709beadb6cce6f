"""A routing table of our own, and the rule that has it asked before the main one by whatever is not encrypted yet."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Mapping
from typing import Final

from calico.dataplane.dumps import dump_all
from calico.dataplane.routing.routedriver import canonical
from calico.errors import Transient
from calico.lib import packed
from calico.lib.reconcile import Plan
from calico.netlink.rtnetlink import route as rt
from calico.netlink.rtnetlink.route import KernelRoute
from calico.netlink.rtnetlink.rule import MarkRule, decode_mark_rule, delete_mark_rule, dump_rules, new_mark_rule
from calico.netlink.socket import NetlinkError, NetlinkSocket

__all__ = ["RuleKeeper", "TableDriver", "delete_rules", "find_rules"]

_GONE: Final = frozenset({errno.ESRCH, errno.ENODEV, errno.ENOENT, errno.ENXIO})


class TableDriver:
    """Driver of the reconciler of the routes of one table and family, by destination: those with our protocol number,
    of which there is one each."""

    def __init__(self, sock: NetlinkSocket, family: int, table: int, protocol: int) -> None:
        self._sock = sock
        self._family, self._table, self._protocol = family, table, protocol
        self._installed: dict[bytes, KernelRoute] = {}

    async def read(self) -> Mapping[bytes, KernelRoute]:
        self._installed = {}
        for answer in dump_all(self._sock, lambda seq: rt.dump_routes(seq, self._family)):
            family, _, table, protocol = rt.peek_route(answer.payload)
            if (family, table, protocol) == (self._family, self._table, self._protocol):
                route = rt.decode_route(answer.payload)
                if not route.cached:
                    self._installed[route.dst] = canonical(route)
        return self._installed

    async def write(self, plan: Plan[bytes, KernelRoute]) -> Iterable[tuple[bytes, Exception]]:
        """A changed route is taken away first: in IPv6 one that leads nowhere is not replaced by one that leads on. The
        packets of that moment are not sent in the open: their whole network is unreachable before."""
        goes = [dst for dst in (*plan.delete, *plan.put) if dst in self._installed]
        first = self._sock.next_seq(len(goes) + len(plan.put))
        messages = [rt.delete_route(first + i, self._installed[dst]) for i, dst in enumerate(goes)]
        put = list(plan.put)
        messages += [rt.new_route(first + len(goes) + i, plan.put[dst], replace=True) for i, dst in enumerate(put)]
        failed: dict[bytes, Exception] = {}
        for failure in self._sock.transact(messages) if messages else ():
            place = failure.seq - first
            dst = goes[place] if place < len(goes) else put[place - len(goes)]
            if place >= len(goes) or failure.errno not in _GONE:
                failed[dst] = Transient(f"route to {packed.net_str(dst)} in table {self._table}: {failure}")
        for dst in goes:
            del self._installed[dst]
        self._installed.update((dst, route) for dst, route in plan.put.items() if dst not in failed)
        return list(failed.items())


class RuleKeeper:
    """One rule of a family, or none. Rules for the same table and mark with another priority are ours, too."""

    def __init__(self, sock: NetlinkSocket, rule: MarkRule) -> None:
        self._sock = sock
        self._rule = rule

    def keep(self, wanted: bool) -> None:
        """See that the rule is there, or is not. Transient when the kernel refuses."""
        found = self.found()
        try:
            if wanted and self._rule not in found:
                self._sock.request(new_mark_rule(self._sock.next_seq(), self._rule))
            delete_rules(self._sock, [rule for rule in found if rule != self._rule or not wanted])
        except NetlinkError as error:
            raise Transient(f"rule for table {self._rule.table} at priority {self._rule.priority}: {error}") from error

    def found(self) -> list[MarkRule]:
        """Those that there are."""
        rules = find_rules(self._sock, self._rule.family, self._rule.table)
        return [rule for rule in rules if rule.mark == self._rule.mark]


def find_rules(sock: NetlinkSocket, family: int, table: int) -> list[MarkRule]:
    """The rules of this kind that lead to a table."""
    answers = dump_all(sock, lambda seq: dump_rules(seq, family))
    rules = (decode_mark_rule(answer.payload) for answer in answers)
    return [rule for rule in rules if rule is not None and rule.table == table]


def delete_rules(sock: NetlinkSocket, rules: Iterable[MarkRule]) -> None:
    """Take rules away. NetlinkError when the kernel refuses."""
    for rule in rules:
        sock.request(delete_mark_rule(sock.next_seq(), rule))
