"""The cases beside this checkout, and what a step of one expects, held to packets.

A case is ``{world: {namespaces, endpoints}, steps: [{policies, cnps, order, expect}]}``; a step may change namespaces
and endpoints from then on. Rows have one character a destination: Y reachable, n not, ? is not asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from calico.lab.probe.engine import measure
from calico.lab.probe.matrix import Probe, Target

__all__ = ["ABSENT", "FILES", "expected", "workload_name", "wrong"]

_CASES = Path(__file__).resolve().parents[2].parent / "shared" / "conformance" / "netpol"
FILES = sorted(_CASES.glob("[0-9]*.json")) if _CASES.is_dir() else []
ABSENT = "the conformance data is not beside this checkout"


def workload_name(identifier: str) -> str:
    """An endpoint's id as the name of a machine."""
    return identifier.replace("/", "-")


def expected(step: Mapping[str, Any]) -> dict[Probe, bool]:
    """Every probe of a step, and whether it must be answered."""
    found: dict[Probe, bool] = {}
    for matrix in step["expect"]:
        what = {"protocol": matrix["protocol"], "port": matrix["port"], "family": matrix["family"]}
        for src, row in matrix["rows"].items():
            for dst, mark in zip(step["order"], row, strict=True):
                if mark != "?":
                    probe = Probe(src=workload_name(src), dst=workload_name(dst), **what)
                    found[probe] = mark == "Y"
    return found


def wrong(targets: Sequence[Target], probes: Mapping[Probe, bool]) -> list[str]:
    """The probes whose answer by packets is not the expected one."""
    assert probes, "nothing is expected"
    found = []
    for row in measure(targets, probes):
        probe = Probe(src=row.src, dst=row.dst, protocol=row.protocol, port=row.port, family=row.family)
        if row.reachable != probes[probe]:
            found.append(f"{probe} is {'open' if row.reachable else 'closed'}")
    return found
