"""What etcd's gRPC errors mean to a caller: a table from (code, words) to our error classes."""

from __future__ import annotations

from typing import NamedTuple

import grpc

from calico.datastore.api import Compacted, FutureRevision
from calico.errors import CalicoError, InvalidInput, NotFound, Transient, Uncertain

__all__ = ["MUST_LOG_IN", "NO_LEADER", "error_of", "is_token_error", "was_not_sent"]

_C = grpc.StatusCode
NO_LEADER = "no leader"

# Words of answers that a fresh token cures (etcd v3rpc/rpctypes/error.go).
MUST_LOG_IN = (
    "invalid auth token",
    "user name is empty",
    "revision of auth store is old",
    "auth token is not provided",
)


class _Rule(NamedTuple):
    """The first rule whose code and words fit decides. ``hint`` says in a person's words what to do."""

    code: grpc.StatusCode
    words: str
    error: type[CalicoError]
    hint: str = ""


_RULES = (
    _Rule(_C.OUT_OF_RANGE, "compacted", Compacted),
    _Rule(_C.OUT_OF_RANGE, "future revision", FutureRevision),
    _Rule(_C.NOT_FOUND, "", NotFound),
    _Rule(_C.PERMISSION_DENIED, "", InvalidInput, "the etcd user lacks the right"),
    _Rule(_C.INVALID_ARGUMENT, "authentication failed", InvalidInput, "wrong etcd user name or password"),
    _Rule(_C.INVALID_ARGUMENT, "user name is empty", InvalidInput, "etcd wants a user name and password"),
    _Rule(_C.INVALID_ARGUMENT, "", InvalidInput),
    _Rule(_C.FAILED_PRECONDITION, "", InvalidInput),
    _Rule(_C.UNKNOWN, "no password user", InvalidInput, "this etcd user is known by its certificate only"),
    _Rule(_C.UNAUTHENTICATED, "", Transient, "etcd refused the token"),
    _Rule(_C.RESOURCE_EXHAUSTED, "database space exceeded", Transient, "compact, defragment, then disarm the alarm"),
    _Rule(_C.RESOURCE_EXHAUSTED, "larger than max", InvalidInput),
    _Rule(_C.UNIMPLEMENTED, "", InvalidInput, "this is not an etcd v3 server"),
    _Rule(_C.UNAVAILABLE, "unhealthy cluster", Transient, "members came or went seconds ago: try again"),
    _Rule(_C.UNAVAILABLE, "tsi_", Transient, "TLS failed: look at validity, CA and names of both certificates"),
    _Rule(_C.UNAVAILABLE, "handshake", Transient, "TLS failed: look at validity, CA and names of both certificates"),
    _Rule(_C.UNAVAILABLE, "certificate_verify_failed", Transient, "the server's certificate is not of our CA"),
)

# Words of refusals given before a request can have had an effect.
_NOT_SENT = (
    "failed to connect",
    NO_LEADER,
    "too many requests",
    "invalid auth token",
    "database space exceeded",
    "unhealthy cluster",
)
_NO_EFFECT_CODES = {
    _C.UNAUTHENTICATED,
    _C.PERMISSION_DENIED,
    _C.INVALID_ARGUMENT,
    _C.FAILED_PRECONDITION,
    _C.OUT_OF_RANGE,
    _C.NOT_FOUND,
}


def was_not_sent(code: grpc.StatusCode, details: str) -> bool:
    """True when the request certainly had no effect (never left, or refused at the door)."""
    lowered = details.lower()
    return code in _NO_EFFECT_CODES or any(words in lowered for words in _NOT_SENT)


def is_token_error(details: str) -> bool:
    """True when logging in again may help."""
    lowered = details.lower()
    return any(words in lowered for words in MUST_LOG_IN)


def error_of(endpoint: str, doing: str, code: grpc.StatusCode, details: str, *, writes: bool = False) -> CalicoError:
    """Our error for a failed call: names the endpoint, what was being done, what etcd said and what may help."""
    lowered = details.lower()
    said = details.removeprefix("etcdserver: ") or code.name
    for rule in _RULES:
        if rule.code is code and rule.words in lowered:
            hint = f" ({rule.hint})" if rule.hint else ""
            text = f"etcd at {endpoint}: {doing}: {said}{hint}"
            return InvalidInput(text) if rule.error is InvalidInput else rule.error(text)
    text = f"etcd at {endpoint}: {doing}: {code.name}: {said}"
    if writes and not was_not_sent(code, details):
        return Uncertain(f"{text} (the write may have happened)")
    return Transient(text)
