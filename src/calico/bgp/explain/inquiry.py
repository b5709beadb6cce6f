"""What is to be known about one prefix on this host: questions to BIRD, and their answers as facts. Pure.

The questions come in rounds, as later ones depend on earlier answers: ``inquire`` yields them and takes the replies.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Generator, Mapping, Sequence
from typing import Any, Literal

import msgspec

from calico.bgp.bird.control import BirdStatus, Reply, Session, parse_sessions, parse_status
from calico.bgp.bird.routes import KnownRoute, parse_routes
from calico.bgp.birdconf.admission import admission_name
from calico.bgp.birdconf.filters import filter_name
from calico.bgp.planning.birdplan import Family
from calico.bgp.planning.filterplan import Direction
from calico.errors import InvalidInput

__all__ = ["PROTO_BIRD", "Agent", "Facts", "KernelEntry", "Offer", "Rejected", "agent_of", "canonical", "inquire"]

PROTO_BIRD = 12
Verdict = Literal["told", "rejected", "withheld", "down"]
Questions = Generator[tuple[str, ...], Sequence[Reply], "Facts"]


class KernelEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A route of the kernel's. ``hops`` are worded as BIRD does; none for a blackhole."""

    protocol: int
    metric: int = 0
    hops: tuple[str, ...] = ()


class Agent(msgspec.Struct, frozen=True, kw_only=True):
    """What the BGP agent planned, of that which decides on exports and on the kernel.

    ``filters``: the BGPFilters by session; ``information``: what it knows or suspects of a session. On ``restricted``
    sessions the far end is believed its own routes only. Routes of ``unprogrammed`` pools are not for BIRD to put into
    the kernel.
    """

    filters: Mapping[str, tuple[str, ...]] = {}
    information: Mapping[str, str] = {}
    restricted: frozenset[str] = frozenset()
    pools: tuple[str, ...] = ()
    unprogrammed: tuple[str, ...] = ()
    never: tuple[str, ...] = ()
    blocks: tuple[str, ...] = ()


class Rejected(msgspec.Struct, frozen=True):
    """A route that an import filter keeps aside; ``by`` names the BGPFilter, where that is known. ``foreign``: it is
    not the client's own."""

    route: KnownRoute
    by: str
    foreign: bool = False


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of the preferred route towards a session.

    ``withheld``: BGP itself does not offer it (split horizon, no reflection). ``by``: the BGPFilter that rejects it.
    """

    session: Session
    verdict: Verdict
    by: str = ""


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """The answers. ``net`` is the prefix, or the longest one that covers it; empty when BIRD has neither.

    ``kernel`` is the kernel's own view of ``net``, or of the prefix. ``to_kernel`` is what BIRD's filter says.
    """

    prefix: str
    net: str
    bird: BirdStatus
    sessions: tuple[Session, ...]
    routes: tuple[KnownRoute, ...] = ()
    rejected: tuple[Rejected, ...] = ()
    offers: tuple[Offer, ...] = ()
    to_kernel: Verdict = "withheld"
    kernel: tuple[KernelEntry, ...] = ()
    agent: Agent | None = None

    @property
    def preferred(self) -> KnownRoute | None:
        """The route that counts."""
        return next((route for route in self.routes if route.preferred), None)


def agent_of(document: Mapping[str, Any]) -> Agent:
    """What the agent's status document says of its plan."""
    prefixes = document.get("prefixes", {})
    pools = prefixes.get("pools", [])
    never = [pool["cidr"] for pool in pools if pool["advertise"] == "never"]
    sessions = document.get("sessions", [])
    return Agent(
        filters={session["name"]: tuple(session.get("filters", ())) for session in sessions},
        restricted=frozenset(session["name"] for session in sessions if session.get("own_routes_only")),
        information={session["name"]: session["info"] for session in sessions if session.get("info")},
        pools=tuple(pool["cidr"] for pool in pools if pool["advertise"] == "always"),
        unprogrammed=tuple(pool["cidr"] for pool in pools if not pool["program"]),
        never=(*never, *prefixes.get("withheld", [])),
        blocks=tuple(prefixes.get("blocks", [])),
    )


