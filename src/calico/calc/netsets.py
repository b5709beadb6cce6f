"""NetworkSet and GlobalNetworkSet resources, checked and packed: labelled nets.

A malformed entry is left out and reported while the rest of the set stays in force: a list of denied networks must not
vanish because of one bad line.
"""

from __future__ import annotations

import msgspec

from calico.calc.endpoints import own_labels
from calico.calc.labels import Labels, pack_labels
from calico.lib import packed
from calico.model.effective import NAMESPACE_LABEL, SERVICE_ACCOUNT_LABEL
from calico.model.keys import ResourceKey
from calico.model.policy import GlobalNetworkSet, NetworkSet

__all__ = ["NetSet", "decode_netset"]


class NetSet(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A network set. ``profiles`` names the namespace's profile, whose labels it inherits, or is empty if global."""

    labels: Labels
    profiles: tuple[str, ...]
    nets: tuple[bytes, ...]


def decode_netset(key: ResourceKey, resource: NetworkSet | GlobalNetworkSet) -> tuple[NetSet, tuple[str, ...]]:
    """The set, and sentences on the entries left out of it."""
    nets: set[bytes] = set()
    problems: list[str] = []
    for position, text in enumerate(resource.spec.nets):
        try:
            nets.add(packed.net(text))
        except ValueError:
            problems.append(f"spec.nets[{position}]: {text!r} is no network")
    labels = own_labels(resource.metadata.labels)
    for forged in (NAMESPACE_LABEL, SERVICE_ACCOUNT_LABEL):  # a set runs as nobody
        labels.pop(forged, None)
    if key.namespace:
        labels[NAMESPACE_LABEL] = key.namespace
    profiles = (f"kns.{key.namespace}",) if key.namespace else ()
    return NetSet(labels=pack_labels(labels), profiles=profiles, nets=tuple(sorted(nets))), tuple(problems)
