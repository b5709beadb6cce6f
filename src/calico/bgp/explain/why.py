"""Facts about a prefix as an answer in plain words, along the way a route takes through a host. Pure.

``explain`` gives one step after the other: who has it here, who told it, which one is preferred and why, who is told of
it, whether the kernel has it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Literal

import msgspec

from calico.bgp.bird.control import Session
from calico.bgp.bird.routes import KnownRoute
from calico.bgp.explain.inquiry import PROTO_BIRD, Agent, Facts, KernelEntry, Offer
from calico.bgp.planning.peerannotations import OWN_ROUTES_ONLY

__all__ = [
    "Step",
    "explain",
    "in_kernel",
    "is_own",
    "learned",
    "outcome",
    "preferred",
    "session_state",
    "session_title",
]

Stage = Literal["here", "learned", "preferred", "told", "kernel"]
_PROTOCOLS = {2: "kernel", 3: "boot", 4: "static", 12: "bird", 80: "felix"}


class Step(msgspec.Struct, frozen=True):
    """One sentence about one stage. ``holds``: the route gets this far (None: it does not apply)."""

    stage: Stage
    holds: bool | None
    text: str


def explain(facts: Facts) -> tuple[Step, ...]:
    """The whole answer."""
    return (*here(facts), *learned(facts), *preferred(facts), *_told(facts), *in_kernel(facts))


def here(facts: Facts) -> Iterable[Step]:
    """Whether it is this host's own."""
    own = next((route for route in facts.routes if _own(route) is not None), None)
    foreign = [entry for entry in facts.kernel if entry.protocol != PROTO_BIRD]
    if own is not None and own.net == facts.prefix:
        yield Step("here", True, _own(own) or "")
    elif own is not None and own.protocol.startswith("blocks"):
        yield Step("here", False, f"it is in block {own.net} of this host, but no workload here has it")
    elif own is not None:
        yield Step("here", False, f"only a wider route, {own.net}: {_own(own)}")
    elif foreign:
        yield Step("here", False, f"the kernel has a route that BIRD does not know: {_entry(foreign[0])}")
    else:
        yield Step("here", False, "neither a workload, a block nor a kernel route of this host")


def is_own(route: KnownRoute) -> bool:
    """Whether it did not come by BGP."""
    return _own(route) is not None


def _own(route: KnownRoute) -> str | None:
    """What a route is that did not come by BGP."""
    ways = ", ".join(route.hops)
    if route.protocol.startswith("kernel"):
        workload = any(name.startswith(("cali", "tap")) for name in route.interfaces)
        return f"{'a workload of this host' if workload else 'a route of the kernel'}: {ways or route.kind}"
    if route.protocol.startswith("direct"):
        return f"a network that this host is connected to: {ways}"
    if route.protocol.startswith("blocks"):
        return "a block of addresses that belongs to this host"
    if route.protocol.startswith("services"):
        return "addresses of a service that this host advertises"
    if route.protocol.startswith("reach"):
        return f"the way to a peer behind a gateway: {ways}"
    return None


def learned(facts: Facts) -> Iterable[Step]:
    """Who told it, and whose word was rejected."""
    sessions = {session.name: session for session in facts.sessions}
    told = [route for route in facts.routes if not is_own(route)]
    for route in told:
        stale = ", kept although its session is gone" if route.stale else ""
        yield Step("learned", True, f"from {_peer(route, sessions)}, next hop {route.next_hop or 'none'}{stale}")
    for item in facts.rejected:
        by = f"BGPFilter {item.by}" if item.by else "its import filter"
        why = f": by IPAM it is not this client's ({OWN_ROUTES_ONLY})" if item.foreign else ""
        yield Step("learned", False, f"from {_peer(item.route, sessions)}, but {by} rejects it{why}")
    down = [session for session in facts.sessions if not session.established]
    if told or facts.rejected:
        return
    if any(_own(route) and route.net == facts.prefix for route in facts.routes):
        yield Step("learned", None, "no session tells it, and none has to")
        return
    yield Step("learned", False, "no session that is up tells it")
    for session in down:
        yield Step(
            "learned",
            False,
            f"{session_title(session)} might tell it, but is down: {session_state(session, facts.agent)}",
        )


def preferred(facts: Facts) -> Iterable[Step]:
    """Which route counts, and why not the others."""
    best = facts.preferred
    if best is None:
        if facts.routes:
            yield Step("preferred", False, "none of them can be used: no next hop is reachable")
        return
    if len(facts.routes) == 1:
        usable = "" if best.reachable else ", though its next hop cannot be reached"
        yield Step("preferred", best.reachable, f"the one from {best.protocol}: there is no other{usable}")
        return
    yield Step("preferred", True, f"the one from {best.protocol}")
    for route in facts.routes:
        if route is not best:
            yield Step("preferred", False, f"not the one from {route.protocol}: {_why_worse(route, best)}")


