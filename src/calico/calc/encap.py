"""Pools that need a tunnel and nodes as ends of tunnels, checked and packed. No history, no order.

A pool whose mode is not known to be *Never* needs a tunnel: what is meant to be hidden is never sent in the open. A
malformed address or MAC of a node is left out and reported.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Literal, TypeAlias

import msgspec

from calico.lib import packed
from calico.model.ippool import IPPool
from calico.model.node import Node, NodeSpec
from calico.model.soundness import net_fault

__all__ = ["VERSIONS", "HostEnd", "PoolEncap", "Version", "host_ends", "pool_encap"]

Version: TypeAlias = Literal[4, 6]
VERSIONS: tuple[Version, Version] = (4, 6)

_NEVER = ("", "Never")
_HOST_TYPES = ("CalicoNodeIP", "InternalIP")
_MAC = re.compile(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}")


class PoolEncap(msgspec.Struct, frozen=True):
    """How packets to other hosts' part of a pool are wrapped; with ``cross_subnet`` only those to other subnets."""

    kind: Literal["vxlan", "ipip"]
    cross_subnet: bool


class HostEnd(msgspec.Struct, frozen=True, kw_only=True):
    """A node in one IP version: its packed address, the net of its subnet (a single address when that is not said),
    its address in the VXLAN network and the MAC it has there, and its address in IP in IP. Empty is absent."""

    address: bytes = b""
    subnet: bytes = b""
    tunnel: bytes = b""
    mac: bytes = b""
    ipip: bytes = b""

    @property
    def inner(self) -> tuple[bytes, ...]:
        """The addresses that it has in tunnels."""
        return tuple(address for address in (self.tunnel, self.ipip) if address)


def pool_encap(pool: IPPool) -> PoolEncap | None:
    """The tunnel of a pool; None without one."""
    spec = pool.spec
    if spec.vxlan_mode not in _NEVER:
        return PoolEncap("vxlan", spec.vxlan_mode == "CrossSubnet")
    if spec.ipip_mode not in _NEVER:
        return PoolEncap("ipip", spec.ipip_mode == "CrossSubnet")
    return None


def host_ends(name: str, node: Node) -> tuple[Mapping[Version, HostEnd], tuple[str, ...]]:
    """A node's ends, and what is wrong with what it says of its tunnels (its addresses are judged elsewhere)."""
    spec = node.spec
    ends: dict[Version, HostEnd] = {}
    problems: list[str] = []
    told = {
        4: (
            "spec.ipv4VXLANTunnelAddr",
            spec.ipv4_vxlan_tunnel_addr,
            "spec.vxlanTunnelMACAddr",
            spec.vxlan_tunnel_mac_addr,
        ),
        6: (
            "spec.ipv6VXLANTunnelAddr",
            spec.ipv6_vxlan_tunnel_addr,
            "spec.vxlanTunnelMACAddrV6",
            spec.vxlan_tunnel_mac_addr_v6,
        ),
    }
    inner = spec.bgp.ipv4_ipip_tunnel_addr if spec.bgp is not None else ""
    if inner and not _address(inner, 4):
        problems.append(f"spec.bgp.ipv4IPIPTunnelAddr: {inner!r} is no IPv4 address")
    for version in VERSIONS:
        field, text, mac_field, mac = told[version]
        tunnel = _address(text, version)
        if text and not tunnel:
            problems.append(f"{field}: {text!r} is no IPv{version} address")
        if mac and not _MAC.fullmatch(mac):
            problems.append(f"{mac_field}: {mac!r} is no MAC; the one that follows from the name is used")
        address, subnet = next(_addresses(spec, version), (b"", b""))
        end = HostEnd(
            address=address,
            subnet=subnet,
            tunnel=tunnel,
            mac=(bytes.fromhex(mac.replace(":", "")) if _MAC.fullmatch(mac) else _derived_mac(name, version))
            if tunnel
            else b"",
            ipip=_address(inner, 4) if version == 4 else b"",
        )
        if address or end.inner:
            ends[version] = end
    return ends, tuple(problems)


def _derived_mac(name: str, version: Version) -> bytes:
    """What Calico gives a node that says none: ``66`` and the beginning of a hash of its name."""
    digest = hashlib.sha1((name if version == 4 else f"{name}-v6").encode(), usedforsecurity=False).digest()
    return b"\x66" + digest[:5]


def _addresses(spec: NodeSpec, version: Version) -> Iterator[tuple[bytes, bytes]]:
    """(address, subnet) of a node, best first: the address of its BGP, then those of the host itself."""
    bgp = spec.bgp
    text = "" if bgp is None else bgp.ipv4_address if version == 4 else bgp.ipv6_address
    address = _address(text, version)
    if address:
        yield address, packed.net(text)
    for item in spec.addresses:
        address = _address(item.address, version)
        if address and item.type in _HOST_TYPES:
            yield address, packed.net(item.address)


def _address(text: str, version: Version) -> bytes:
    if not text or net_fault(text):
        return b""
    address = packed.addr_bytes(text.partition("/")[0])
    return address if len(address) == (4 if version == 4 else 16) else b""
