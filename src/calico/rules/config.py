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

    def __post_init__(self) -> None:
        """Refuse an empty or overlong prefix, and a pass mark that is not exactly one bit."""
        if not self.interface_prefixes:
            raise InvalidInput("at least one prefix is required", field="interface_prefixes")
        for prefix in self.interface_prefixes:
            if not 0 < len(prefix.encode()) <= IFNAME_MAX or "\0" in prefix:
                raise InvalidInput(f"{prefix!r} cannot begin an interface name", field="interface_prefixes")
        if not 0 < self.pass_mark < 1 << 32 or self.pass_mark & (self.pass_mark - 1):
            raise InvalidInput("must be exactly one bit of 32", field="pass_mark")

    def is_workload(self, interface: str) -> bool:
        """Whether an interface name is one that only a workload's interface may have."""
        fits = 0 < len(interface.encode()) <= IFNAME_MAX and "\0" not in interface
        return fits and interface.startswith(self.interface_prefixes)
