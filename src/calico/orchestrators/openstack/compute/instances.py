"""Which interfaces are answered on, and what each is told: from the datastore's view and the kernel's.

Level-triggered: whatever changed, the interface is looked at as a whole, and opened, updated or closed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import structlog

from calico.dataplane.interfaces import Interface
from calico.lib import packed
from calico.obs.conditions import Conditions
from calico.orchestrators.openstack.answers.lease import Lease
from calico.orchestrators.openstack.answers.respond import Host
from calico.orchestrators.openstack.compute.linklocal import METADATA_V6, LinkLocal, made_of_mac, router_address
from calico.orchestrators.openstack.compute.taps import OnOutcome, Tap
from calico.orchestrators.openstack.compute.view import View
from calico.orchestrators.openstack.leases import Offers, lease_of
from calico.orchestrators.openstack.records import EndpointRecord

__all__ = ["Instances"]

log = structlog.get_logger(__name__)

OnLink = Callable[[str, int], None]
"""Told the name of an interface that has the address of the metadata service, and its index; 0: it has not any more."""

_MAC: Final = 6


class Instances:
    """Always true after each call: what is open is what both views say. ``on_link`` serves the metadata service."""

    def __init__(
        self, view: Callable[[], View], offers: Offers, conditions: Conditions, on_outcome: OnOutcome, on_link: OnLink
    ) -> None:
        self._view, self._offers, self._conditions = view, offers, conditions
        self._on_outcome, self._on_link = on_outcome, on_link
        self._link_local = LinkLocal()
        self._interfaces: dict[str, Interface] = {}
        self._names: dict[int, str] = {}
        self._taps: dict[str, Tap] = {}
        self._linked: dict[str, int] = {}
        self._failed: set[str] = set()

    @property
    def taps(self) -> Mapping[str, Tap]:
        """What is answered on, by interface; do not change it."""
        return self._taps

    def port_at(self, index: int) -> EndpointRecord | None:
        """The port whose interface has this index, if it is one that is answered on."""
        name = self._names.get(index, "")
        tap = self._taps.get(name)
        return self._view().port(name) if tap is not None and tap.index == index else None

    def on_interface(self, name: str, interface: Interface | None) -> None:
        """The kernel says that an interface came, changed or went."""
        old = self._interfaces.pop(name, None)
        if old is not None:
            self._names.pop(old.index, None)
            if interface is None or (interface.index, interface.up) != (old.index, old.up):
                self._link_local.forget(old.index)
        if interface is not None:
            self._interfaces[name] = interface
            self._names[interface.index] = name
        self._settle(name)

    def on_change(self, names: set[str]) -> None:
        """The datastore says something new of the instances behind these."""
        for name in sorted(names):
            self._settle(name)

    def try_again(self) -> None:
        """Look once more at interfaces that could not be opened; call this now and then."""
        for name in sorted(self._failed):
            self._settle(name)

    def close(self) -> None:
        """Answer nobody any more."""
        for name in list(self._taps):
            self._close(name)
        self._link_local.close()

    def as_data(self) -> list[dict[str, Any]]:
        """For the status document: what each instance is told."""
        return [_told(tap) for _, tap in sorted(self._taps.items())]

    def _settle(self, name: str) -> None:
        self._failed.discard(name)
        interface, port = self._interfaces.get(name), self._view().port(name)
        tap = self._taps.get(name)
        if tap is not None and (interface is None or port is None or interface.index != tap.index):
            self._close(name)
            tap = None
        if port is None:
            self._conditions.clear("dhcp-incomplete", name)
            return
        if interface is None or len(interface.mac) != _MAC:
            return
        view = self._view()
        lease, problems = lease_of(port, view.subnets(port), self._offers, interface.mtu)
        trouble = self._have_addresses(interface) if lease is not None else ""
        self._note(name, (*problems, *([trouble] if trouble else [])))
        if lease is None:
            self._close(name)
            return
        host = Host(interface.mac, router_address(interface.addresses, interface.mac))
        if tap is not None:
            tap.update(lease, host)
        else:
            self._open(name, interface, lease, host)
        self._link(name, interface.index if METADATA_V6 in interface.addresses else 0)

    def _have_addresses(self, interface: Interface) -> str:
        if not interface.up:
            return ""
        wanted = [] if router_address(interface.addresses, interface.mac) else [made_of_mac(interface.mac)]
        if self._offers.metadata:
            wanted.append(METADATA_V6)
        return self._link_local.ensure(interface.index, interface.addresses, wanted)

    def _open(self, name: str, interface: Interface, lease: Lease, host: Host) -> None:
        try:
            self._taps[name] = Tap(name, interface.index, lease, host, self._on_outcome)
        except OSError as error:  # gone again, or out of descriptors
            self._failed.add(name)
            self._conditions.set("dhcp-incomplete", name, f"cannot be answered on: {error}")
            log.warning("an interface cannot be answered on", interface=name, error=str(error))
            return
        log.info("instance is answered", interface=name, address=_first_address(lease))

    def _link(self, name: str, index: int) -> None:
        """Say where the metadata service has its address, when that is news."""
        index = index if name in self._taps else 0
        if self._linked.get(name, 0) == index:
            return
        if index:
            self._linked[name] = index
        else:
            del self._linked[name]
        self._on_link(name, index)

    def _close(self, name: str) -> None:
        tap = self._taps.pop(name, None)
        if tap is not None:
            tap.close()
            self._link(name, 0)
            log.info("instance is not answered any more", interface=name)

    def _note(self, name: str, problems: tuple[str, ...]) -> None:
        if not problems:
            self._conditions.clear("dhcp-incomplete", name)
        elif self._conditions.set("dhcp-incomplete", name, "; ".join(problems)):
            log.warning("an instance is not told all", interface=name, problems=problems)


def _first_address(lease: Lease) -> str:
    addresses = [lease.v4.address] if lease.v4 else [one.address for one in lease.v6]
    return packed.addr_str(addresses[0]) if addresses else ""


def _told(tap: Tap) -> dict[str, Any]:
    lease = tap.lease
    four = lease.v4
    return {
        "interface": tap.name,
        "mac": lease.mac.hex(":"),
        "ipv4": f"{packed.addr_str(four.address)}/{four.prefix_len}" if four else "",
        "gateway": packed.addr_str(four.gateway) if four and four.gateway else "",
        "routes": [f"{packed.net_str(r.net)} via {packed.addr_str(r.nexthop)}" for r in four.routes] if four else [],
        "ipv6": [{"address": packed.addr_str(one.address), "mode": one.mode} for one in lease.v6],
        "router": packed.addr_str(tap.host.link_local) if lease.v6 and tap.host.link_local else "",
        "dns": [packed.addr_str(one) for one in (*(four.dns if four else ()), *lease.dns6)],
        "mtu": lease.mtu,
        "hostname": lease.hostname,
        "domain": lease.domain,
        "search": list(lease.search),
        "extra_options": [{"version": 4, "code": code, "value": value.hex()} for code, value in lease.extra4]
        + [{"version": 6, "code": code, "value": value.hex()} for code, value in lease.extra6],
    }
