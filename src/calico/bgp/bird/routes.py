"""Routes as BIRD's control socket shows them (``show route … all``), as typed values. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from calico.bgp.bird.control import Reply
from calico.errors import InvalidInput

__all__ = ["KnownRoute", "parse_routes"]

NOT_FOUND = 8001

_ROUTE = re.compile(
    r"(?P<net>[0-9a-f.:]+/[0-9]+)?\s+(?P<kind>\S+) "
    r"\[(?P<protocol>\S+) (?P<since>[0-9:. -]+?)(?: from (?P<source>\S+?))?\]"
    r"(?P<mark> [*!])? \((?P<preference>[0-9]{1,10})(?P<told>[^)]*)\)(?: \[(?:AS(?P<origin>[0-9]+))?[^\]]*\])?.*"
)
_HOP = re.compile(r"\t(?:via|dev) ")
_NAMES_OF_BIRD_3 = {"bgp_path": "BGP.as_path"}
_PREFIXES_OF_BIRD_3 = {"bgp_": "BGP.", "krt_": "Kernel."}


class KnownRoute(msgspec.Struct, frozen=True, kw_only=True):
    """A route in one of BIRD's tables.

    ``protocol`` is where BIRD has it from; ``source`` the speaker, where that is not the next hop. ``preferred``: it is
    the one that counts for its prefix. ``refused``: the kernel did not take it. ``stale``: its session is gone, but it
    is kept for a while. ``hops``: ``via ADDRESS on INTERFACE`` or ``dev INTERFACE``. ``attributes`` bear BIRD 2's
    names.
    """

    net: str
    kind: str
    protocol: str
    since: str
    source: str = ""
    preferred: bool = False
    refused: bool = False
    stale: bool = False
    preference: int = 0
    hops: tuple[str, ...] = ()
    attributes: Mapping[str, str] = {}

    @property
    def identity(self) -> tuple[str, str, str, str]:
        """The same for the same route in any answer; with additional paths a session has several for a prefix."""
        return self.net, self.protocol, self.source, ",".join(self.hops)

    @property
    def reachable(self) -> bool:
        """Its next hop is resolved."""
        return self.kind != "unreachable"

    @property
    def interfaces(self) -> tuple[str, ...]:
        """Where it leads out."""
        return tuple(hop.split()[1] if hop.startswith("dev ") else hop.split()[-1] for hop in self.hops)

    @property
    def next_hop(self) -> str:
        """What BGP was told, else what BIRD sends to."""
        told = self.attributes.get("BGP.next_hop", "").split(" ")[0]
        return told or ", ".join(hop.split()[1] for hop in self.hops if hop.startswith("via "))


def parse_routes(reply: Reply) -> tuple[KnownRoute, ...]:
    """The routes of an answer to ``show route``, without or with ``all``; none when the network is not found.

    InvalidInput when BIRD refused the question, or when the answer holds a line that is none of a list of routes.
    """
    if reply.code == NOT_FOUND:
        return ()
    if reply.failed:
        raise InvalidInput(f"BIRD refuses the question: {reply.text[:80]!r}")
    found: list[KnownRoute] = []
    net = ""
    for line in reply.lines:
        text = line.text
        if line.code in (1008, 1012):
            found[-1:] = [_with_attribute(route, text) for route in found[-1:]]
        elif line.code != 1007 or not text.strip() or text.startswith("Table "):
            continue
        elif _HOP.match(text):
            found[-1:] = [_with_hop(route, text) for route in found[-1:]]
        else:
            row = _ROUTE.fullmatch(text)
            net = (row and row["net"]) or net
            if row is None or not net:
                raise InvalidInput(f"{text[:60]!r} is no route of BIRD's")
            found.append(_route(net, row))
    return tuple(found)


def _route(net: str, row: re.Match[str]) -> KnownRoute:
    return KnownRoute(
        net=net,
        kind=row["kind"],
        protocol=row["protocol"],
        since=row["since"],
        source=row["source"] or "",
        preferred=row["mark"] is not None,
        refused=row["mark"] == " !",
        stale="s" in row["told"],
        preference=int(row["preference"]),
    )


def _with_hop(route: KnownRoute, text: str) -> KnownRoute:
    """A hop, without the words that may follow the interface (``mpls``, ``onlink``, ``weight``)."""
    words = text.split()
    return msgspec.structs.replace(route, hops=(*route.hops, " ".join(words[: 2 if words[0] == "dev" else 4])))


def _with_attribute(route: KnownRoute, text: str) -> KnownRoute:
    key, _, value = text.strip().partition(":")
    return msgspec.structs.replace(route, attributes={**route.attributes, _attribute(key): value.strip()})


def _attribute(name: str) -> str:
    """BIRD 3 names attributes as its filters do; both are told by the names of BIRD 2."""
    if name in _NAMES_OF_BIRD_3:
        return _NAMES_OF_BIRD_3[name]
    for theirs, ours in _PREFIXES_OF_BIRD_3.items():
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    return name
