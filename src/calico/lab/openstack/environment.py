"""Where Neutron and PostgreSQL are on this machine. The lab runs their programs and imports nothing of them."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import msgspec

from calico.errors import NotFound

__all__ = ["Environment", "find_environment"]

_VARIABLE = "CALICO_OPENSTACK_ENVIRONMENT"
_FIX = "in a checkout: packaging/bootstrap .venv openstack (or make openstack); elsewhere set " + _VARIABLE


class Environment(msgspec.Struct, frozen=True, kw_only=True):
    """``neutron`` is a virtual environment with Neutron and this project; ``postgres`` the folder of its programs."""

    neutron: Path
    postgres: Path

    def program(self, name: str) -> str:
        """A program of Neutron's environment."""
        return str(self.neutron / "bin" / name)

    @property
    def starts_workers(self) -> bool:
        """Whether Neutron's own program starts the driver's worker: not while it runs on eventlet (Neutron 26)."""
        return "eventlet" not in (self.neutron / "bin/neutron-periodic-workers").read_text()


def find_environment(given: str = "") -> Environment:
    """The folder given, else that of the variable, else the one beside our own; NotFound names what is missing."""
    place = Path(given or os.environ.get(_VARIABLE, "") or f"{sys.prefix}-openstack")
    for name in ("neutron-periodic-workers", "neutron-db-manage", "uwsgi", "calico"):
        if not (place / "bin" / name).exists():
            raise NotFound(f"a lab with openstack needs Neutron, and {place} has no {name}; {_FIX}")
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    if not found:
        raise NotFound(f"a lab with openstack needs PostgreSQL, which is not installed; {_FIX}")
    return Environment(neutron=place.absolute(), postgres=found[-1].parent)
