"""The cable of a container: a veth from its namespace to the host, addressed on the container's side.

Settings, routes and neighbours of the host's side are Felix's, which writes them after the packet filters: nothing is
reachable before its policy. Everything here is synchronous and takes about a millisecond; call it in a thread.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from calico.dataplane.links import Links
from calico.dataplane.netns import in_netns
from calico.errors import AlreadyExists, NotFound, Transient
from calico.netlink.rtnetlink.address import SCOPE_LINK
from calico.netlink.rtnetlink.link import Link
from calico.orchestrators.cni.commands.steps import OnStep, unwatched
from calico.orchestrators.cni.protocol.fault import EXISTS, PluginError

__all__ = ["GATEWAY_V4", "HOST_MAC", "Cable", "Wired", "adopt", "mac_text", "unwire", "wire"]

GATEWAY_V4: Final = "169.254.1.1"
HOST_MAC: Final = bytes.fromhex("eeeeeeeeeeee")
_LATER_METRIC: Final = 2048
_FIRST_TABLE: Final = 1000
_LINK_LOCAL_TRIES: Final = 60
_LINK_LOCAL_PAUSE_S: Final = 0.01


class Cable(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be wired. ``netns`` is a path, ``alias`` says on the host's end whose it is. ``replaces_sandbox``: an
    end with another container's alias is an older sandbox of the same workload and gives way."""

    netns: str
    interface: str
    host_interface: str
    alias: str
    addresses: Sequence[str] = ()
    destinations: Sequence[str] = ()
    mac: str = ""
    mtu: int = 0
    queues: int = 0
    forwarding: bool = False
    replaces_sandbox: bool = False

    @property
    def has_v6(self) -> bool:
        return any(":" in address for address in self.addresses)

    @property
    def has_v4(self) -> bool:
        return any(":" not in address for address in self.addresses)


