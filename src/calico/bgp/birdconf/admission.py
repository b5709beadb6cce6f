"""What a client of a reflector may tell, as one function for each session, so that a change reloads no other. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from calico.bgp.birdconf.text import prefix
from calico.bgp.planning.birdplan import AdmissionPlan, BlockPlan, Family
from calico.errors import InvalidInput

__all__ = ["admission_function", "admission_name"]

_NAME_MAX = 64


def admission_name(peer: str, family: Family) -> str:
    """The function of a session, named after it."""
    name = f"admit{family}_{peer}"
    if len(name) > _NAME_MAX:
        raise InvalidInput(f"{name!r} is too long for BIRD")
    return name


@lru_cache(maxsize=8192)
def admission_function(peer: str, plan: AdmissionPlan, family: Family) -> str:
    """The function: ends the filter with reject, or returns."""
    whole = 32 if family == 4 else 128
    refused = [prefix(item.cidr, family) for item in _of(plan.refused, family)]
    taken = []
    for item in _of(plan.networks, family):
        cidr = prefix(item.cidr, family)
        taken.append(cidr)
        if not cidr.endswith(f"/{whole}"):
            taken.append(f"{cidr}{{{whole},{whole}}}")
    lines = [f"function {admission_name(peer, family)}() {{"]
    if taken and refused:
        lines.append(f"  if net ~ {_set(refused)} then reject;")
    lines.append(f"  if ! (net ~ {_set(taken)}) then reject;" if taken else "  reject;")
    return "\n".join([*lines, "}", ""])


def _set(prefixes: Iterable[str]) -> str:
    return f"[ {', '.join(prefixes)} ]"


def _of(items: Iterable[BlockPlan], family: Family) -> list[BlockPlan]:
    return [item for item in items if item.family == family]
