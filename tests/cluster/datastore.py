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
_MARK_UID = "2d3f8f3e-6c33-5a07-9a0e-0a7d6d1b8f11"


class Datastore:
    """``netns`` reaches etcd at ``endpoints``."""

    def __init__(self, netns: str, endpoints: Sequence[str]) -> None:
        self._command = ["nsenter", f"--net=/run/netns/{netns}", "etcdctl", "--endpoints", ",".join(endpoints)]

    def resources(self, plural: str) -> dict[str, dict[str, Any]]:
        """By the end of its key (``namespace/name`` or ``name``), each resource of a kind."""
        return self.under(f"{_RESOURCES}/{plural}/")

    def under(self, prefix: str) -> dict[str, Any]:
        """By key without the prefix, the JSON of each value."""
        pairs = self._etcdctl("get", "--prefix", prefix).get("kvs", ())
        return {_text(pair["key"]).removeprefix(prefix): json.loads(_text(pair["value"])) for pair in pairs}

    def forget(self, prefix: str) -> None:
        """Delete all keys of a prefix, as nobody of ours would."""
        self._etcdctl("del", "--prefix", prefix)

    def put(self, key: str, document: Any) -> None:
        """Write a key, as another writer would."""
        self._etcdctl("put", key, json.dumps(document))

    def mark(self) -> int:
        """The revision of a write that means nothing: who has applied it has applied all that was written before.

        The store's own revision also counts what agents do not follow.
        """
        metadata = {"name": "mark", "uid": _MARK_UID, "creationTimestamp": "2026-01-01T00:00:00Z"}
        document = {"kind": "GlobalNetworkSet", "apiVersion": "projectcalico.org/v3", "metadata": metadata, "spec": {}}
        written = self._etcdctl("put", f"{_RESOURCES}/globalnetworksets/mark", json.dumps(document))
        return int(written["header"]["revision"])

    def _etcdctl(self, *arguments: str) -> dict[str, Any]:
        done = subprocess.run(
            [*self._command, *arguments, "-w", "json"], capture_output=True, text=True, check=True,
            env={**os.environ, "ETCDCTL_API": "3"},
        )  # fmt: skip
        return dict(json.loads(done.stdout))


def _text(data: str) -> str:
    return base64.b64decode(data).decode()