def _why_worse(route: KnownRoute, best: KnownRoute) -> str:
    """In BIRD's order: a usable next hop, preference, then BGP's rules (RFC 4271 9.1.2)."""
    if not route.reachable:
        return f"its next hop {route.next_hop} cannot be reached"
    if route.preference != best.preference:
        return f"preference {route.preference} is less than {best.preference}"
    if route.stale and not best.stale:
        return "its session is gone"
    mine, theirs = _local_preference(route), _local_preference(best)
    if mine != theirs:
        return f"local preference {mine} is less than {theirs}"
    length, shortest = _path_length(route), _path_length(best)
    if length != shortest:
        return f"its AS path has {length} members instead of {shortest}"
    if route.attributes.get("BGP.origin") != best.attributes.get("BGP.origin"):
        return f"origin {route.attributes.get('BGP.origin')} comes after {best.attributes.get('BGP.origin')}"
    return "BGP's tie-break (MED, external before internal, distance of the next hop, router id)"


def _local_preference(route: KnownRoute) -> int:
    text = route.attributes.get("BGP.local_pref", "")
    return int(text) if text.isdecimal() else 0


def _path_length(route: KnownRoute) -> int:
    return len(route.attributes.get("BGP.as_path", "").split())


def _told(facts: Facts) -> Iterable[Step]:
    best = facts.preferred
    if best is None:
        return
    for offer in facts.offers:
        yield Step(
            "told", offer.verdict == "told", f"{session_title(offer.session)}: {outcome(offer, best, facts.agent)}"
        )
    if not facts.offers:
        yield Step("told", False, "there is no session for routes of this family")


def outcome(offer: Offer, best: KnownRoute, agent: Agent | None) -> str:
    """What becomes of a route towards a session."""
    if offer.verdict == "told":
        return "is told"
    if offer.verdict == "down":
        return f"is down: {session_state(offer.session, agent)}"
    if offer.verdict == "withheld":
        return "is where it comes from" if best.protocol == offer.session.name else "BGP does not pass it on to it"
    if offer.by:
        return f"BGPFilter {offer.by} rejects it"
    return f"the export filter rejects it: {_why_not_exported(best, agent)}"


def _why_not_exported(best: KnownRoute, agent: Agent | None) -> str:
    if agent is None:
        return "why is known to the BGP agent, which does not answer"
    if best.protocol.startswith("reach"):
        return "it is for this host alone"
    if never := _covering(best.net, agent.never):
        return f"{never} is not to be advertised"
    block = _covering(best.net, agent.blocks)
    if block and block != best.net and _own(best) is not None:
        return f"{block}, this host's block, is told instead"
    if not _covering(best.net, agent.pools):
        return "no enabled IPPool contains it"
    return "a rule of the host's configuration"


def in_kernel(facts: Facts) -> Iterable[Step]:
    """Whether the kernel forwards by it."""
    best = facts.preferred
    placed = next((entry for entry in facts.kernel if entry.protocol == PROTO_BIRD), None)
    if best is not None and best.refused:
        yield Step("kernel", False, "the kernel refused it, or has a route of somebody else in its place")
    elif placed is not None:
        first = facts.kernel[0]
        other = "" if first.protocol == PROTO_BIRD else f"; but before it comes {_entry(first)}"
        yield Step("kernel", True, f"BIRD has put it there: {_entry(placed)}{other}")
    elif facts.kernel:
        yield Step("kernel", True, f"by somebody else than BIRD: {_entry(facts.kernel[0])}")
    elif best is None:
        yield Step("kernel", False, "BIRD has no route that it could put there")
    else:
        yield Step("kernel", False, _why_not_in_kernel(facts, best))


def _why_not_in_kernel(facts: Facts, best: KnownRoute) -> str:
    if facts.to_kernel == "told":
        waiting = "its graceful restart is not over" if facts.bird.recovering else "it should be there within seconds"
        return f"BIRD's filter lets it pass, and {waiting}"
    if facts.agent is not None and (pool := _covering(best.net, facts.agent.unprogrammed)):
        return f"routes of IPPool {pool} need a tunnel, which BIRD does not program"
    if not best.reachable:
        return f"its next hop {best.next_hop} cannot be reached"
    if _own(best) is not None:
        return f"routes of {best.protocol} are not for BIRD to put there"
    return "BIRD's filter for the kernel rejects it: a service's range, or a next hop that Felix programs"


def _covering(prefix: str, cidrs: Iterable[str]) -> str:
    """The longest of the networks that contain the prefix, or nothing."""
    inner = ipaddress.ip_network(prefix)
    outers = [outer for outer in map(ipaddress.ip_network, cidrs) if outer.version == inner.version]
    found = [outer for outer in outers if inner.subnet_of(outer)]  # type: ignore[arg-type]
    return str(max(found, key=lambda outer: outer.prefixlen)) if found else ""


def _peer(route: KnownRoute, sessions: dict[str, Session]) -> str:
    session = sessions.get(route.protocol)
    return route.protocol if session is None else session_title(session)


def session_title(session: Session) -> str:
    """Its name, with the far end."""
    return f"{session.name} ({session.peer_ip}, AS {session.remote_as})"


def session_state(session: Session, agent: Agent | None) -> str:
    """Its state, and why it is not up. The agent suspects what BIRD cannot see, such as passwords that differ."""
    info = (agent is not None and agent.information.get(session.name)) or session.info
    told = f", {info}" if info else ""
    return f"{session.state} since {session.since}{told}"


def _entry(entry: KernelEntry) -> str:
    name = _PROTOCOLS.get(entry.protocol, str(entry.protocol))
    return f"{', '.join(entry.hops) or 'blackhole'}, protocol {name}"
