"""Which address of this host others shall reach it at: chosen by a stated rule, never by guessing."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import msgspec

from calico.errors import InvalidInput, Transient
from calico.netlink.rtnetlink.address import RTM_NEWADDR, SCOPE_GLOBAL, decode_address, dump_addresses
from calico.netlink.socket import NETLINK_ROUTE, NetlinkSocket

__all__ = ["Found", "detect", "given"]

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
_METHODS = "datastore, first-found, can-reach=HOST, interface=REGEX, skip-interface=REGEX, cidr=NET"
_NOT_THE_HOSTS = re.compile(
    r"(docker|cbr|dummy|virbr|lxcbr|veth|lo$|cali|tap|tunl|flannel|kube-ipvs|cni|vxlan|wireguard|wg-v6|nodelocaldns|br-)"
)
"""What first-found and skip-interface never take: interfaces that containers, machines and tunnels bring."""


class Found(msgspec.Struct, frozen=True):
    """An address with the prefix length of its link, and why it was chosen."""

    address: str
    because: str


def detect(method: str, version: int, endpoints: tuple[str, ...]) -> Found | None:
    """The address of an IP version by a method; None when the host has none such.

    ``datastore``: the one that packets to etcd leave from; ``can-reach=HOST``: to that host; ``first-found``: the first
    of the first interface that is the host's own by its name; ``interface=REGEX``: of the first whose name matches;
    ``skip-interface=REGEX``: of the first of the host's own whose name does not match; ``cidr=NET,...``: the first
    within one of them. A list of patterns is separated by commas, and one matches anywhere in a name.
    """
    name, _, argument = method.partition("=")
    if name == "first-found" and not argument:
        return _first(version, lambda device, _: _is_hosts(device), "it is on the first interface of the host's own")
    if name == "datastore" and not argument:
        return _towards([urlsplit(url).hostname or "" for url in endpoints], version, "the datastore")
    if name == "can-reach" and argument:
        return _towards([argument], version, argument)
    if name in ("interface", "skip-interface") and argument:
        pattern = _pattern(method, argument)
        if name == "interface":
            return _first(version, lambda device, _: bool(pattern.search(device)), f"its interface is {argument}")
        because = f"it is on the first interface of the host's own that is not {argument}"
        return _first(version, lambda device, _: _is_hosts(device) and not pattern.search(device), because)
    if name == "cidr" and argument:
        try:
            nets = [ipaddress.ip_network(text.strip(), strict=False) for text in argument.split(",")]
        except ValueError as error:
            raise InvalidInput(str(error), subject=method) from error
        return _first(version, lambda _, address: any(address in net for net in nets), f"it is in {argument}")
    raise InvalidInput(f"is none of {_METHODS}", subject=method or "the method")


def given(text: str, version: int) -> Found:
    """An address that was told; without a prefix length that of the link it is on, else the whole length."""
    try:
        interface = ipaddress.ip_interface(text)
    except ValueError as error:
        raise InvalidInput(str(error), subject=f"--ip{'' if version == 4 else '6'}") from error
    if interface.version != version:
        raise InvalidInput(f"is not an IPv{version} address", subject=text)
    if "/" in text:
        return Found(text, "it was given")
    return Found(_with_prefix(str(interface.ip), version), "it was given")


def _pattern(method: str, argument: str) -> re.Pattern[str]:
    try:
        return re.compile("|".join(f"(?:{part.strip()})" for part in argument.split(",")))
    except re.error as error:
        raise InvalidInput(f"is not a regular expression: {error}", subject=method) from error


def _is_hosts(device: str) -> bool:
    return _NOT_THE_HOSTS.match(device) is None


def _towards(hosts: list[str], version: int, what: str) -> Found | None:
    """The source address of a datagram that is never sent."""
    for host in hosts:
        try:
            for family, _, _, _, target in socket.getaddrinfo(host, 1, _FAMILIES[version], socket.SOCK_DGRAM):
                with socket.socket(family, socket.SOCK_DGRAM) as probe:
                    probe.connect(target)
                    address = str(probe.getsockname()[0])
                if not ipaddress.ip_address(address).is_loopback:
                    return Found(_with_prefix(address, version), f"packets to {what} leave from it")
        except OSError:
            continue
    return None


def _first(version: int, matches: Callable[[str, _Address], bool], because: str) -> Found | None:
    for device, interface in _addresses(version):
        if matches(device, interface.ip):
            return Found(str(interface), f"{because} ({device})")
    return None


def _with_prefix(address: str, version: int) -> str:
    for _, interface in _addresses(version):
        if str(interface.ip) == address:
            return str(interface)
    return f"{address}/{32 if version == 4 else 128}"


def _addresses(version: int) -> Iterator[tuple[str, ipaddress.IPv4Interface | ipaddress.IPv6Interface]]:
    """Interface and address of all global addresses of this host, in the kernel's order."""
    try:
        with NetlinkSocket(NETLINK_ROUTE) as sock:
            messages = list(sock.dump(dump_addresses(sock.next_seq(), _FAMILIES[version])))
    except OSError as error:
        raise Transient(f"the kernel did not tell its addresses: {error}") from error
    for message in messages:
        if message.type != RTM_NEWADDR:
            continue
        found = decode_address(message.payload)
        if found.scope == SCOPE_GLOBAL:
            try:
                device = socket.if_indextoname(found.index)
            except OSError:
                continue
            yield device, ipaddress.ip_interface((found.address, found.prefix_len))
