"""VXLAN and WireGuard: what this host takes from the network, and that no policy of host endpoints cuts hosts off.

While the host has VXLAN (the set ``VXLAN_HOSTS`` is there), packets to its port are taken from the addresses of known
hosts only: whoever else could send them would put packets past the ingress of every host (requirement S9). Known hosts
are let through by host endpoints, in both directions, as failsafe ports are; untracked and pre-DNAT policies are asked
before. WireGuard is let through from and to anywhere: what has no key of a peer goes no further than its device.
"""

from __future__ import annotations

from collections.abc import Iterator

from calico.calc.messages import VXLAN_HOSTS
from calico.netlink.nftables.expr import Rule
from calico.netlink.nftables.objects import Chain, Hook
from calico.rules.config import RulesConfig
from calico.rules.host.dispatch import HostDispatch
from calico.rules.ipsets import IPSets
from calico.rules.loads import ACCEPT, DROP, UDP, Exprs, Side, address, family, header, in_set, protocol
from calico.rules.table import TableState

__all__ = ["TunnelGuard"]

_CHAIN = "tunnel-guard"


class TunnelGuard:
    """Always true: the chain is in the table iff the set is known, and refers to the kernel sets that it is made of."""

    def __init__(self, state: TableState, config: RulesConfig, sets: IPSets, hosts: HostDispatch) -> None:
        self._state = state
        self._port: Exprs = (*protocol(UDP), *header(2, config.vxlan_port.to_bytes(2, "big")))
        self._sets = sets
        self._hosts = hosts
        self._encrypted = tuple(_wireguard(version, port) for version, port in config.encrypted_ports)
        self._let_through((), ())

    def refresh(self, set_id: str) -> None:
        """A set has come, gone, or is made of other kernel sets than before."""
        if set_id != VXLAN_HOSTS:
            return
        if not self._sets.has_nets(VXLAN_HOSTS):
            self._state.unwant_chain(_CHAIN)
            self._let_through((), ())
            return
        known = tuple(self._known("src"))
        stranger = Rule((*self._port, DROP), "VXLAN from no known host")
        self._state.want_chain(Chain(_CHAIN, (*known, stranger), Hook("input", -10)))
        self._let_through(known, tuple(self._known("dst")))

    def _let_through(self, inward: tuple[Rule, ...], outward: tuple[Rule, ...]) -> None:
        self._hosts.on_tunnels((*self._encrypted, *inward), (*self._encrypted, *outward))

    def _known(self, side: Side) -> Iterator[Rule]:
        for version in (4, 6):
            for part in self._sets.address_parts(VXLAN_HOSTS, version == 6):
                exprs = (*family(version), *self._port, *in_set(part, address(side, version == 6)))
                yield Rule((*exprs, ACCEPT), "VXLAN of a known host")


def _wireguard(version: int, port: int) -> Rule:
    return Rule((*family(version), *protocol(UDP), *header(2, port.to_bytes(2, "big")), ACCEPT), "WireGuard")
