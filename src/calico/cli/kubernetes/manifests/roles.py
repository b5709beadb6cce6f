"""The accounts and their rights, as packaging/kubernetes/rbac.yaml has them; a wheel has it beside this file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from calico.errors import InvalidInput

__all__ = ["rbac_file", "roles"]

_BESIDE = Path(__file__).with_name("rbac.yaml")
_CHECKOUT = Path(__file__).parents[5] / "packaging/kubernetes/rbac.yaml"


def rbac_file() -> Path:
    """Where the file is: in a wheel, or in a checkout."""
    for path in (_BESIDE, _CHECKOUT):
        if path.exists():
            return path
    raise InvalidInput("is missing from this installation", subject=str(_BESIDE))


def roles(namespace: str) -> list[dict[str, Any]]:
    """ServiceAccounts, roles and bindings, for accounts in a namespace."""
    found: list[dict[str, Any]] = list(yaml.safe_load_all(rbac_file().read_text()))
    for document in found:
        if "namespace" in document["metadata"]:
            document["metadata"]["namespace"] = namespace
        for subject in document.get("subjects", ()):
            subject["namespace"] = namespace
    return found
