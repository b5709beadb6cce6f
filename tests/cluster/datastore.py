"""Calico's own etcd of a cluster under test, read by etcd's own client: never through the code under test."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from collections.abc import Sequence
from typing import Any

__all__ = ["Datastore"]

_RESOURCES = "/calico/resources/v3/projectcalico.org"


class Datastore:
    """``netns`` reaches etcd at ``endpoints``."""

    def __init__(self, netns: str, endpoints: Sequence[str]) -> None:
        self._command = ["nsenter", f"--net=/run/netns/{netns}", "etcdctl", "--endpoints", ",".join(endpoints)]

    def resources(self, plural: str) -> tuple[dict[str, dict[str, Any]], int]:
        """By the end of its key (``namespace/name`` or ``name``), each resource of a kind; and the store's revision."""
        found, revision = self.under(f"{_RESOURCES}/{plural}/")
        return found, revision

    def under(self, prefix: str) -> tuple[dict[str, Any], int]:
        """By key without the prefix, the JSON of each value; and the store's revision."""
        done = subprocess.run(
            [*self._command, "get", "--prefix", prefix, "-w", "json"], capture_output=True, text=True, check=True,
            env={**os.environ, "ETCDCTL_API": "3"},
        )  # fmt: skip
        answer = json.loads(done.stdout)
        pairs = {_text(pair["key"]): json.loads(_text(pair["value"])) for pair in answer.get("kvs", ())}
        return {key.removeprefix(prefix): value for key, value in pairs.items()}, int(answer["header"]["revision"])


def _text(data: str) -> str:
    return base64.b64decode(data).decode()
