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
_FILTERS = re.compile(
    r"(?:(?:import|export) filter (?:[a-z0-9_]+|\{[^{}]*\})|import keep filtered on"
    r"|receive limit [0-9]+ action restart); ?"
)
_CHANNEL = re.compile(r"^  ipv[46] \{.*$", re.MULTILINE)
_BFD = re.compile(r"^  bfd \{.*\n", re.MULTILINE)
_PASSWORD = re.compile(r"^  password .*$", re.MULTILINE)
_NEIGHBOR = re.compile(r"^  neighbor (?:range )?[0-9a-f.:/]+", re.MULTILINE)
_INTERFACE = re.compile(r"^  interface .*$", re.MULTILINE)
_ACCEPTED = re.compile(r"_[0-9]+\Z")
_DIRECT = re.compile(r"^protocol direct .*$", re.MULTILINE)
_DEFINITION = re.compile(r"^(?:filter|function) ('[^'\n]*'|\w+)([^\n]*\}|.*?^\})$", re.MULTILINE | re.DOTALL)
_IMPORT = re.compile(r"import filter ([a-z0-9_]+|\{[^{}]*\})")
_NAME = re.compile(r"'[^'\n]*'|\w+")
_KEEPS_ALL = "import table on;"
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
    ``refiltered`` judge what they receive by other filters: BIRD asks for it again, and drops those that cannot. Those
    with an import table are not among them: BIRD has all that they ever received.
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
    refiltered: frozenset[str] = frozenset()

    @property
    def effect(self) -> Effect:
        """Its class."""
        if self.restarts_direct or self.restarts_all:
            return Effect.RESTART
        if self.resets:
            return Effect.RESET
        return Effect.SOFT if self.changed else Effect.NONE

    def resets_session(self, name: str, *, refreshes: bool = True) -> bool:
        """Whether a session that BIRD runs is dropped: itself, or with the one that accepted it (its name, ``_``, and
        a number). ``refreshes``: its far end can send its routes again."""
        dropped = self.resets if refreshes else self.resets | self.refiltered
        return name in dropped or _ACCEPTED.sub("", name) in dropped


def compare(old: str, new: str) -> Difference:
    """The difference between two files of ours. Filters, statics, pools and debugging reset nothing.

    A new router id resets every session (BGP identifier, RFC 4271 4.2).
    """
    before, after = _bodies(old), _bodies(new)
    both = before.keys() & after.keys()
    edited = {name for name in both if before[name] != after[name]}
    renamed = _renamed(
        {name: before[name] for name in before.keys() - both}, {n: after[n] for n in after.keys() - both}
    )
    same_router = _ROUTER_ID.findall(old) == _ROUTER_ID.findall(new)
    watched, unwatched = _watched(before), both - _watched(after)
    kept = frozenset(name for name in both if same_router and not (name in edited and _differ(before, after, name)))
    kept -= watched & unwatched  # that we stop is a failure to the far end
    calls_before, calls_after = _functions(old), _functions(new)
    asked = both if calls_before != calls_after else edited
    return Difference(
        changed=old != new,
        resets=frozenset(both | renamed.keys()) - kept,
        added=frozenset(after.keys() - before.keys() - set(renamed.values())),
        removed=frozenset(before.keys() - after.keys() - renamed.keys()),
        kept=kept,
        restarts_direct=_DIRECT.findall(old) != _DIRECT.findall(new),
        restarts_all=not same_router,
        watched=watched,
        refiltered=frozenset(
            name
            for name in asked
            if not (_KEEPS_ALL in before[name] and _KEEPS_ALL in after[name])
            and _accepts(before[name], calls_before) != _accepts(after[name], calls_after)
        ),
        rekeyed=frozenset(name for name in edited if _PASSWORD.findall(before[name]) != _PASSWORD.findall(after[name])),
    )


def _renamed(gone: dict[str, str], come: dict[str, str]) -> dict[str, str]:
    """Old name to new of sessions whose far end stays: to BIRD one ends before the other begins."""
    by_far_end = {_far_end(body): name for name, body in come.items()}
    return {name: by_far_end[end] for name, body in gone.items() if (end := _far_end(body)) in by_far_end}


def _far_end(body: str) -> tuple[str, ...]:
    return tuple(found[0] for pattern in (_NEIGHBOR, _INTERFACE) if (found := pattern.search(body)))


def sessions_in(text: str) -> dict[str, str]:
    """The BGP protocols of a file by name, with what stands between their braces but their filters and BFD, which
    BIRD changes in sessions that run."""
    return {name: _options(body) for name, body in _bodies(text).items()}


def _bodies(text: str) -> dict[str, str]:
    return dict(_BGP.findall(text))


def _differ(before: dict[str, str], after: dict[str, str], name: str) -> bool:
    return _options(before[name]) != _options(after[name])


def _watched(bodies: dict[str, str]) -> frozenset[str]:
    return frozenset(name for name, body in bodies.items() if _BFD.search(body))


def _functions(text: str) -> dict[str, str]:
    """Filters and functions by name, with those that they call: ours call others one deep."""
    own: dict[str, str] = dict(_DEFINITION.findall(text))
    return {name: "".join([body, *(own[called] for called in _NAME.findall(body) if called in own)])
            for name, body in own.items()}  # fmt: skip


def _accepts(body: str, functions: dict[str, str]) -> list[str]:
    """A session's import filters and all that these call."""
    filters = [part for channel in _CHANNEL.findall(body) for part in _IMPORT.findall(channel)]
    return filters + [functions[called] for part in filters for called in _NAME.findall(part) if called in functions]


def _options(body: str) -> str:
    return _CHANNEL.sub(_without_filters, _BFD.sub("", body))


def _without_filters(channel: re.Match[str]) -> str:
    """Only a channel has filters; elsewhere the same words could be a password."""
    return _FILTERS.sub("", channel[0])
