"""Tunnels: what this host takes from the network, and that no policy of host endpoints cuts hosts off.

While the host has VXLAN (the set ``VXLAN_HOSTS`` is there), packets to its port are taken from the addresses of known
hosts only, and while it has IP in IP (``IPIP_HOSTS``) so is protocol 4: whoever else could send them would put packets
past the ingress of every host (requirement S9). Known hosts are let through by host endpoints, in both directions, as
failsafe ports are; untracked and pre-DNAT policies are asked before. WireGuard is let through from and to anywhere:
what has no key of a peer goes no further than its device.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from calico.calc.messages import IPIP_HOSTS, VXLAN_HOSTS
from calico.netlink.nftables.expr import Rule
from calico.netlink.nftables.objects import Chain, Hook
from calico.rules.config import RulesConfig
from calico.rules.drops import drop
from calico.rules.host.dispatch import HostDispatch
from calico.rules.ipsets import IPSets
from calico.rules.loads import ACCEPT, IPIP, UDP, Exprs, Side, address, family, header, in_set, protocol
from calico.rules.table import TableState

__all__ = ["TunnelGuard"]


class _Tunnel(NamedTuple):
    """A kind of tunnel: the set of hosts that it is taken from, its chain, how its packets are known."""

    set_id: str
    chain: str
    name: str
    packets: Exprs
    versions: tuple[int, ...]


class TunnelGuard:
    """Always true: a tunnel's chain is in the table iff its set is known, and refers to the kernel sets that it is made
    of."""

    def __init__(self, state: TableState, config: RulesConfig, sets: IPSets, hosts: HostDispatch) -> None:
        self._state = state
        vxlan = (*protocol(UDP), *header(2, config.vxlan_port.to_bytes(2, "big")))
        self._tunnels = {
            VXLAN_HOSTS: _Tunnel(VXLAN_HOSTS, "tunnel-guard", "VXLAN", vxlan, (4, 6)),
            IPIP_HOSTS: _Tunnel(IPIP_HOSTS, "ipip-guard", "IP in IP", (*family(4), *protocol(IPIP)), (4,)),
        }
        self._sets = sets
        self._hosts = hosts
        self._encrypted = tuple(_wireguard(version, port) for version, port in config.encrypted_ports)
        self._let_through()

    def refresh(self, set_id: str) -> None:
        """A set has come, gone, or is made of other kernel sets than before."""
        tunnel = self._tunnels.get(set_id)
        if tunnel is None:
            return
        if self._sets.has_nets(set_id):
            stranger = Rule((*tunnel.packets, *drop("tunnel-stranger")), f"{tunnel.name} from no known host")
            self._state.want_chain(Chain(tunnel.chain, (*self._known(tunnel, "src"), stranger), Hook("input", -10)))
        else:
            self._state.unwant_chain(tunnel.chain)
        self._let_through()

    def _let_through(self) -> None:
        there = [tunnel for tunnel in self._tunnels.values() if self._sets.has_nets(tunnel.set_id)]
        inward = (rule for tunnel in there for rule in self._known(tunnel, "src"))
        outward = (rule for tunnel in there for rule in self._known(tunnel, "dst"))
        self._hosts.on_tunnels((*self._encrypted, *inward), (*self._encrypted, *outward))

    def _known(self, tunnel: _Tunnel, side: Side) -> Iterator[Rule]:
        for version in tunnel.versions:
            for part in self._sets.address_parts(tunnel.set_id, version == 6):
                of_version = family(version) if len(tunnel.versions) > 1 else ()
                exprs = (*of_version, *tunnel.packets, *in_set(part, address(side, version == 6)))
                yield Rule((*exprs, ACCEPT), f"{tunnel.name} of a known host")


def _wireguard(version: int, port: int) -> Rule:
    return Rule((*family(version), *protocol(UDP), *header(2, port.to_bytes(2, "big")), ACCEPT), "WireGuard")
