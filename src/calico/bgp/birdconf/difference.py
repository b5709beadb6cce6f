"""What going from one bird.conf to another does to established sessions. Pure, and works on the text alone.

Working on the text makes it right after our own restart too, when all that is left of the past is the file. It relies
on the emitter: a protocol starts at the beginning of a line and ends with ``}`` alone on a line.
"""

from __future__ import annotations

import enum
import re

import msgspec

__all__ = ["Difference", "Effect", "compare", "sessions_in"]

_BGP = re.compile(r"^protocol bgp (\S+) \{\n(.*?)^\}$", re.MULTILINE | re.DOTALL)
_FILTERS = re.compile(r"(?:(?:import|export) filter (?:[a-z0-9_]+|\{[^{}]*\})|import keep filtered on); ?")
_CHANNEL = re.compile(r"^  ipv[46] \{.*$", re.MULTILINE)
_BFD = re.compile(r"^  bfd \{.*\n", re.MULTILINE)
_PASSWORD = re.compile(r"^  password .*$", re.MULTILINE)
_NEIGHBOR = re.compile(r"^  neighbor (?:range )?[0-9a-f.:/]+", re.MULTILINE)
_INTERFACE = re.compile(r"^  interface .*$", re.MULTILINE)
_ACCEPTED = re.compile(r"_[0-9]+\Z")
_DIRECT = re.compile(r"^protocol direct .*$", re.MULTILINE)
_ROUTER_ID = re.compile(r"^router id (\S+);$", re.MULTILINE)


class Effect(enum.Enum):
    """The classes of a change, by what it costs when it is applied by ``configure``."""

    NONE = "none"
    SOFT = "soft"  # filters, routes, pools, sessions that come or go: the others do not notice
    RESET = "peer reset"  # sessions whose own options change, with the routes learned by them
    RESTART = "restart"  # everything, for a moment: router id, or the connected routes that resolve next hops


class Difference(msgspec.Struct, frozen=True):
    """``resets`` are sessions on both sides whose own options change, or their names, with the far end staying: BIRD
    drops them, and their routes with them.

    ``rekeyed`` are those among them whose passwords change: until both ends have done so they cannot be established.
    ``watched`` have BFD now, whose far ends take a restart of BIRD for a failure: it cannot be graceful for them.
    ``restarts_direct``: the connected routes vanish for a moment, and with them what resolves the next hops.
    """

    changed: bool
    resets: frozenset[str]
    added: frozenset[str]
    removed: frozenset[str]
    kept: frozenset[str]
    restarts_direct: bool
    restarts_all: bool = False
    rekeyed: frozenset[str] = frozenset()
    watched: frozenset[str] = frozenset()

    @property
    def effect(self) -> Effect:
        """Its class."""
        if self.restarts_direct or self.restarts_all:
            return Effect.RESTART
        if self.resets:
            return Effect.RESET
        return Effect.SOFT if self.changed else Effect.NONE

    def resets_session(self, name: str) -> bool:
        """Whether a session that BIRD runs is dropped: itself, or with the one that accepted it (its name, ``_``, and
        a number)."""
        return name in self.resets or _ACCEPTED.sub("", name) in self.resets


def compare(old: str, new: str) -> Difference:
    """The difference between two files of ours. Filters, statics, pools and debugging reset nothing.

    A new router id resets every session (BGP identifier, RFC 4271 4.2).
    """
    before, after = sessions_in(old), sessions_in(new)
    both = before.keys() & after.keys()
    renamed = _renamed(
        {name: before[name] for name in before.keys() - both}, {n: after[n] for n in after.keys() - both}
    )
    same_router = _ROUTER_ID.findall(old) == _ROUTER_ID.findall(new)
    watched, unwatched = _watched(old), both - _watched(new)
    kept = frozenset(name for name in both if same_router and before[name] == after[name])
    kept -= watched & unwatched  # that we stop is a failure to the far end
    return Difference(
        changed=old != new,
        resets=frozenset(both | renamed.keys()) - kept,
        added=frozenset(after.keys() - before.keys() - set(renamed.values())),
        removed=frozenset(before.keys() - after.keys() - renamed.keys()),
        kept=kept,
        restarts_direct=_DIRECT.findall(old) != _DIRECT.findall(new),
        restarts_all=not same_router,
        watched=watched,
        rekeyed=frozenset(name for name in both if _password(before[name]) != _password(after[name])),
    )


def _renamed(gone: dict[str, str], come: dict[str, str]) -> dict[str, str]:
    """Old name to new of sessions whose far end stays: to BIRD one ends before the other begins."""
    by_far_end = {_far_end(body): name for name, body in come.items()}
    return {name: by_far_end[end] for name, body in gone.items() if (end := _far_end(body)) in by_far_end}


def _far_end(body: str) -> tuple[str, ...]:
    return tuple(found[0] for pattern in (_NEIGHBOR, _INTERFACE) if (found := pattern.search(body)))


def _watched(text: str) -> frozenset[str]:
    return frozenset(name for name, body in _BGP.findall(text) if _BFD.search(body))


def _password(body: str) -> list[str]:
    return _PASSWORD.findall(body)


def sessions_in(text: str) -> dict[str, str]:
    """The BGP protocols of a file by name, with what stands between their braces but their filters and BFD, which
    BIRD changes in sessions that run."""
    return {name: _CHANNEL.sub(_without_filters, _BFD.sub("", body)) for name, body in _BGP.findall(text)}


def _without_filters(channel: re.Match[str]) -> str:
    """Only a channel has filters; elsewhere the same words could be a password."""
    return _FILTERS.sub("", channel[0])
