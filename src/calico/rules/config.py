"""What the operator decides about the ruleset, as one value."""

from __future__ import annotations

from typing import Literal

import msgspec

from calico.errors import InvalidInput
from calico.rules.packets import TCP, UDP

__all__ = ["FAILSAFE_IN", "FAILSAFE_OUT", "IFNAME_MAX", "LOOPBACK", "FailsafePort", "RulesConfig"]

IFNAME_MAX = 15
"""Longest interface name in bytes: the kernel's IFNAMSIZ without its final NUL."""

LOOPBACK = "lo"
"""The one interface of the host that is never a host endpoint."""


class FailsafePort(msgspec.Struct, frozen=True):
    """A port that no policy of a host endpoint closes; ``net`` (packed) limits it to peers within."""

    protocol: int
    port: int
    net: bytes | None = None


_CLUSTER = tuple(FailsafePort(TCP, port) for port in (179, 2379, 2380, 5473, 6443, 6666, 6667))
FAILSAFE_IN = (FailsafePort(TCP, 22), FailsafePort(UDP, 68), *_CLUSTER)
FAILSAFE_OUT = (FailsafePort(UDP, 53), FailsafePort(UDP, 67), *_CLUSTER)
"""Datamodel 15.4: SSH, DHCP, DNS, and what a cluster needs to be mended."""


class RulesConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of a ruleset; they hold for its whole life.

    ``interface_prefixes`` tell workload interfaces from the host's own. ``pass_mark`` and ``accept_mark`` are bits of
    the packet mark that are ours: *pass* within one list chain, *accepted* from the chains before connection tracking
    and DNAT to those of the filter. ``failsafe_in`` and ``failsafe_out`` are open on every host endpoint. With
    ``openstack`` workloads may reach the host's DHCP and DNS servers and, when ``metadata_v4`` (4 packed bytes) is
    given, its metadata service, there and at fe80::a9fe:a9fe, whatever their policy says.
    Log rules write ``log_prefix`` (see ``calico.rules.logprefix``), each at most ``log_rate`` (packets, in so many
    seconds) times after the first ``log_burst`` packets.

    ``encrypted_ports``: IP versions and UDP ports of WireGuard on this host, which host endpoints leave open.

    ``flow_log_group``: the nflog group that decisions of policy are logged to, or None.

    Of connections that leave the pools: ``nat_ports`` are the first and last source port of masqueraded ones,
    ``nat_address_v4`` (4 packed bytes) the source that IPv4 gets instead of the interface's address, and
    ``nat_interface`` the interface they leave by (with ``+`` at its end: the beginning of its name); with
    ``nat_excludes_hosts`` connections to hosts do not leave the pools.
    Raises InvalidInput for a prefix or mark that would make the ruleset match what it must not.
    """

    interface_prefixes: tuple[str, ...] = ("cali",)
    endpoint_to_host: Literal["drop", "accept", "return"] = "drop"
    deny: Literal["drop", "reject"] = "drop"
    log_prefix: str = "calico-packet"
    log_rate: tuple[int, int] | None = None
    log_burst: int = 5
    allow_vxlan: bool = False
    vxlan_port: int = 4789
    allow_ipip: bool = False
    drop_invalid: bool = True
    pass_mark: int = 0x00010000
    accept_mark: int = 0x00020000
    failsafe_in: tuple[FailsafePort, ...] = FAILSAFE_IN
    failsafe_out: tuple[FailsafePort, ...] = FAILSAFE_OUT
    openstack: bool = False
    metadata_v4: bytes = b""
    metadata_port: int = 8775
    nat_ports: tuple[int, int] | None = None
    nat_address_v4: bytes = b""
    nat_excludes_hosts: bool = False
    nat_interface: str = ""
    flow_log_group: int | None = None
    encrypted_ports: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        """Refuse an empty or overlong prefix, and marks that are not exactly one bit each."""
        if not self.interface_prefixes:
            raise InvalidInput("at least one prefix is required", field="interface_prefixes")
        for prefix in self.interface_prefixes:
            if not 0 < len(prefix.encode()) <= IFNAME_MAX or "\0" in prefix:
                raise InvalidInput(f"{prefix!r} cannot begin an interface name", field="interface_prefixes")
        for field, mark in (("pass_mark", self.pass_mark), ("accept_mark", self.accept_mark)):
            if not 0 < mark < 1 << 32 or mark & (mark - 1):
                raise InvalidInput("must be exactly one bit of 32", field=field)
        if self.accept_mark == self.pass_mark:
            raise InvalidInput("must be another bit than pass_mark", field="accept_mark")
        if self.nat_ports is not None and not 0 < self.nat_ports[0] <= self.nat_ports[1] < 1 << 16:
            raise InvalidInput(f"{self.nat_ports} is no range of ports", field="nat_ports")
        if len(self.nat_interface.encode()) > IFNAME_MAX or "\0" in self.nat_interface:
            raise InvalidInput(f"{self.nat_interface!r} is no name of an interface", field="nat_interface")
        if len(self.nat_address_v4) not in (0, 4):
            raise InvalidInput("must be an IPv4 address", field="nat_address_v4")

    @property
    def has_metadata(self) -> bool:
        """Whether workloads find a metadata service on their host."""
        return self.openstack and bool(self.metadata_v4)

    def is_workload(self, interface: str) -> bool:
        """Whether an interface name is one that only a workload's interface may have."""
        return _is_name(interface) and interface.startswith(self.interface_prefixes)

    def is_hosts(self, interface: str) -> bool:
        """Whether an interface name is one that a host endpoint may be: not a workload's, not the loopback's."""
        return _is_name(interface) and interface != LOOPBACK and not interface.startswith(self.interface_prefixes)


def _is_name(interface: str) -> bool:
    return 0 < len(interface.encode()) <= IFNAME_MAX and "\0" not in interface
