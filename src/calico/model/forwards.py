"""Forwarded ports of a WorkloadEndpoint: one port of an external address to one of the endpoint's own (decision 14).

Calico has no field for them: ``ipNATs`` translate whole addresses. They are an annotation, which Calico's tools keep.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

__all__ = ["MAX_FORWARDS", "PORT_FORWARDS", "PortForward", "annotated_forwards", "forwards_text"]

PORT_FORWARDS: Final = "nat.calico-network/port-forwards"
"""JSON list of ``PortForward``."""

MAX_FORWARDS: Final = 1024
"""As many count; an endpoint that has more is told so."""


class PortForward(msgspec.Struct, frozen=True, kw_only=True, order=True, rename="camel", forbid_unknown_fields=True):
    """``protocol`` is ``tcp``, ``udp`` or ``sctp``; both addresses are of one family; ports are 1 to 65535."""

    protocol: str
    external_ip: str = msgspec.field(name="externalIP")
    external_port: int
    internal_ip: str = msgspec.field(name="internalIP")
    internal_port: int


def annotated_forwards(annotations: Mapping[str, str]) -> tuple[tuple[PortForward, ...], tuple[str, ...]]:
    """What the annotation says, and a sentence when it cannot be read (then nothing is forwarded)."""
    text = annotations.get(PORT_FORWARDS)
    if text is None:
        return (), ()
    where = f"metadata.annotations[{PORT_FORWARDS}]"
    try:
        found = msgspec.json.decode(text.encode(errors="replace"), type=tuple[PortForward, ...])
    except (msgspec.MsgspecError, ValueError) as error:
        return (), (f"{where}: {error}; nothing is forwarded",)
    if len(found) > MAX_FORWARDS:
        return found[:MAX_FORWARDS], (f"{where}: {len(found)} ports; only the first {MAX_FORWARDS} are forwarded",)
    return found, ()


def forwards_text(forwards: Iterable[PortForward]) -> str:
    """The annotation's value, the same for the same forwards in any order."""
    return msgspec.json.encode(sorted(forwards)).decode()
