"""Parameters of Calico's Felix that mean nothing to this one, and why: ``foreign.toml`` beside this file.

Read when it is first asked for. A cluster that is shared with Calico's own Felix may well give them.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

import msgspec

from calico.errors import InvalidInput
from calico.model.numorstring import parse_duration

__all__ = ["AT_START", "Foreign", "foreign"]

AT_START = (
    "DatastoreType",
    "EtcdAddr",
    "EtcdCAFile",
    "EtcdCertFile",
    "EtcdEndpoints",
    "EtcdKeyFile",
    "EtcdPasswordFile",
    "EtcdScheme",
    "EtcdUsername",
    "FelixHostname",
    "LogFilePath",
)
"""What must be known before the datastore is: options of the command, which take them from environment and file."""


class Foreign(msgspec.Struct, frozen=True):
    """One such parameter. ``default``: what it is in Calico when nobody gives it."""

    name: str
    default: str
    reason: str

    def is_default(self, value: object) -> bool:
        """Whether a value says no more than the default; durations are compared as such."""
        said = str(value).strip().lower()
        if said in ("", self.default.lower()):
            return True
        try:
            return _seconds(said) == _seconds(self.default)
        except (ValueError, InvalidInput):
            return False


@cache
def foreign() -> Mapping[str, Foreign]:
    """By lower-case name: that of the parameter, and that of its field where it differs."""
    text = files("calico.felix.config").joinpath("foreign.toml").read_text(encoding="utf-8")
    found: dict[str, Foreign] = {}
    for group in tomllib.loads(text).values():
        for name, entry in group["parameters"].items():
            default, field = (entry, name) if isinstance(entry, str) else (entry["default"], entry["field"])
            found[name.lower()] = found[field.lower()] = Foreign(name, default, group["reason"])
    return found


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return parse_duration(text)
