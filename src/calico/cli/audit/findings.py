"""What an audit looks for and what it says. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

__all__ = ["PROPERTIES", "Finding"]

PROPERTIES: Final[Mapping[str, str]] = {
    "S1": "nothing passes to or from a workload interface that Felix does not know",
    "S3": "an endpoint carries packets only by its own policy, and what is no endpoint's carries none",
    "S6": "nobody sends from an address or as a MAC that is not his own",
    "S7": "router advertisements and redirects of workloads have no effect",
    "S8": "no workload plays DHCP server, and hosts answer for gateways only where they route",
    "S9": "workloads cannot tunnel past policy, and tunnels are taken from known hosts only",
    "S10": "packets whose sender is not reached by the interface that they came in by are dropped",
    "S15": "an address belongs to one endpoint, and only its interface leads to it",
    "S28": "the ruleset and the routes are ours alone, and as the datastore says",
}
"""By number, what is checked here; docs/security.md has all of them."""


class Finding(msgspec.Struct, frozen=True, order=True):
    """A property that does not hold: of what, what was seen, and what to do."""

    property: str
    object: str
    evidence: str
    fix: str
