"""Why a session is down, in words that name what is to be done: from what BIRD says of it and what the kernel counts.

BIRD keeps the last error of a session, and is silent about segments that nobody answers or that the kernel drops. Pure.
"""

from __future__ import annotations

import re
from typing import Literal

import msgspec

from calico.bgp.bird.control import Session

__all__ = ["Fault", "FaultKind", "fault_of"]

FaultKind = Literal[
    "refused",
    "no-route",
    "silent",
    "password",
    "as",
    "ttl",
    "identifier",
    "listen",
    "closed",
    "hold-time",
    "bfd",
    "limit",
    "passive",
    "disabled",
    "other",
]


class Fault(msgspec.Struct, frozen=True):
    """A reason by its kind, and a sentence about it."""

    kind: FaultKind
    text: str


_SIGNS: tuple[tuple[str, FaultKind, str], ...] = (
    (r"No listening socket", "listen", "BIRD cannot listen here: somebody else has the port"),
    (
        r"Socket: Connection refused",
        "refused",
        "{peer} refuses: no BIRD runs there, or none that knows this host",
    ),
    (
        r"Socket: No route to host",
        "no-route",
        "there is no way to {peer}: nobody on the link answers for it",
    ),
    (r"Socket: Network is unreachable", "no-route", "there is no way to {peer}: this host has no route to it"),
    (r"Socket: .*not permitted", "silent", "this host may not send to {peer}: its own packet filter drops it"),
    (r"Socket: Connection timed out", "silent", "{peer} does not answer: a packet filter, or another password there"),
    (r"Received: Bad peer AS", "as", "{peer} expects another AS number here than {local_as}"),
    (r"Bad peer AS", "as", "{peer} has another AS number than {remote_as}"),
    (r"Bad BGP identifier", "identifier", "{peer} and this host have the same router id"),
    (r"Hold timer expired", "hold-time", "messages stopped: nothing came for the hold time"),
    (r"BFD session down", "bfd", "BFD has no answer from {peer}"),
    (r"limit (?:exceeded|hit)|Maximum number of prefixes", "limit", "more routes came than are allowed"),
    (r"Received: (?:Administrative (?:shutdown|reset)|Peer de-configured|Cease)", "closed", "{peer} has closed it"),
    (r"Received: Connection (?:rejected|collision)", "closed", "{peer} has turned the connection down"),
    (r"Link down|Neighbor lost|No (?:interface|neighbor)", "no-route", "the link to {peer} is down or gone"),
)
_COMPILED = tuple((re.compile(pattern), kind, text) for pattern, kind, text in _SIGNS)
_HALF_OPEN = ("OpenSent", "OpenConfirm")


def fault_of(session: Session, *, suspicion: Fault | None = None, stuck: bool = False) -> Fault | None:
    """Why the session is down; None when it is up, or only just coming up.

    ``suspicion`` is what the kernel's counters say. ``stuck``: it has been trying for seconds, so that an older error
    than the present silence no longer counts.
    """
    if session.established:
        return None
    peer = session.peer_ip or "the far end"
    if suspicion is not None:
        return suspicion
    if stuck and session.state in _HALF_OPEN:
        text = f"{peer} accepts, but messages do not arrive: TTL security or a packet filter at one of the ends"
        return Fault("ttl", text)
    found = _by_words(session, peer)
    if found is not None and not (stuck and found.kind == "refused") and not _is_old(session, found):
        return found
    if stuck and session.state == "Connect":
        text = f"{peer} neither accepts nor refuses: a packet filter, or another password or TTL security there"
        return Fault("silent", text)
    if session.state == "Passive":
        return Fault("passive", f"this end waits for {peer} to open it")
    if found is None and session.state == "Down":
        return Fault("disabled", "it is disabled")
    return found


def _is_old(session: Session, found: Fault) -> bool:
    """How a connection ended says nothing while this end only waits for the next."""
    return session.state == "Passive" and found.kind == "other"


def _by_words(session: Session, peer: str) -> Fault | None:
    if not session.info:
        return None
    for pattern, kind, text in _COMPILED:
        if pattern.search(session.info):
            return Fault(kind, text.format(peer=peer, local_as=session.local_as, remote_as=session.remote_as))
    return Fault("other", session.info)
