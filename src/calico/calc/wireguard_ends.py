"""Nodes as ends of encryption, checked and packed. No history, no order."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping

import msgspec

from calico.calc.encap import VERSIONS, Version, host_ends
from calico.lib import packed
from calico.model.node import Node
from calico.model.soundness import net_fault

__all__ = ["NodeKeys", "wireguard_ends"]

_KEY_SIZE = 32


class NodeKeys(msgspec.Struct, frozen=True, kw_only=True):
    """A node in one IP version: its public key (32 bytes), where it is reached, and the address of its device, packed
    and empty where there is none. ``damaged``: it says a key that cannot be used."""

    key: bytes = b""
    damaged: bool = False
    endpoint: bytes = b""
    address: bytes = b""

    @property
    def encrypts(self) -> bool:
        """Whether it asks for encryption, even if that cannot be had."""
        return bool(self.key) or self.damaged


def wireguard_ends(node: Node) -> tuple[Mapping[Version, NodeKeys], tuple[str, ...]]:
    """What a node says of encryption, and what is wrong with that."""
    ends: dict[Version, NodeKeys] = {}
    problems: list[str] = []
    told = node.spec.wireguard
    hosts = host_ends(node.metadata.name, node)[0]
    for version in VERSIONS:
        six = "V6" if version == 6 else ""
        field, text = f"status.wireguardPublicKey{six}", ""
        if node.status is not None:
            text = node.status.wireguard_public_key_v6 if six else node.status.wireguard_public_key
        key = _key(text)
        if text and not key:
            problems.append(f"{field}: is no key: base64 of {_KEY_SIZE} bytes; the node is unreachable where encrypted")
        place, address_text = f"spec.wireguard.interfaceIPv{version}Address", ""
        if told is not None:
            address_text = told.interface_ipv6_address if six else told.interface_ipv4_address
        address = _address(address_text, version)
        if address_text and not address:
            problems.append(f"{place}: {address_text!r} is no IPv{version} address")
        host = hosts.get(version)
        endpoint = host.address if host is not None else b""
        end = NodeKeys(key=key, damaged=bool(text and not key), endpoint=endpoint, address=address)
        if end.encrypts or address or endpoint:
            ends[version] = end
    return ends, tuple(problems)


def _key(text: str) -> bytes:
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""
    return key if len(key) == _KEY_SIZE else b""


def _address(text: str, version: Version) -> bytes:
    if not text or net_fault(text):
        return b""
    address = packed.addr_bytes(text.partition("/")[0])
    return address if len(address) == (4 if version == 4 else 16) else b""