class Wired(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it; ``gateway_v6`` is the host end's link-local address, when IPv6 is wired."""

    mac: str
    mtu: int
    gateway_v6: str = ""


def wire(cable: Cable, on_step: OnStep = unwatched) -> Wired:
    """Make the pair and set up the container's end. What is half done is for ``unwire``; PluginError when a name is
    taken by somebody else."""
    with Links() as host:
        _make_pair(cable, host)
        host.describe(cable.host_interface, cable.alias)
        on_step("paired")
        if cable.has_v6:
            _prepare_host_v6(cable.host_interface)
        host.set_up(cable.host_interface)
        inside, made = in_netns(cable.netns, lambda: _set_up_inside(cable))
        with inside:
            gateway_v6 = _link_local(host, cable.host_interface) if cable.has_v6 else ""
            _route(cable, inside, made.index, gateway_v6)
    return Wired(mac=mac_text(made.mac), mtu=made.mtu, gateway_v6=gateway_v6)


def adopt(cable: Cable) -> Wired:
    """A device that somebody else made and will delete: it is brought up, and its other end is theirs to address.

    ``mac`` of the answer is the one given, which is the guest's; the device's own is nobody's concern.
    """
    with Links() as host:
        found = host.get(cable.host_interface)
        if cable.has_v6:
            _prepare_host_v6(cable.host_interface)
        host.set_up(cable.host_interface)
        is_carrying = host.get(cable.host_interface).oper_up
        gateway = _link_local(host, cable.host_interface) if cable.has_v6 and is_carrying else ""
    return Wired(mac=cable.mac, mtu=found.mtu, gateway_v6=gateway)


def unwire(cable: Cable) -> None:
    """Take the pair away by the host's end, if that is this container's; nothing is an error that is gone already.

    The other end goes with it, so the container's namespace is not asked: it may be gone, or its path may lead to
    another by now. An end of a newer sandbox stays.
    """
    with Links() as host, suppress(NotFound):
        old = host.get(cable.host_interface)
        if old.alias == cable.alias or _is_half_made(old):
            host.delete(old.index)  # a newer sandbox may have the name by now


def mac_text(mac: bytes) -> str:
    """A MAC with colons."""
    return mac.hex(":")


def _inside(netns: str) -> Links:
    try:
        return Links(netns)
    except Transient as error:
        raise NotFound(f"{netns} is not a network namespace: {error}") from None


def _make_pair(cable: Cable, host: Links) -> None:
    """Names are looked at only when the kernel says that one is taken: it seldom does."""
    try:
        _create(cable, host)
    except AlreadyExists:
        with _inside(cable.netns) as inside:
            _free_names(cable, host, inside)
        _create(cable, host)
    except Transient:
        _inside(cable.netns).close()  # NotFound, if that is why
        raise


def _create(cable: Cable, host: Links) -> None:
    host.create_veth(
        cable.host_interface,
        cable.interface,
        peer_netns=cable.netns,
        mac=HOST_MAC,
        peer_mac=bytes.fromhex(cable.mac.replace(":", "")) if cable.mac else None,
        mtu=cable.mtu or None,
        queues=cable.queues or None,
        up=False,
    )


def _free_names(cable: Cable, host: Links, inside: Links) -> None:
    """Make room for the pair where the names are taken by our own earlier attempt; PluginError where by others."""
    old = _get(host, cable.host_interface)
    if old is not None and not _is_ours(cable, old):
        whose = f"it is described as {old.alias!r}" if old.alias else "nothing says whose it is"
        message = f"the host already has an interface {cable.host_interface}, which is not this container's: {whose}"
        raise PluginError(EXISTS, message, "delete it, or start the container anew so that it gets another id")
    taken = _get(inside, cable.interface)
    if taken is not None and not (old is not None and old.alias in ("", cable.alias) and _is_peer(old, taken)):
        raise PluginError(EXISTS, f"the container already has an interface {cable.interface}")
    if old is not None:
        with suppress(NotFound):
            host.delete(old.index)


def _is_ours(cable: Cable, old: Link) -> bool:
    """By its alias; without one, by what else is known of it."""
    if not old.alias:
        return _is_half_made(old) or (cable.replaces_sandbox and old.kind == "veth")
    if cable.replaces_sandbox:
        return old.alias.startswith("calico ") and old.alias.split()[-1] == cable.interface
    return old.alias == cable.alias


def _is_half_made(old: Link) -> bool:
    """Whether it was left before it was described, and so never brought up."""
    return old.kind == "veth" and not old.alias and not old.up


def _is_peer(host_end: Link, container_end: Link) -> bool:
    return host_end.peer == container_end.index and container_end.peer == host_end.index


def _get(links: Links, name: str) -> Link | None:
    with suppress(NotFound):
        return links.get(name)
    return None


def _prepare_host_v6(interface: str) -> None:
    """Before the host's end comes up: its link-local address is the containers' gateway and is answered at once."""
    _set(f"ipv6/conf/{interface}/disable_ipv6", "0")
    _set(f"ipv6/conf/{interface}/accept_dad", "0")


def _set_up_inside(cable: Cable) -> tuple[Links, Link]:
    """The container's end with its addresses, by a thread that is in the container; and a socket that stays there."""
    if cable.has_v6:
        for which in ("all", "default", "lo"):
            _set(f"ipv6/conf/{which}/disable_ipv6", "0")
        _set(f"ipv6/conf/{cable.interface}/disable_ipv6", "0")
        _set(f"ipv6/conf/{cable.interface}/accept_dad", "0")
        _set("ipv6/conf/all/forwarding", "1" if cable.forwarding else "0")
    if cable.has_v4:
        _set("ipv4/ip_forward", "1" if cable.forwarding else "0")
    inside = Links()
    try:
        made = inside.get(cable.interface)
        inside.set_up(made.index)
        for address in cable.addresses:
            inside.add_address(made.index, address)
    except BaseException:
        inside.close()
        raise
    return inside, made


def _route(cable: Cable, inside: Links, number: int, gateway_v6: str) -> None:
    """A gateway that every container shares, and what is reached by it: all, or what the IPAM says.

    Routes of an earlier interface win. This one's then have a metric of their own, and packets from its addresses a
    table: an answer that left by the other interface would be taken for a forgery.
    """
    routes = [(f"{GATEWAY_V4}/32", "")] if cable.has_v4 else []
    for dst in cable.destinations:
        via = gateway_v6 if ":" in dst else GATEWAY_V4
        if via and (cable.has_v6 if ":" in dst else cable.has_v4):
            routes.append((dst, via))
    is_first = [_add_route(inside, dst, via, number) for dst, via in routes]
    if not all(is_first):
        table = _FIRST_TABLE + number
        for dst, via in routes:
            inside.add_route(dst, via=via, dev=number, table=table, replace=True)
        for address in cable.addresses:
            with suppress(AlreadyExists):
                inside.add_rule(address.partition("/")[0], table)


def _add_route(inside: Links, dst: str, via: str, number: int) -> bool:
    """Whether it is the first of its destination."""
    try:
        inside.add_route(dst, via=via, dev=number)
    except AlreadyExists:
        inside.add_route(dst, via=via, dev=number, metric=_LATER_METRIC + number)
        return False
    return True


def _link_local(host: Links, interface: str) -> str:
    """The link-local address of the host's end, which the kernel gives soon after it is up."""
    for _ in range(_LINK_LOCAL_TRIES):
        for found in host.addresses(interface):
            if found.address[:2] == b"\xfe\x80" and found.scope == SCOPE_LINK:
                return str(ipaddress.ip_address(found.address))
        time.sleep(_LINK_LOCAL_PAUSE_S)
    raise Transient(f"interface {interface} got no IPv6 link-local address; is IPv6 disabled on the host?")


def _set(path: str, value: str) -> None:
    file = Path("/proc/sys/net", path)
    try:
        if file.read_text().strip() != value:
            file.write_text(value)
    except OSError as error:
        raise Transient(f"{file}: {error.strerror}") from error
