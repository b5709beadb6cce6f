"""What of a request goes to Nova, and what of Nova's answer to the instance. Pure.

Of the instance's headers only those on a list go on. So it cannot say for itself who it is, in whatever spelling: a
server behind CGI or WSGI takes ``X_Instance_ID`` for ``X-Instance-ID``.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

from calico.errors import InvalidInput
from calico.orchestrators.openstack.compute.metadata.asker import Asker

__all__ = ["METHODS", "answer_headers", "request_headers", "signature", "target_path"]

METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"})

_GO_ON: Final = frozenset({
    "accept", "accept-charset", "accept-encoding", "accept-language", "cache-control", "content-encoding",
    "content-type", "if-match", "if-modified-since", "if-none-match", "if-unmodified-since", "range", "user-agent",
})  # fmt: skip
_OF_ONE_CONNECTION: Final = frozenset({
    "connection", "content-length", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer",
    "transfer-encoding", "upgrade",
})  # fmt: skip
_PATH_MAX: Final = 4096


def signature(secret: bytes, device_id: str) -> str:
    """By which Nova knows that it was us who said which instance asks (``metadata_proxy_shared_secret``)."""
    return hmac.new(secret, device_id.encode(), hashlib.sha256).hexdigest()


def request_headers(asker: Asker, secret: bytes, given: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """The headers that Nova gets."""
    return [
        *((name, value) for name, value in given if name.lower() in _GO_ON),
        ("X-Instance-ID", asker.device_id),
        ("X-Tenant-ID", asker.project_id),
        ("X-Forwarded-For", asker.address),
        ("X-Instance-ID-Signature", signature(secret, asker.device_id)),
    ]


def answer_headers(given: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """The headers that the instance gets: not those about our connection to Nova."""
    return [(name, value) for name, value in given if name.lower() not in _OF_ONE_CONNECTION]


def target_path(raw: str) -> str:
    """Path and query of a request's target. InvalidInput when it is neither a path nor a URL: no instance chooses whom
    we ask."""
    if not raw.startswith("/"):
        try:
            parts = urlsplit(raw)
        except ValueError:
            raise InvalidInput("the target of the request is no URL") from None
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise InvalidInput("the target of the request is no path")
        raw = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if len(raw) > _PATH_MAX or any(byte <= " " or byte >= "\x7f" for byte in raw):
        raise InvalidInput("the target of the request is no path")
    return raw.partition("#")[0]