def inquire(prefix: str, kernel: Mapping[str, tuple[KernelEntry, ...]], agent: Agent | None) -> Questions:
    """Yields commands, takes their replies, returns the facts; InvalidInput for odd answers.

    ``prefix`` is canonical, ``kernel`` the kernel's routes by prefix.
    """
    family: Family = 6 if ":" in prefix else 4
    status, protocols, covering, aside = yield (
        "show status",
        "show protocols all",
        f"show route for {prefix} all",
        f"show route {prefix} filtered all",
    )
    sessions = tuple(session for session in parse_sessions(protocols).values() if family in session.families)
    routes = parse_routes(covering)
    rejected = yield from _who_rejects(parse_routes(aside), sessions, family, agent)
    if rejected and (not routes or routes[0].net != prefix):
        routes = ()  # what covers it is another story: this one was told and rejected
    net = routes[0].net if routes else ""
    offers: tuple[Offer, ...] = ()
    to_kernel: Verdict = "withheld"
    if routes:
        offers, to_kernel = yield from _offers(net, sessions, family, agent)
    return Facts(
        prefix=prefix,
        net=net,
        bird=parse_status(status),
        sessions=sessions,
        routes=routes,
        rejected=rejected,
        offers=offers,
        to_kernel=to_kernel,
        kernel=kernel.get(net or prefix, ()),
        agent=agent,
    )


def _offers(
    net: str, sessions: Sequence[Session], family: Family, agent: Agent | None
) -> Generator[tuple[str, ...], Sequence[Reply], tuple[tuple[Offer, ...], Verdict]]:
    """Ask of each session that is up, and of the kernel, what the export filter does with the preferred route."""
    up = [session for session in sessions if session.established]
    names = [*(session.name for session in up), f"kernel{family}"]
    questions = tuple(f"show route {net} primary {mode} {name}" for name in names for mode in ("export", "noexport"))
    replies = yield questions
    verdicts = [_verdict(*replies[index : index + 2]) for index in range(0, len(replies), 2)]
    offers = [Offer(session=session, verdict="down") for session in sessions if not session.established]
    for session, verdict in zip(up, verdicts, strict=False):
        by = ""
        if verdict == "rejected":
            by = yield from _by_filter(f"show route {net} primary", session, "export", family, agent)
        offers.append(Offer(session=session, verdict=verdict, by=by))
    return tuple(sorted(offers, key=lambda offer: offer.session.name)), verdicts[-1]


def _verdict(passes: Reply, rejects: Reply) -> Verdict:
    if passes.failed or rejects.failed:
        return "down"
    if parse_routes(passes):
        return "told"
    return "rejected" if parse_routes(rejects) else "withheld"


def _who_rejects(
    routes: Sequence[KnownRoute], sessions: Sequence[Session], family: Family, agent: Agent | None
) -> Generator[tuple[str, ...], Sequence[Reply], tuple[Rejected, ...]]:
    found = []
    for route in routes:
        session = next((session for session in sessions if session.name == route.protocol), None)
        by, foreign = "", False
        if session is not None:
            question = f"show route {route.net} filtered protocol {session.name}"
            if agent is not None and session.name in agent.restricted:
                (reply,) = yield (f"{question} filter {{ {admission_name(session.name, family)}(); accept; }}",)
                foreign = not reply.failed and not parse_routes(reply)
        if session is not None and not foreign:
            by = yield from _by_filter(question, session, "import", family, agent)
        found.append(Rejected(route, by, foreign))
    return tuple(found)


def _by_filter(
    question: str, session: Session, direction: Direction, family: Family, agent: Agent | None
) -> Generator[tuple[str, ...], Sequence[Reply], str]:
    """The first of the session's BGPFilters that rejects: BIRD runs them, one more each time."""
    names = agent.filters.get(session.name, ()) if agent is not None else ()
    if not names:
        return ""
    same = "true" if session.internal else "false"
    first = [f"rank{family}();"] if direction == "export" else []
    calls = [f"{filter_name(name, direction, family)}({same});" for name in names]
    bodies = [" ".join([*first, *calls[: length + 1], "accept;"]) for length in range(len(calls))]
    replies = yield tuple(f"{question} filter {{ {body} }}" for body in bodies)
    for name, reply in zip(names, replies, strict=True):
        if reply.failed:
            return ""  # the plan is ahead of BIRD
        if not parse_routes(reply):
            return name
    return ""


def canonical(text: str) -> str:
    """A prefix or an address as a prefix; InvalidInput when it is neither, or has bits beyond its length."""
    if "%" in text:
        raise InvalidInput(f"{text[:60]!r} is not a prefix: it names an interface")
    try:
        return str(ipaddress.ip_network(text))
    except ValueError as error:
        raise InvalidInput(f"{text[:60]!r} is not a prefix: {error}") from None
