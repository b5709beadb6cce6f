"""A world and the packets that probe it, as values and as documents that people read and files keep."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import msgspec

from calico.lib.packed import addr_bytes, addr_str
from calico.model.keys import ResourceKey
from calico.model.kinds import BY_KIND
from calico.model.meta import Resource
from calico.rules.config import RulesConfig
from calico.rules.packets import Flow

__all__ = ["Probe", "Resources", "Way", "World", "by_key", "from_document", "to_document"]

Way = Literal["forward", "to-host", "from-host"]
Resources = tuple[Resource, ...]


class Probe(msgspec.Struct, frozen=True):
    """The first packet of a connection: in by interface ``source`` and out by ``target``, as far as its way does."""

    way: Way
    flow: Flow
    source: str = ""
    target: str = ""


class World(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the datastore holds, and the settings of the host. ``before``: what it held earlier."""

    resources: Resources = ()
    before: Resources = ()
    settings: RulesConfig = RulesConfig()


def by_key(resources: Iterable[Resource]) -> dict[ResourceKey, Resource]:
    """The resources as the datastore has them: the last of each key."""
    return {ResourceKey(r.kind, r.metadata.namespace, r.metadata.name): r for r in resources}


def to_document(world: World, probes: Iterable[Probe]) -> dict[str, Any]:
    """Plain lists, dicts and texts."""
    return {
        "settings": _differences(world.settings, RulesConfig()),
        "before": [_plain(resource) for resource in world.before],
        "resources": [_plain(resource) for resource in world.resources],
        "packets": [_probe_document(probe) for probe in probes],
    }


def from_document(document: dict[str, Any]) -> tuple[World, list[Probe]]:
    """The reverse; LookupError, ValueError or a msgspec or InvalidInput error when it is no world."""
    world = World(
        settings=msgspec.convert(document.get("settings", {}), RulesConfig),
        before=tuple(map(_resource, document.get("before", ()))),
        resources=tuple(map(_resource, document.get("resources", ()))),
    )
    return world, [_probe(packet) for packet in document.get("packets", ())]


def _resource(document: dict[str, Any]) -> Resource:
    return msgspec.convert(document, BY_KIND[document["kind"]].cls)


def _plain(value: object) -> Any:
    """As JSON would have it: no tuples."""
    return msgspec.json.decode(msgspec.json.encode(value))


def _differences(value: msgspec.Struct, default: msgspec.Struct) -> dict[str, Any]:
    usual = _plain(default)
    return {name: found for name, found in _plain(value).items() if found != usual[name]}


def _probe_document(probe: Probe) -> dict[str, Any]:
    flow = probe.flow
    document: dict[str, Any] = {"way": probe.way, "source": probe.source, "target": probe.target}
    document |= _differences(flow, Flow(src=flow.src, dst=flow.dst))
    document |= {"src": addr_str(flow.src), "dst": addr_str(flow.dst), "options": flow.options.hex()}
    document["extensions"] = [[kind, body.hex()] for kind, body in flow.extensions]
    return {name: value for name, value in document.items() if value not in ("", [])}


def _probe(document: dict[str, Any]) -> Probe:
    rest = dict(document)
    way, source, target = rest.pop("way"), rest.pop("source", ""), rest.pop("target", "")
    rest["src"], rest["dst"] = addr_bytes(rest["src"]), addr_bytes(rest["dst"])
    rest["options"] = bytes.fromhex(rest.get("options", ""))
    rest["extensions"] = tuple((kind, bytes.fromhex(body)) for kind, body in rest.get("extensions", ()))
    rest["icmp"] = tuple(rest.get("icmp", (8, 0)))
    if len(rest["src"]) != len(rest["dst"]):
        raise ValueError("addresses of two families")
    return Probe(msgspec.convert(way, Way), Flow(**rest), source, target)
