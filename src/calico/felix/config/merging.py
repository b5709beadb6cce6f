"""Effective settings out of what every source gives, and an account of every value: used, overridden, refused. Pure.

Sources, later wins: built-in default, ClusterInformation, FelixConfiguration ``default``, those whose nodeSelector
matches, ``node.<host>``, file, environment, command line. A value that does not parse is refused with its name, and the
next lower source is used.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import msgspec

from calico.errors import InvalidInput
from calico.felix.config.foreign import AT_START, foreign
from calico.felix.config.parameters import PARAMETERS, Parameter
from calico.felix.config.settings import FelixConfig

__all__ = ["Given", "Merged", "Source", "merge_config", "needs_restart"]

Source = tuple[str, Mapping[str, object]]
"""A name for people, and {parameter or its field, in any case: raw value}."""

_NOT_PARAMETERS = frozenset({"nodeselector"})
_OBJECT = "FelixConfiguration "
_TOO_LATE = "It is needed before the datastore is: give it as an option, a variable, or in the file."
_AT_START = {name.lower(): name for name in AT_START}


class Given(msgspec.Struct, frozen=True, kw_only=True):
    """One value that a source gives a parameter. ``problem``: why it is refused."""

    source: str
    name: str
    value: object
    verdict: Literal["used", "overridden", "refused"]
    problem: str = ""


class Merged(msgspec.Struct, frozen=True, kw_only=True):
    """The settings, and for each parameter that anybody gives what they gave, lowest source first.

    ``refused``, ``idle``: {"source: parameter": what is wrong, or why it changes nothing}.
    """

    settings: FelixConfig
    given: Mapping[str, tuple[Given, ...]]
    refused: Mapping[str, str]
    idle: Mapping[str, str]

    def origin(self, parameter: Parameter) -> str:
        """The source of a parameter's value; ``default`` when nobody gives one that is any good."""
        used = [given.source for given in self.given.get(parameter.key, ()) if given.verdict == "used"]
        return used[0] if used else "default"

    def as_data(self) -> list[dict[str, Any]]:
        """All parameters, for status documents."""
        return [
            {
                "parameter": parameter.key,
                "value": parameter.shown(getattr(self.settings, parameter.attribute)),
                "source": self.origin(parameter),
                "effect": parameter.effect,
                "given": [msgspec.to_builtins(given) for given in self.given.get(parameter.key, ())],
            }
            for parameter in PARAMETERS
        ]


def merge_config(sources: Iterable[Source]) -> Merged:
    """Effective settings from sources given lowest first."""
    lowered = [(source, {key.lower(): (key, value) for key, value in raw.items()}) for source, raw in sources]
    values: dict[str, object] = {}
    accounts: dict[str, tuple[Given, ...]] = {}
    refused: dict[str, str] = {}
    known: set[str] = set()
    for parameter in PARAMETERS:
        known |= {name.lower() for name in parameter.names}
        account = list(_judged(parameter, lowered, values))
        if account:
            accounts[parameter.key] = tuple(account)
        refused |= {f"{given.source}: {given.name}": given.problem for given in account if given.problem}
    unknown, idle = _strangers(lowered, known)
    settings = FelixConfig(**values)  # type: ignore[arg-type]
    return Merged(settings=settings, given=accounts, refused=refused | unknown, idle=idle)


def needs_restart(old: FelixConfig, new: FelixConfig) -> list[str]:
    """Names of the parameters that changed and need Felix to start over."""
    return [
        parameter.key
        for parameter in PARAMETERS
        if parameter.effect == "restart" and getattr(old, parameter.attribute) != getattr(new, parameter.attribute)
    ]


_Lowered = Sequence[tuple[str, Mapping[str, tuple[str, object]]]]


def _judged(parameter: Parameter, sources: _Lowered, values: dict[str, object]) -> Iterator[Given]:
    """Every value given, lowest first; the last good one goes into ``values``."""
    given: list[Given] = []
    for source, name, value in _given(parameter, sources):
        try:
            values[parameter.attribute] = parameter.parse(value)
        except (ValueError, InvalidInput) as error:
            problem = f"{value!r} is refused: {error}"
            given.append(Given(source=source, name=name, value=value, verdict="refused", problem=problem))
        else:
            given.append(Given(source=source, name=name, value=value, verdict="used"))
    last = max((place for place, one in enumerate(given) if one.verdict == "used"), default=-1)
    for place, one in enumerate(given):
        yield msgspec.structs.replace(one, verdict="overridden") if one.verdict == "used" and place < last else one


def _given(parameter: Parameter, sources: _Lowered) -> Iterator[tuple[str, str, object]]:
    """(source, name, raw value) of each value given, lowest first: under the alias, then under its own names."""
    own = dict.fromkeys((parameter.key.lower(), parameter.json_name.lower()), parameter.key)
    for names in ({parameter.alias.lower(): parameter.alias} if parameter.alias else {}, own):
        for source, raw in sources:
            for name, shown in names.items():
                _, value = raw.get(name, ("", None))
                if value not in (None, ""):
                    yield source, shown, value


def _strangers(sources: _Lowered, known: set[str]) -> tuple[dict[str, str], dict[str, str]]:
    """What is no parameter at all, and what is one of Calico's that changes nothing here."""
    unknown: dict[str, str] = {}
    idle: dict[str, str] = {}
    for source, raw in sources:
        for name, (written, value) in raw.items():
            if name in known or name in _NOT_PARAMETERS or value in (None, ""):
                continue
            if name in _AT_START:
                if source.startswith(_OBJECT):
                    idle[f"{source}: {_AT_START[name]}"] = f"{value!r} changes nothing. {_TOO_LATE}"
                continue
            other = foreign().get(name)
            if other is None:
                unknown[f"{source}: {written}"] = "there is no such parameter" + _nearest(name, known)
            elif not other.is_default(value):
                idle[f"{source}: {other.name}"] = f"{value!r} changes nothing. {other.reason}"
    return unknown, idle


def _nearest(name: str, known: set[str]) -> str:
    names = {key.lower(): key for parameter in PARAMETERS for key in (parameter.key,)} | _AT_START
    found = difflib.get_close_matches(name, [*names, *(known - set(names))], n=1, cutoff=0.8)
    return f"; is {names.get(found[0], found[0])} meant?" if found else ""
