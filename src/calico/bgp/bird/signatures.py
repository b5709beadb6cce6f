"""Counters of the kernel for TCP segments that it drops in silence: their MD5 signature is not the one agreed on
(RFC 2385), or they come from farther than is allowed (RFC 5082). Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from calico.bgp.bird.control import Session
from calico.bgp.bird.faults import Fault
from calico.bgp.planning.birdplan import PeerPlan

__all__ = ["Signatures", "parse_netstat", "suspects"]


class Signatures(msgspec.Struct, frozen=True):
    """Segments so far, in this network namespace, that were dropped: signed with another password, not signed though a
    password is set, signed though none is set, and with a TTL below the minimum."""

    wrong: int = 0
    missing: int = 0
    unexpected: int = 0
    distant: int = 0

    def since(self, before: Signatures) -> Signatures:
        """How many came since then; after a restart of the counters, none."""
        return Signatures(
            max(0, self.wrong - before.wrong),
            max(0, self.missing - before.missing),
            max(0, self.unexpected - before.unexpected),
            max(0, self.distant - before.distant),
        )


def parse_netstat(text: str) -> Signatures:
    """From /proc/net/netstat: a line of names and a line of numbers per group. What is not there is 0."""
    lines = text.splitlines()
    found: dict[str, int] = {}
    for names, numbers in zip(lines[::2], lines[1::2], strict=False):
        if names.startswith("TcpExt:"):
            values = [int(word) if word.isdigit() else 0 for word in numbers.split()[1:]]
            found = dict(zip(names.split()[1:], values, strict=False))
    wanted = ("TCPMD5Failure", "TCPMD5NotFound", "TCPMD5Unexpected", "TCPMinTTLDrop")
    return Signatures(*(found.get(name, 0) for name in wanted))


def suspects(new: Signatures, peers: Iterable[PeerPlan], sessions: Mapping[str, Session]) -> dict[str, Fault]:
    """The sessions that are down and can be why such segments came, with what that says. The kernel does not tell whose
    they were."""
    found = {}
    for peer in peers:
        running = sessions.get(peer.name)
        if running is not None and running.established:
            continue
        fault = _signed(new, peer) or _distant(new, peer)
        if fault is not None:
            found[peer.name] = fault
    return found


def _signed(new: Signatures, peer: PeerPlan) -> Fault | None:
    if peer.password is None:
        text = "a signed TCP segment came: the other end has a password, this one has none"
        return Fault("password", text) if new.unexpected else None
    if new.wrong:
        return Fault("password", "a TCP segment with a wrong MD5 signature came: the other end has another password")
    if new.missing:
        return Fault("password", "a TCP segment without MD5 signature came: the other end has no password")
    return None


def _distant(new: Signatures, peer: PeerPlan) -> Fault | None:
    if not new.distant or peer.ttl_security_hops is None:
        return None
    hops = peer.ttl_security_hops
    return Fault("ttl", f"a TCP segment came from more than {hops} hops away, or the other end has no TTL security")
