"""What of the host's settings the calculation depends on, as one value that holds for the graph's whole life."""

from __future__ import annotations

from typing import Literal

import msgspec

from calico.calc.encap import Version

__all__ = ["CalcSettings"]


class CalcSettings(msgspec.Struct, frozen=True, kw_only=True):
    """``floating_ips``: NATs of endpoints are told. ``nat_excludes_hosts``: whoever asks for the pools because of
    NAT also asks for the addresses of all hosts. ``source_spoofing``: endpoints may ask to send from networks that
    are not theirs; without it one that asks is malformed (datamodel 15.6). ``vxlan``: whether this host has VXLAN;
    None: if a pool asks for it. ``ipip``: whether it has IP in IP if a pool asks. ``wireguard``: the IP versions in
    which packets to hosts that have a key are encrypted; with ``wireguard_hosts`` those to the hosts themselves,
    too."""

    floating_ips: bool = False
    nat_excludes_hosts: bool = False
    source_spoofing: bool = False
    vxlan: bool | None = None
    ipip: bool = True
    wireguard: frozenset[Version] = frozenset()
    wireguard_hosts: bool = False

    def allows(self, kind: Literal["vxlan", "ipip"]) -> bool:
        """Whether this host may have a tunnel that a pool asks for."""
        return self.vxlan is not False if kind == "vxlan" else self.ipip
