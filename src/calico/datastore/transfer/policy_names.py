"""Policies whose key is of an older version, such as ``default.web`` for the policy ``web``, put under their own name.

Readers know such a policy by its name (data model, section 4), but whoever asks for the key of that name does not find
it. Each is moved by one compare-and-swap transaction, so that no reader ever sees none or both, and what broke off can
be repeated. Everything else in the value stays as it was, also what cannot be interpreted.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Literal

import msgspec

from calico.datastore.api import Backend, CompareFailed, KeyValue, Op
from calico.datastore.transfer.exporting import encoded, faithful
from calico.datastore.typed.older_names import POLICY_KINDS
from calico.errors import CalicoError, Conflict, InvalidInput, Uncertain
from calico.model.codec import decode
from calico.model.decoding import POLICY_NAME_ANNOTATION, TIER_LABEL
from calico.model.keys import key_path, kind_prefix, parse_key

__all__ = ["Move", "NamePlan", "migrate_policy_names", "plan_policy_names"]

_ATTEMPTS = 5
_OWN = frozenset({"uid", "creationTimestamp", "resourceVersion", "generation", "managedFields", "name"})


class Move(msgspec.Struct, frozen=True):
    """One policy. ``moved``: the new key is written and the old one goes. ``dropped``: the new key says the same
    already, and the old one goes. ``old`` and ``new`` are the entries as they are and as they will be."""

    what: Literal["moved", "dropped"]
    policy: str
    old: KeyValue
    new: KeyValue


class NamePlan(msgspec.Struct, frozen=True):
    """``moves`` in order, for one may make room for the next. ``left`` says why every other policy of an older name
    stays."""

    moves: tuple[Move, ...]
    left: tuple[str, ...] = ()


async def plan_policy_names(backend: Backend) -> NamePlan:
    """What must be moved, from one listing of each kind."""
    moves: list[Move] = []
    left: list[str] = []
    for kind in POLICY_KINDS:
        entries = {kv.key: kv for kv in (await backend.list(kind_prefix(kind))).items}
        for path, kv in sorted(entries.items(), key=lambda entry: (len(entry[0]), entry[0])):
            try:
                move = _move(kv, entries)
            except InvalidInput as error:
                left.append(str(error))
                continue
            if move is not None:
                moves.append(move)
                entries[move.new.key] = move.new
                del entries[path]
    return NamePlan(tuple(moves), tuple(left))


async def migrate_policy_names(backend: Backend, progress: Callable[[int], object] = lambda _: None) -> NamePlan:
    """Do it, and say what was done. What somebody changes meanwhile is looked at again; Conflict when that does not
    end. What was moved stays moved."""
    done: list[Move] = []
    for _ in range(_ATTEMPTS):
        plan = await plan_policy_names(backend)
        disturbed = False
        for move in plan.moves:
            try:
                await backend.txn(_ops(move))
            except CompareFailed:
                disturbed = True
                continue
            except Uncertain:
                if await backend.get(move.old.key) is not None:
                    disturbed = True
                    continue
            done.append(move)
            progress(len(done))
        if not disturbed:
            return NamePlan(tuple(done), plan.left)
    raise Conflict(f"{len(done)} policies are moved, others keep changing: do it again")


def _move(kv: KeyValue, entries: dict[str, KeyValue]) -> Move | None:
    """What becomes of an entry; None when its name is its key's. InvalidInput when that cannot be told or done."""
    key = parse_key(kv.key)
    if key is None:
        return None
    found = decode(key, kv.value, kv.mod_revision)
    if found.resource is None:
        if key.name.startswith("default."):
            raise InvalidInput("cannot be read, so its name is not known; delete or replace it", subject=kv.key)
        return None
    target = msgspec.structs.replace(key, name=found.resource.metadata.name)
    if target == key:
        return None
    try:
        path = key_path(target)
    except CalicoError as error:
        raise InvalidInput(f"has a name that is none: {error}", subject=kv.key) from None
    tree = faithful(kv.value)
    if not isinstance(tree, dict):
        raise InvalidInput("is JSON that cannot be written again as it is; replace it", subject=kv.key)
    other = entries.get(path)
    if other is None:
        new = KeyValue(path, encoded(_renamed(tree, target.name)), 0, 0, 0, kv.lease)
        return Move("moved", str(target), kv, new)
    if _meaning(faithful(other.value)) != _meaning(tree):
        raise InvalidInput(f"{target} is there as well and says something else; delete one of them", subject=kv.key)
    return Move("dropped", str(target), kv, other)


def _ops(move: Move) -> list[Op]:
    away = Op(move.old.key, expect=move.old.mod_revision)
    if move.what == "dropped":
        return [away, Op(move.new.key, expect=move.new.mod_revision, check_only=True)]
    return [Op(move.new.key, move.new.value, expect=0, lease=move.old.lease), away]


def _renamed(tree: dict[str, Any], name: str) -> dict[str, Any]:
    metadata = _mapping(tree.get("metadata"))
    tier = _mapping(tree.get("spec")).get("tier")
    annotation = json.dumps({"name": name}, separators=(",", ":"))
    named = {
        **metadata,
        "name": name,
        "labels": {TIER_LABEL: tier or "default", **_mapping(metadata.get("labels"))},
        "annotations": {**_mapping(metadata.get("annotations")), POLICY_NAME_ANNOTATION: annotation},
    }
    return {**tree, "metadata": named}


def _meaning(tree: object) -> dict[str, Any]:
    """Everything but identity and times, and what every writer adds."""
    whole = _mapping(tree)
    metadata = {key: value for key, value in _mapping(whole.get("metadata")).items() if key not in _OWN}
    for member, added in (("labels", TIER_LABEL), ("annotations", POLICY_NAME_ANNOTATION)):
        rest = {key: value for key, value in _mapping(metadata.pop(member, None)).items() if key != added}
        if rest:
            metadata[member] = rest
    spec = {**_mapping(whole.get("spec"))}
    spec["tier"] = spec.get("tier") or "default"
    return {**whole, "metadata": metadata, "spec": spec}


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
