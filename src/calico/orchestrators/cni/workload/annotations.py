"""What a pod asks for by annotations, its own before those of its namespace. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Final

import msgspec

from calico.errors import InvalidInput
from calico.orchestrators.cni.protocol.netconf import FeatureControl

__all__ = ["Asked", "read_annotations"]

PREFIX: Final = "cni.projectcalico.org/"


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """Pools (CIDRs or names), addresses, floating addresses, MAC and further sources. None: nothing is said."""

    ipv4_pools: tuple[str, ...] | None = None
    ipv6_pools: tuple[str, ...] | None = None
    families: tuple[int, ...] | None = None
    addresses: tuple[str, ...] = ()
    addresses_without_ipam: tuple[str, ...] = ()
    floating: tuple[str, ...] = ()
    mac: str = ""
    source_prefixes: tuple[str, ...] = ()


def read_annotations(pod: Mapping[str, str], namespace: Mapping[str, str], control: FeatureControl) -> Asked:
    """What is asked for; InvalidInput naming the annotation that cannot be followed."""
    found = {**_ours(namespace), **_ours(pod)}
    mac = found.get("hwAddr", "")
    if mac:
        _check_mac(mac)
    families = _strings(found, "ipFamilies")
    asked = Asked(
        ipv4_pools=_strings(found, "ipv4pools"),
        ipv6_pools=_strings(found, "ipv6pools"),
        families=None if families is None else tuple(_family(text) for text in families),
        addresses=_addresses(found, "ipAddrs"),
        addresses_without_ipam=_addresses(found, "ipAddrsNoIpam"),
        floating=_addresses(found, "floatingIPs", limit=False),
        mac=mac,
        source_prefixes=_strings(found, "allowedSourcePrefixes") or (),
    )
    if asked.addresses and asked.addresses_without_ipam:
        raise _wrong("ipAddrs", "cannot be given together with ipAddrsNoIpam")
    if asked.addresses_without_ipam and not control.ip_addrs_no_ipam:
        raise _wrong("ipAddrsNoIpam", "is switched off; feature_control.ip_addrs_no_ipam of the network allows it")
    if asked.floating and not control.floating_ips:
        raise _wrong("floatingIPs", "is switched off; feature_control.floating_ips of the network allows it")
    return asked


def _ours(annotations: Mapping[str, str]) -> dict[str, str]:
    return {key[len(PREFIX) :]: value for key, value in annotations.items() if key.startswith(PREFIX)}


def _strings(found: Mapping[str, str], name: str) -> tuple[str, ...] | None:
    if name not in found:
        return None
    try:
        return msgspec.json.decode(found[name].encode(), type=tuple[str, ...])
    except msgspec.DecodeError:
        raise _wrong(name, f"{found[name]!r} is not a JSON list of strings") from None


def _addresses(found: Mapping[str, str], name: str, *, limit: bool = True) -> tuple[str, ...]:
    """Addresses in one spelling; with ``limit`` at most one of each family."""
    addresses: list[str] = []
    for text in _strings(found, name) or ():
        try:
            addresses.append(str(ipaddress.ip_address(text)))
        except ValueError:
            raise _wrong(name, f"{text!r} is not an IP address") from None
    families = [":" in address for address in addresses]
    if limit and len(set(families)) != len(families):
        raise _wrong(name, "has more than one address of a family")
    return tuple(addresses)


def _family(text: str) -> int:
    families = {"ipv4": 4, "ipv6": 6}
    if text.lower() not in families:
        raise _wrong("ipFamilies", f"{text!r} is neither IPv4 nor IPv6")
    return families[text.lower()]


def _check_mac(text: str) -> None:
    try:
        octets = bytes.fromhex(text.replace(":", ""))
    except ValueError:
        octets = b""
    if len(octets) != 6 or octets[0] & 1 or text.count(":") != 5:
        raise _wrong("hwAddr", f"{text!r} is not the MAC of one interface")


def _wrong(name: str, message: str) -> InvalidInput:
    return InvalidInput(message, field=f"annotation {PREFIX}{name}")
