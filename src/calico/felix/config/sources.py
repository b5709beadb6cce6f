"""What this host gives by itself: the environment, and a file such as Calico's felix.cfg. Pure."""

from __future__ import annotations

import configparser
from collections.abc import Mapping

from calico.errors import InvalidInput

__all__ = ["DEFAULT_FILE", "of_environment", "of_file"]

DEFAULT_FILE = "/etc/calico/felix.cfg"
_PREFIX = "FELIX_"


def of_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """{parameter in upper case: value} of the variables FELIX_<PARAMETER>."""
    return {
        name[len(_PREFIX) :].upper(): value for name, value in environment.items() if name.upper().startswith(_PREFIX)
    }


def of_file(text: str, path: str) -> dict[str, str]:
    """{parameter: value} of an INI file: all sections say the same, as in Calico, and a later line wins.

    InvalidInput names the file and the line that is none.
    """
    parser = configparser.RawConfigParser(strict=False, interpolation=None, delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    try:
        parser.read_string(text)
    except configparser.Error as error:
        raise InvalidInput(" ".join(str(error).split()), subject=path) from error
    found = dict(parser.defaults())
    for section in parser.sections():
        found |= {name: parser.get(section, name) for name in parser.options(section)}
    return found
