"""Address translation: floating addresses, masquerading of what leaves the pools, OpenStack's metadata service.

Only the first packet of a connection comes here. Destinations are translated before any policy is asked, sources after
all of it: so policy always sees the workload's own address.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, Literal, TypeAlias

from calico.calc.messages import ALL_HOSTS, IPAM_POOLS, MASQ_POOLS
from calico.lib.packed import net
from calico.netlink.nftables.expr import Cmp, Immediate, Lookup, Masquerade, Meta, Nat, Rule, Verdict
from calico.netlink.nftables.objects import Chain, Hook
from calico.rules.config import RulesConfig
from calico.rules.floating import DNAT, SELF, SNAT, FloatingMaps
from calico.rules.forwards import ForwardMaps, forwarded
from calico.rules.ipsets import IPSets
from calico.rules.loads import (
    RETURN,
    SCTP,
    TCP,
    UDP,
    Exprs,
    Side,
    address,
    family,
    header,
    in_set,
    interface,
    net_is,
    protocol,
)
from calico.rules.names import ifname_key
from calico.rules.table import TableState

__all__ = ["NatChains"]

Version: TypeAlias = Literal[4, 6]
_VERSIONS: Final[tuple[Version, ...]] = (4, 6)
_OUTGOING = "nat-outgoing"
_METADATA = net("169.254.169.254/32")


class NatChains:
    """Always true: a NAT chain is in the table iff it has something to translate, and then refers to what there is."""

    def __init__(
        self, state: TableState, config: RulesConfig, sets: IPSets, floating: FloatingMaps, forwards: ForwardMaps
    ) -> None:
        self._state = state
        self._config = config
        self._sets = sets
        self._floating = floating
        self._forwards = forwards
        self.render()

    def refresh(self, set_id: str) -> None:
        """A set has come, gone, or is made of other kernel sets than before."""
        if set_id in (IPAM_POOLS, MASQ_POOLS, ALL_HOSTS):
            self.render()

    def render(self) -> None:
        """Bring the chains to what there is. Cost is the same whatever the number of endpoints."""
        external = [forwarded(version) for version in _VERSIONS] if self._forwards else []
        external += [_external(version) for version in _VERSIONS] if self._floating else []
        outgoing = self._masquerades()
        self._want("nat-prerouting", Hook("prerouting", -100, type="nat"), [*self._metadata(), *external])
        self._want("nat-output", Hook("output", -100, type="nat"), external)
        self._want(_OUTGOING, None, _outgoing(self._config) if outgoing else [])
        self._want("nat-postrouting", Hook("postrouting", 100, type="nat"), self._postrouting(outgoing))

    def _want(self, name: str, hook: Hook | None, rules: Iterable[Rule]) -> None:
        rules = tuple(rules)
        if rules:
            self._state.want_chain(Chain(name, rules, hook))
        else:
            self._state.unwant_chain(name)

    def _inside(self) -> tuple[str, ...]:
        """The sets whose members are not outside; NAT to outside waits until all of them are known."""
        return (IPAM_POOLS, ALL_HOSTS) if self._config.nat_excludes_hosts else (IPAM_POOLS,)

    def _masquerades(self) -> bool:
        return all(map(self._sets.has_nets, (MASQ_POOLS, *self._inside())))

    def _metadata(self) -> Iterator[Rule]:
        config = self._config
        if not config.has_metadata:
            return
        asked = (*family(4), *net_is("dst", _METADATA), *protocol(TCP), *header(2, (80).to_bytes(2, "big")))
        server = (Immediate(config.metadata_v4), Immediate(config.metadata_port.to_bytes(2, "big"), 1))
        for prefix in config.interface_prefixes:
            exprs = (*interface("iifname", prefix), *asked, *server, Nat("dnat", 4, 0, 1))
            yield Rule(exprs, "metadata service")

    def _postrouting(self, outgoing: bool) -> Iterator[Rule]:
        if self._floating:
            yield from map(_to_itself, _VERSIONS)
        if not all(map(self._sets.has_nets, self._inside())) or not (self._floating or outgoing):
            return
        for set_id in self._inside():
            for exprs in self._members("dst", set_id):
                yield Rule((*exprs, RETURN), "stays inside")
        if self._floating:
            yield from map(_from_own, _VERSIONS)
        if outgoing:
            yield from _other_interfaces(self._config.nat_interface)
            for exprs in self._members("src", MASQ_POOLS):
                yield Rule((*exprs, Verdict("goto", _OUTGOING)), "leaves the pools")

    def _members(self, side: Side, set_id: str) -> Iterator[Exprs]:
        """One alternative for each kernel set that the address may be in."""
        for version in _VERSIONS:
            for part in self._sets.address_parts(set_id, version == 6):
                yield (*family(version), *in_set(part, address(side, version == 6)))


def _external(version: Version) -> Rule:
    exprs = (address("dst", version == 6), Lookup(DNAT[version], dst=0), Nat("dnat", version, 0))
    return Rule((*family(version), *exprs), "external address to the workload's own")


def _to_itself(version: Version) -> Rule:
    """From its own address to its own, by way of the external one: the answer must come back this way."""
    ends = (address("src", version == 6), address("dst", version == 6, 4 if version == 6 else 1))
    exprs = (*ends, Lookup(SELF[version], dst=0), Nat("snat", version, 0))
    return Rule((*family(version), *exprs), "workload to itself")


def _from_own(version: Version) -> Rule:
    exprs = (address("src", version == 6), Lookup(SNAT[version], dst=0), Nat("snat", version, 0))
    return Rule((*family(version), *exprs), "workload's own address to the external one")


def _other_interfaces(name: str) -> Iterator[Rule]:
    """What leaves by another interface than the wanted one stays as it is; a ``+`` at the end stands for any rest."""
    if name.endswith("+") and name != "+":
        yield Rule((*interface("oifname", name[:-1], "neq"), RETURN), "another interface")
    elif name and name != "+":
        yield Rule((Meta("oifname"), Cmp("neq", ifname_key(name)), RETURN), "another interface")


def _outgoing(config: RulesConfig) -> Iterator[Rule]:
    """Protocols with ports get one of the wanted ports, others have none."""
    if config.nat_address_v4:
        fixed = Immediate(config.nat_address_v4)
        for match, loads, first, last in _ports(config, 1):
            exprs = (*family(4), *match, fixed, *loads, Nat("snat", 4, 0, first, last, random_fully=True))
            yield Rule(exprs, "own address")
        yield Rule((*family(4), fixed, Nat("snat", 4, 0, random_fully=True)), "own address")
    for match, loads, first, last in _ports(config, 0):
        yield Rule((*match, *loads, Masquerade(first, last, random_fully=True)), "masquerade")
    yield Rule((Masquerade(random_fully=True),), "masquerade")


def _ports(config: RulesConfig, reg: int) -> Iterator[tuple[Exprs, Exprs, int, int | None]]:
    """For each protocol: its match, the loads of first and last port, and the registers that hold them."""
    if config.nat_ports is None:
        return
    low, high = config.nat_ports
    loads = [Immediate(low.to_bytes(2, "big"), reg), Immediate(high.to_bytes(2, "big"), reg + 1)]
    single = low == high
    for number in (TCP, UDP, SCTP):
        yield protocol(number), tuple(loads[:1] if single else loads), reg, None if single else reg + 1
