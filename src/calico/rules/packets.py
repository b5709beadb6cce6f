"""Packets to be judged: flows as values, and their bytes from the network header on.

Checksums and lengths that no rule looks at are zero: these packets are judged, not sent.
"""

from __future__ import annotations

import msgspec

__all__ = ["ICMP", "ICMPV6", "SCTP", "TCP", "UDP", "Flow"]

ICMP, TCP, UDP, ICMPV6, SCTP = 1, 6, 17, 58, 132
_FRAGMENT_HEADER = 44


class Flow(msgspec.Struct, frozen=True, kw_only=True):
    """One packet. Addresses are packed and of one family; ports count for TCP, UDP and SCTP, ``icmp`` (type, code)
    for ICMP and ICMPv6. ``fragment``: a later fragment, without a transport header. ``options`` are IPv4 options
    (a multiple of 4 bytes); ``extensions`` are IPv6 extension headers, as (type, body after the next-header byte).
    """

    src: bytes
    dst: bytes
    protocol: int = TCP
    sport: int = 40000
    dport: int = 80
    icmp: tuple[int, int] = (8, 0)
    fragment: bool = False
    hop_limit: int = 64
    options: bytes = b""
    extensions: tuple[tuple[int, bytes], ...] = ()

    @property
    def version(self) -> int:
        """4 or 6."""
        return 6 if len(self.src) == 16 else 4

    def data(self) -> bytes:
        """The packet's bytes."""
        return self._v6() if self.version == 6 else self._v4()

    def _v4(self) -> bytes:
        body = self._body()
        words = 5 + len(self.options) // 4
        length = (words * 4 + len(body)).to_bytes(2, "big")
        offset = b"\0\x64" if self.fragment else b"\0\0"
        start = bytes((0x40 | words, 0)) + length + bytes(2) + offset
        return start + bytes((self.hop_limit, self.protocol)) + b"\0\0" + self.src + self.dst + self.options + body

    def _v6(self) -> bytes:
        extensions = list(self.extensions)
        if self.fragment:
            extensions.append((_FRAGMENT_HEADER, b"\0\x03\x20" + bytes(4)))
        following = [kind for kind, _ in extensions] + [self.protocol]
        headers = b"".join(bytes((n,)) + body for n, (_, body) in zip(following[1:], extensions, strict=True))
        payload = headers + self._body()
        start = b"\x60\0\0\0" + len(payload).to_bytes(2, "big") + bytes((following[0], self.hop_limit))
        return start + self.src + self.dst + payload

    def _body(self) -> bytes:
        ports = self.sport.to_bytes(2, "big") + self.dport.to_bytes(2, "big")
        if self.fragment:
            return bytes(16)
        if self.protocol == TCP:
            return ports + bytes(8) + b"\x50\x02" + bytes(6)
        if self.protocol == UDP:
            return ports + b"\0\x08\0\0"
        if self.protocol == SCTP:
            return ports + bytes(8)
        if self.protocol in (ICMP, ICMPV6):
            return bytes(self.icmp) + bytes(6)
        return bytes(16)
