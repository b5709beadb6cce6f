"""May a view replace the one we have? The rules that keep an emptied, restored or foreign store from deleting all.

Pure: from what was known and what was found to a reason for holding, or none.
"""

from __future__ import annotations

import msgspec

from calico.datastore.sync.lineage import Lineage

__all__ = ["CLUSTER_INFO_KEY", "ClusterFacts", "cluster_facts", "doubt", "is_mass_loss", "not_ready"]

CLUSTER_INFO_KEY = "/calico/resources/v3/projectcalico.org/clusterinformations/default"

_MAX_VANISHING_KEYS = 10
_MAX_VANISHING_SHARE = 0.2
_REMEDY = (
    "The last good view is kept. Bring the right store back and this goes on by itself; "
    "or, if this store is right, accept it: calico datastore accept"
)


class ClusterFacts(msgspec.Struct, frozen=True):
    """What ClusterInformation/default says; an unreadable value counts as present and not ready."""

    guid: str = ""
    ready: bool = False


class _Spec(msgspec.Struct):
    cluster_guid: str = msgspec.field(default="", name="clusterGUID")
    datastore_ready: bool | None = msgspec.field(default=None, name="datastoreReady")


class _ClusterInformation(msgspec.Struct):
    spec: _Spec = msgspec.field(default_factory=_Spec)


def cluster_facts(value: bytes) -> ClusterFacts:
    """The facts in the stored JSON."""
    try:
        spec = msgspec.json.decode(value, type=_ClusterInformation).spec
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ClusterFacts()
    return ClusterFacts(spec.cluster_guid, spec.datastore_ready is True)


def not_ready(found: ClusterFacts | None) -> str:
    """Why the datastore must not be used yet, or empty."""
    if found is None:
        return "ClusterInformation/default is absent: the datastore has not been initialised"
    if not found.ready:
        return "ClusterInformation/default says spec.datastoreReady is not true: the datastore is locked"
    return ""


def is_mass_loss(known_keys: int, vanishing_keys: int) -> bool:
    """Whether so much vanishes that it needs a second look."""
    return vanishing_keys > max(_MAX_VANISHING_KEYS, _MAX_VANISHING_SHARE * known_keys)


def doubt(
    known: ClusterFacts | None,
    found: ClusterFacts | None,
    lineage: Lineage,
    lineage_reason: str,
    known_keys: int,
    vanishing_keys: int,
) -> str:
    """Why the found view must not replace the known one (with what to do about it), or empty."""
    loss = f"{vanishing_keys} of {known_keys} known keys would vanish"
    if known is not None and found is None:
        return f"ClusterInformation/default is gone from the datastore; {loss}. {_REMEDY}"
    if known is not None and found is not None and known.guid and found.guid != known.guid:
        other = found.guid or "empty"
        return f"the datastore's clusterGUID is {other} and was {known.guid}; {loss}. {_REMEDY}"
    if lineage is Lineage.BROKEN and is_mass_loss(known_keys, vanishing_keys):
        return f"the datastore is not the one that was known: {lineage_reason}; {loss}. {_REMEDY}"
    return ""
