"""Desired documents against what is stored: what to create, update and delete, and why. Pure.

Neutron's side owns the spec of what it mirrors, and those labels and annotations whose prefixes are its own. Members
that no schema knows, and labels and annotations of others, are theirs: they make no difference and survive an update.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import msgspec
from msgspec.structs import replace

from calico.model.decoding import decode
from calico.model.encoding import encode, merge_unknown, to_stored
from calico.model.forwards import PORT_FORWARDS
from calico.model.keys import ResourceKey, parse_key
from calico.model.meta import Resource
from calico.orchestrators.openstack import naming, records
from calico.orchestrators.openstack.convert.documents import Document

__all__ = ["Change", "Difference", "compare", "compare_all", "to_store"]

EXTRAS = ("allowedIps",)
"""Members of an endpoint's spec that are Neutron's although no schema knows them."""

_OUR_ANNOTATIONS = (records.PREFIX, PORT_FORWARDS)
REVISION_FIELD = f"metadata.annotations[{records.REVISION}]"
_RECORD_REVISION = "neutron_revision"
_OUR_LABELS = (naming.GROUP_LABEL, naming.GROUP_NAME_LABEL, naming.ADDRESS_GROUP_LABEL, "projectcalico.org/")
Tree = dict[str, Any]
Verdict = Literal["create", "update", "delete", "unchanged", "newer"]


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One member that differs: its path, and both values as JSON has them (None: absent)."""

    field: str
    stored: Any = None
    desired: Any = None


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be done about one key. ``document`` is what to write (None for ``delete``).

    ``newer``: it differs, but was made of a later revision of the Neutron object than the desired document, which is
    therefore stale: read the database again. ``only_revision``: an update that changes nothing but that number.
    """

    path: str
    verdict: Verdict
    differences: tuple[Difference, ...] = ()
    document: Document | None = None

    @property
    def only_revision(self) -> bool:
        """Whether what is stored is right and merely does not know of which revision it is."""
        return bool(self.differences) and all(
            difference.field in (REVISION_FIELD, _RECORD_REVISION) for difference in self.differences
        )


def compare(document: Document, stored: bytes | None, *, keep_newer: bool = True) -> Change:
    """What is to be done to make ``stored`` (None: nothing is) say what ``document`` does.

    ``keep_newer=False`` makes the desired document win over later revisions, as after a restored database.
    """
    if stored is None:
        return Change(path=document.path, verdict="create", document=document)
    found = _differences(document, stored)
    if not found:
        return Change(path=document.path, verdict="unchanged", document=document)
    newer = keep_newer and bool(document.revision) and _stored_revision(document, stored) > document.revision
    return Change(
        path=document.path, verdict="newer" if newer else "update", differences=tuple(found), document=document
    )


def compare_all(
    desired: Iterable[Document], stored: Mapping[str, bytes], region: str = "", *, keep_newer: bool = True
) -> tuple[Change, ...]:
    """A change for each desired document, in their order, then deletions of what mirrors nothing desired.

    Only what ``naming.identify`` knows as a mirror of Neutron is ever deleted; ``stored`` may hold more than that.
    """
    changes = [compare(document, stored.get(document.path), keep_newer=keep_newer) for document in desired]
    wanted = {change.path for change in changes}
    for path in sorted(stored.keys() - wanted):
        if naming.identify(path, region) is not None:
            changes.append(Change(path=path, verdict="delete"))
    return tuple(changes)


def to_store(document: Document, stored: bytes | None, *, uid: str, created: str) -> bytes:
    """The bytes to write, keeping what is others' of ``stored``.

    ``uid`` and ``created`` (RFC 3339, UTC) are for a resource that has none yet.
    """
    if document.resource is None:
        return _record_to_store(document, stored)
    key = _key_of(document)
    before = decode(key, stored).resource if stored is not None else None
    metadata = document.resource.metadata
    old = before.metadata if before is not None else None
    resource = replace(
        document.resource,
        metadata=replace(
            metadata,
            uid=(old.uid if old else "") or uid,
            creation_timestamp=(old.creation_timestamp if old else None) or created,
            labels={**_others(old.labels if old else {}, _OUR_LABELS), **metadata.labels},
            annotations=_sorted({**_others(old.annotations if old else {}, _OUR_ANNOTATIONS), **metadata.annotations}),
            finalizers=old.finalizers if old else (),
            owner_references=old.owner_references if old else (),
        ),
    )
    raw = encode(resource)
    if stored is not None:
        raw = merge_unknown(stored, raw)
    tree: Tree = msgspec.json.decode(raw)
    spec = tree["spec"]
    for name in EXTRAS:
        spec.pop(name, None)
    spec.update(document.extra)
    return msgspec.json.encode(tree)


def _record_to_store(document: Document, stored: bytes | None) -> bytes:
    kept = _object(stored) if stored is not None else {}
    known = records.SubnetRecord.__struct_fields__
    return msgspec.json.encode({**document.tree(), **{name: kept[name] for name in kept if name not in known}})


def _differences(document: Document, stored: bytes) -> list[Difference]:
    if document.resource is None:
        known = records.SubnetRecord.__struct_fields__
        kept = {name: value for name, value in _object(stored).items() if name in known}
        return _members("", kept, document.tree())
    key = _key_of(document)
    found, wanted = decode(key, stored), decode(key, encode(document.resource))
    if found.resource is None or found.problems:
        said = "; ".join(found.problems) or "unreadable"
        return [Difference(field="", stored=said, desired="a document without faults")]
    assert wanted.resource is not None
    before, after = to_stored(found.resource)["spec"], to_stored(wanted.resource)["spec"]
    extras = _object(stored).get("spec")
    if isinstance(extras, dict):
        before.update({name: extras[name] for name in EXTRAS if name in extras})
    after.update(document.extra)
    old, new = found.resource.metadata, wanted.resource.metadata
    ours = _OUR_ANNOTATIONS
    return [
        *_members("metadata.labels", _ours(old.labels, _OUR_LABELS), _ours(new.labels, _OUR_LABELS)),
        *_members("metadata.annotations", _ours(old.annotations, ours), _ours(new.annotations, ours)),
        *_members("spec", before, after),
    ]


def _members(where: str, stored: Tree, desired: Tree) -> list[Difference]:
    found = []
    for name in sorted(stored.keys() | desired.keys()):
        before, after = stored.get(name), desired.get(name)
        if before != after:
            path = f"{where}.{name}" if where == "spec" else f"{where}[{name}]" if where else name
            found.append(Difference(field=path, stored=before, desired=after))
    return found


def _stored_revision(document: Document, stored: bytes) -> int:
    if document.resource is None:
        revision = _object(stored).get(_RECORD_REVISION)
        return revision if isinstance(revision, int) else 0
    resource: Resource | None = decode(_key_of(document), stored).resource
    return records.revision_of(resource.metadata.annotations) if resource is not None else 0


def _key_of(document: Document) -> ResourceKey:
    key = parse_key(document.path)
    assert key is not None, document.path
    return key


def _object(raw: bytes) -> Tree:
    """The JSON object, or an empty one when it is none."""
    try:
        tree: Tree = msgspec.json.decode(raw, type=dict[str, Any])
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return {}
    return tree


def _ours(members: Mapping[str, str], prefixes: tuple[str, ...]) -> Tree:
    return {name: value for name, value in members.items() if name.startswith(prefixes)}


def _others(members: Mapping[str, str], prefixes: tuple[str, ...]) -> dict[str, str]:
    return {name: value for name, value in members.items() if not name.startswith(prefixes)}


def _sorted(members: Mapping[str, str]) -> dict[str, str]:
    return dict(sorted(members.items()))
