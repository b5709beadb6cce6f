"""What an ADD answers, in the shape of every version of the specification, and read back from each. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import field
from msgspec.structs import replace

from calico.orchestrators.cni.protocol.fault import UNDECODABLE, PluginError
from calico.orchestrators.cni.protocol.request import NEWEST, VERSIONS, version_number

__all__ = ["IPConfig", "Interface", "Result", "Route", "extend", "parse_result", "render_result"]


class Interface(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An interface that was made; ``sandbox`` is the container's namespace, empty on the host. 1.1.0 tells the MTU."""

    name: str = ""
    mac: str = ""
    mtu: int = 0
    sandbox: str = ""
    socket_path: str = field(default="", name="socketPath")
    pci_id: str = field(default="", name="pciID")


class IPConfig(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An address with its length; ``interface`` counts in the result's interfaces."""

    address: str
    gateway: str = ""
    interface: int | None = None


class Route(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A route of the container; what comes after ``gw`` is known since 1.1.0."""

    dst: str
    gw: str = ""
    mtu: int = 0
    advmss: int = 0
    priority: int | None = None
    table: int | None = None
    scope: int | None = None


class Result(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The newest version's result; older ones are renderings of it."""

    interfaces: tuple[Interface, ...] = ()
    ips: tuple[IPConfig, ...] = ()
    routes: tuple[Route, ...] = ()
    dns: dict[str, Any] = {}


def render_result(result: Result, version: str) -> dict[str, Any]:
    """The result as an object of that version; what the version cannot say is left out."""
    number = version_number(version)
    if number < (0, 3, 0):
        return {"cniVersion": version, **_render_two_addresses(result), "dns": result.dns}
    interfaces = [
        _without(one, () if number >= (1, 1, 0) else ("mtu", "socketPath", "pciID")) for one in result.interfaces
    ]
    ips: list[dict[str, Any]] = []
    for ip in result.ips:
        family = {} if number >= (1, 0, 0) else {"version": "6" if ":" in ip.address else "4"}
        ips.append({**family, **msgspec.to_builtins(ip)})
    found: dict[str, Any] = {"cniVersion": version, "interfaces": interfaces, "ips": ips}
    if result.routes:
        found["routes"] = _render_routes(result.routes, number)
    found["dns"] = result.dns
    return {key: value for key, value in found.items() if value or key not in ("interfaces", "ips")}


def parse_result(document: Mapping[str, Any], version: str) -> Result:
    """A result of any version; that of ``prevResult`` has the version of the configuration around it."""
    told = document.get("cniVersion") or version or NEWEST
    if told not in VERSIONS:
        raise PluginError(UNDECODABLE, f"a result cannot be read: cniVersion {told!r} is unknown")
    number = version_number(told)
    try:
        if number < (0, 3, 0):
            return _parse_two_addresses(document)
        return msgspec.convert({key: value for key, value in document.items() if value is not None}, Result)
    except msgspec.ValidationError as error:
        raise PluginError(UNDECODABLE, f"a result cannot be read: {error}") from None


def extend(previous: Result, ours: Result) -> Result:
    """What plugins before us in the list answered, and then our part."""
    offset = len(previous.interfaces)
    ips = tuple(replace(ip, interface=None if ip.interface is None else ip.interface + offset) for ip in ours.ips)
    return Result(
        interfaces=previous.interfaces + ours.interfaces,
        ips=previous.ips + ips,
        routes=previous.routes + ours.routes,
        dns=previous.dns or ours.dns,
    )


def _render_two_addresses(result: Result) -> dict[str, Any]:
    """Until 0.2.0 there is one address of each family, with its routes."""
    found: dict[str, Any] = {}
    for ip in result.ips:
        family = "ip6" if ":" in ip.address else "ip4"
        routes = [route for route in result.routes if (":" in route.dst) == (family == "ip6")]
        entry: dict[str, Any] = {"ip": ip.address}
        if ip.gateway:
            entry["gateway"] = ip.gateway
        if routes:
            entry["routes"] = _render_routes(routes, (0, 2, 0))
        found.setdefault(family, entry)
    return found


def _parse_two_addresses(document: Mapping[str, Any]) -> Result:
    ips: list[IPConfig] = []
    routes: list[Route] = []
    for family in ("ip4", "ip6"):
        entry = document.get(family)
        if entry and not isinstance(entry, dict):
            raise PluginError(UNDECODABLE, f"a result cannot be read: {family} is not an object")
        if entry:
            ips.append(msgspec.convert({"address": entry.get("ip"), "gateway": entry.get("gateway") or ""}, IPConfig))
            routes += msgspec.convert(entry.get("routes") or [], list[Route])
    return Result(ips=tuple(ips), routes=tuple(routes), dns=dict(document.get("dns") or {}))


def _render_routes(routes: Any, number: tuple[int, ...]) -> list[dict[str, Any]]:
    newer = () if number >= (1, 1, 0) else ("mtu", "advmss", "priority", "table", "scope")
    return [_without(route, newer) for route in routes]


def _without(value: msgspec.Struct, fields: tuple[str, ...]) -> dict[str, Any]:
    return {key: found for key, found in msgspec.to_builtins(value).items() if key not in fields}
