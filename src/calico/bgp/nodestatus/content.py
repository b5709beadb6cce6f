"""What BIRD says, in the words of a CalicoNodeStatus (data model §16.19). Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from calico.bgp.bird.control import BirdStatus, Session
from calico.bgp.bird.routes import KnownRoute
from calico.model.nodestatus import (
    BGPDaemonStatus,
    NodeAgentStatus,
    NodeBGPStatus,
    NodePeerStatus,
    NodeRoute,
    NodeRouteSource,
    NodeRoutesStatus,
    NodeStatusStatus,
)

__all__ = ["MOST_ROUTES", "Seen", "status_of"]

MOST_ROUTES = 2500
"""Of one family: with both, the resource stays below what etcd takes."""

_STATES = {"Down": "Idle", "Passive": "Active", "Stop": "Close"}
_KNOWN_STATES = ("Idle", "Connect", "Active", "OpenSent", "OpenConfirm", "Established", "Close")
_SOURCES = {"kernel": "Kernel", "direct": "Direct", "blocks": "Static", "services": "Static", "reach": "Static"}


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of BIRD at one moment. ``bird`` None: it does not answer. ``types``: of sessions, by name."""

    bird: BirdStatus | None = None
    sessions: tuple[Session, ...] = ()
    routes: tuple[KnownRoute, ...] = ()
    types: Mapping[str, str] = {}

    @staticmethod
    def types_of(document: Mapping[str, Any]) -> dict[str, str]:
        """The types of sessions in the agent's status document; the resource knows none for workloads."""
        found = {item["name"]: item["type"] for item in document.get("sessions", [])}
        return {name: "NodePeer" if kind == "LocalWorkload" else kind for name, kind in found.items()}


def status_of(classes: Iterable[str], seen: Seen, now: str) -> NodeStatusStatus:
    """The answer to what is asked; ``now`` is RFC 3339."""
    asked = frozenset(classes)
    return NodeStatusStatus(
        last_updated=now,
        agent=_agent(seen.bird) if "Agent" in asked else NodeAgentStatus(),
        bgp=_bgp(seen) if "BGP" in asked else NodeBGPStatus(),
        routes=_routes(seen) if "Routes" in asked else NodeRoutesStatus(),
    )


def _agent(bird: BirdStatus | None) -> NodeAgentStatus:
    """One BIRD does both families."""
    if bird is None:
        daemon = BGPDaemonStatus(state="NotReady")
    else:
        daemon = BGPDaemonStatus(
            state="NotReady" if bird.recovering else "Ready",
            version=bird.version,
            router_id=bird.router_id,
            last_boot_time=bird.last_reboot,
            last_reconfiguration_time=bird.last_reconfiguration,
        )
    return NodeAgentStatus(bird_v4=daemon, bird_v6=daemon)


def _bgp(seen: Seen) -> NodeBGPStatus:
    four, six = ([s for s in seen.sessions if (":" in s.peer_ip) == wanted and s.peer_ip] for wanted in (False, True))
    up = [sum(session.established for session in sessions) for sessions in (four, six)]
    return NodeBGPStatus(
        number_established_v4=up[0],
        number_not_established_v4=len(four) - up[0],
        number_established_v6=up[1],
        number_not_established_v6=len(six) - up[1],
        peers_v4=tuple(_peer(session, seen.types) for session in four),
        peers_v6=tuple(_peer(session, seen.types) for session in six),
    )


def _peer(session: Session, types: Mapping[str, str]) -> NodePeerStatus:
    state = _STATES.get(session.state, session.state)
    return NodePeerStatus(
        peer_ip=session.peer_ip,
        type=types.get(session.name, "NodePeer"),
        state=state if state in _KNOWN_STATES else "Idle",
        since=session.since,
    )


def _routes(seen: Seen) -> NodeRoutesStatus:
    peers = {session.name: session.peer_ip for session in seen.sessions}
    found = [_route(route, peers, seen.types) for route in seen.routes]
    return NodeRoutesStatus(
        routes_v4=tuple(route for route in found if ":" not in route.destination)[:MOST_ROUTES],
        routes_v6=tuple(route for route in found if ":" in route.destination)[:MOST_ROUTES],
    )


def _route(route: KnownRoute, peers: Mapping[str, str], types: Mapping[str, str]) -> NodeRoute:
    hop = route.hops[0].split() if route.hops else []
    return NodeRoute(
        type="FIB" if route.preferred else "RIB",
        destination=route.net,
        gateway=hop[1] if hop[:1] == ["via"] else "",
        interface=hop[-1] if hop else "",
        learned_from=_source(route, peers, types),
    )


def _source(route: KnownRoute, peers: Mapping[str, str], types: Mapping[str, str]) -> NodeRouteSource:
    for start, name in _SOURCES.items():
        if route.protocol.startswith(start):
            return NodeRouteSource(source_type=name)
    mesh = types.get(route.protocol) == "NodeMesh"
    return NodeRouteSource(source_type="NodeMesh" if mesh else "BGPPeer", peer_ip=peers.get(route.protocol, ""))
