"""The accounts and their rights, as the file beside this one has them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

__all__ = ["RBAC_FILE", "roles"]

RBAC_FILE = Path(__file__).with_name("rbac.yaml")


def roles(namespace: str) -> list[dict[str, Any]]:
    """ServiceAccounts, roles and bindings, for accounts in a namespace."""
    found: list[dict[str, Any]] = list(yaml.safe_load_all(RBAC_FILE.read_text()))
    for document in found:
        if "namespace" in document["metadata"]:
            document["metadata"]["namespace"] = namespace
        for subject in document.get("subjects", ()):
            subject["namespace"] = namespace
    return found
