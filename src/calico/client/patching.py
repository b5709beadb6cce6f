"""Patches of resources as plain data: JSON merge patch (RFC 7396), JSON patch (RFC 6902), strategic merge. Pure."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Literal, get_args

from calico.errors import InvalidInput

__all__ = ["PatchType", "apply_patch", "json_patch", "merge_patch", "strategic_patch"]

PatchType = Literal["strategic", "merge", "json"]

_DIRECTIVE = "$patch"


def apply_patch(document: Any, patch: Any, patch_type: PatchType) -> Any:
    """The patched document; neither argument is changed. InvalidInput says what of the patch has no meaning."""
    if patch_type not in get_args(PatchType):
        known = ", ".join(get_args(PatchType))
        raise InvalidInput(f"{patch_type!r} is no type of patch; known: {known}", field="patch_type")
    if patch_type == "json":
        return json_patch(document, patch)
    if not isinstance(patch, dict):
        raise InvalidInput(f"a {patch_type} patch is an object", field="patch")
    return strategic_patch(document, patch) if patch_type == "strategic" else merge_patch(document, patch)


def merge_patch(target: Any, patch: Any) -> Any:
    """RFC 7396: objects are merged, null removes a member, everything else (lists too) replaces."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged


def strategic_patch(target: Any, patch: Any) -> Any:
    """A merge patch with Kubernetes' directive ``$patch: replace|delete|merge`` in objects.

    Calico's lists have no merge keys, so a list replaces a list. Other directives are InvalidInput.
    """
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    unknown = sorted(name for name in patch if name.startswith("$") and name != _DIRECTIVE)
    if unknown:
        raise InvalidInput(f"the directive {unknown[0]} has no meaning: lists are replaced", field="patch")
    rest = {name: value for name, value in patch.items() if name != _DIRECTIVE}
    directive = patch.get(_DIRECTIVE, "merge")
    if directive == "delete":
        return None
    if directive == "replace":
        return copy.deepcopy(rest)
    if directive != "merge":
        raise InvalidInput(f"must be replace, delete or merge, not {directive!r}", field=f"patch.{_DIRECTIVE}")
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in rest.items():
        result = None if value is None else strategic_patch(merged.get(name), value)
        if result is None:
            merged.pop(name, None)
        else:
            merged[name] = result
    return merged


def json_patch(document: Any, patch: Any) -> Any:
    """RFC 6902: a list of operations, all or nothing."""
    from jsonpath import JSONPatch
    from jsonpath.exceptions import JSONPatchError, JSONPointerError

    if not isinstance(patch, Sequence) or isinstance(patch, str):
        raise InvalidInput("a json patch is a list of operations", field="patch")
    try:
        return JSONPatch(list(patch)).apply(copy.deepcopy(document))
    except (JSONPatchError, JSONPointerError, TypeError, KeyError, IndexError) as error:
        raise InvalidInput(f"cannot be applied: {error}", field="patch") from error
