"""Limits of a transaction, checked before it is sent, alike for every backend."""

from __future__ import annotations

from collections.abc import Sequence

from calico.datastore.api import CompareFailed, KeyValue, Op
from calico.errors import InvalidInput

__all__ = ["MAX_OPS", "MAX_REQUEST_BYTES", "check_ops", "compare_failed"]

MAX_OPS = 128  # etcd's --max-txn-ops, for compares and for writes each
MAX_REQUEST_BYTES = 1_572_000  # just below etcd's --max-request-bytes of 1.5 MiB


def check_ops(ops: Sequence[Op]) -> None:
    """InvalidInput when etcd would refuse the transaction whatever the state of the store."""
    if len(ops) > MAX_OPS:
        raise InvalidInput(f"{len(ops)} operations in one transaction, at most {MAX_OPS} are possible")
    seen: set[str] = set()
    size = 0
    for op in ops:
        if not op.key:
            raise InvalidInput("an empty key")
        if op.key in seen:
            raise InvalidInput("the key appears twice in one transaction", subject=op.key)
        seen.add(op.key)
        size += len(op.key) + len(op.value or b"")
    if size > MAX_REQUEST_BYTES:
        biggest = max(ops, key=lambda op: len(op.value or b""))
        message = f"a transaction of {size} bytes is too large, at most {MAX_REQUEST_BYTES} are possible"
        raise InvalidInput(message, subject=biggest.key)


def compare_failed(ops: Sequence[Op], current: dict[str, KeyValue | None]) -> CompareFailed:
    """The error for a transaction whose expectations did not hold, naming each key that differs and how."""
    wrong = []
    for op in ops:
        kv = current.get(op.key)
        found = kv.mod_revision if kv else 0
        if op.expect is not None and found != op.expect:
            wrong.append(f"{op.key} is {_state(found)}, expected {_state(op.expect)}")
    return CompareFailed("; ".join(wrong) or "the store changed meanwhile", current)


def _state(revision: int) -> str:
    return f"at revision {revision}" if revision else "absent"
