"""Counters of the kernel for TCP segments whose MD5 signature is not the one agreed on (RFC 2385). Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from calico.bgp.bird.control import Session
from calico.bgp.planning.birdplan import PeerPlan

__all__ = ["Signatures", "parse_netstat", "suspects"]


class Signatures(msgspec.Struct, frozen=True):
    """Segments so far, in this network namespace, that were dropped: signed with another password, not signed though a
    password is set, and signed though none is set."""

    wrong: int = 0
    missing: int = 0
    unexpected: int = 0

    def since(self, before: Signatures) -> Signatures:
        """How many came since then; after a restart of the counters, none."""
        return Signatures(
            max(0, self.wrong - before.wrong),
            max(0, self.missing - before.missing),
            max(0, self.unexpected - before.unexpected),
        )


def parse_netstat(text: str) -> Signatures:
    """From /proc/net/netstat: a line of names and a line of numbers per group. What is not there is 0."""
    lines = text.splitlines()
    found: dict[str, int] = {}
    for names, numbers in zip(lines[::2], lines[1::2], strict=False):
        if names.startswith("TcpExt:"):
            values = [int(word) if word.isdigit() else 0 for word in numbers.split()[1:]]
            found = dict(zip(names.split()[1:], values, strict=False))
    return Signatures(found.get("TCPMD5Failure", 0), found.get("TCPMD5NotFound", 0), found.get("TCPMD5Unexpected", 0))


def suspects(new: Signatures, peers: Iterable[PeerPlan], sessions: Mapping[str, Session]) -> dict[str, str]:
    """The sessions that are down and can be why such segments came, with what that says. The kernel does not tell whose
    they were."""
    found = {}
    for peer in peers:
        running = sessions.get(peer.name)
        if running is not None and running.established:
            continue
        if peer.password is None:
            if new.unexpected:
                found[peer.name] = "a signed TCP segment came: the other end has a password, this one has none"
        elif new.wrong:
            found[peer.name] = "a TCP segment with a wrong MD5 signature came: the other end has another password"
        elif new.missing:
            found[peer.name] = "a TCP segment without MD5 signature came: the other end has no password"
    return found
