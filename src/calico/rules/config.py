"""What the operator decides about the ruleset, as one value."""

from __future__ import annotations

from typing import Literal

import msgspec

from calico.errors import InvalidInput

__all__ = ["IFNAME_MAX", "RulesConfig"]

IFNAME_MAX = 15
"""Longest interface name in bytes: the kernel's IFNAMSIZ without its final NUL."""


class RulesConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of a ruleset; they hold for its whole life.

    ``interface_prefixes`` tell workload interfaces from the host's own. ``pass_mark`` is one bit of the packet mark
    that is ours. With ``openstack`` workloads may reach the host's DHCP and DNS servers and, when ``metadata_v4``
    (4 packed bytes) is given, its metadata service, whatever their policy says.

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
    allow_vxlan: bool = False
    vxlan_port: int = 4789
    allow_ipip: bool = False
    drop_invalid: bool = True
    pass_mark: int = 0x00010000
    openstack: bool = False
    metadata_v4: bytes = b""
    metadata_port: int = 8775
    nat_ports: tuple[int, int] | None = None
    nat_address_v4: bytes = b""
    nat_excludes_hosts: bool = False
    nat_interface: str = ""

    def __post_init__(self) -> None:
        """Refuse an empty or overlong prefix, and a pass mark that is not exactly one bit."""
        if not self.interface_prefixes:
            raise InvalidInput("at least one prefix is required", field="interface_prefixes")
        for prefix in self.interface_prefixes:
            if not 0 < len(prefix.encode()) <= IFNAME_MAX or "\0" in prefix:
                raise InvalidInput(f"{prefix!r} cannot begin an interface name", field="interface_prefixes")
        if not 0 < self.pass_mark < 1 << 32 or self.pass_mark & (self.pass_mark - 1):
            raise InvalidInput("must be exactly one bit of 32", field="pass_mark")
        if self.nat_ports is not None and not 0 < self.nat_ports[0] <= self.nat_ports[1] < 1 << 16:
            raise InvalidInput(f"{self.nat_ports} is no range of ports", field="nat_ports")
        if len(self.nat_interface.encode()) > IFNAME_MAX or "\0" in self.nat_interface:
            raise InvalidInput(f"{self.nat_interface!r} is no name of an interface", field="nat_interface")
        if len(self.nat_address_v4) not in (0, 4):
            raise InvalidInput("must be an IPv4 address", field="nat_address_v4")

    def is_workload(self, interface: str) -> bool:
        """Whether an interface name is one that only a workload's interface may have."""
        fits = 0 < len(interface.encode()) <= IFNAME_MAX and "\0" not in interface
        return fits and interface.startswith(self.interface_prefixes)
