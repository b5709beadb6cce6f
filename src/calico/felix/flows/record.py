"""A record of flow logs as it is written: one JSON line. Pure."""

from __future__ import annotations

from typing import Literal

import msgspec

from calico.rules.packets import ICMP, ICMPV6, SCTP, TCP, UDP

__all__ = ["Decided", "End", "FlowRecord", "State", "decode_record", "encode_record", "protocol_name"]

State = Literal["new", "changed", "update", "end", "forgotten"]
"""``new``: the first packet; ``changed``: a later first packet was decided otherwise; ``update``: a denied flow was
tried again; ``end``: the connection ended; ``forgotten``: there was no room to follow it further."""

_PROTOCOLS = {ICMP: "icmp", TCP: "tcp", UDP: "udp", ICMPV6: "icmpv6", SCTP: "sctp"}


class End(msgspec.Struct, frozen=True, omit_defaults=True):
    """One end of a flow. ``kind`` and ``name`` of the endpoint, host endpoint or Node that has the address, if the
    datastore knows one; ``namespace`` of a workload; its ``labels``."""

    ip: str
    port: int = 0
    kind: str = ""
    namespace: str = ""
    name: str = ""
    labels: dict[str, str] = {}


class Decided(msgspec.Struct, frozen=True, omit_defaults=True):
    """One decision, by a ``rule`` (from 0) of a policy or profile, or by the end of a tier or of all (no ``kind``).
    ``reason`` of a denial as ``calico node drops`` has it."""

    verdict: Literal["allow", "deny"]
    direction: Literal["ingress", "egress"]
    reason: str = ""
    tier: str = ""
    kind: str = ""
    namespace: str = ""
    policy: str = ""
    rule: int | None = None


class FlowRecord(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What is known of a flow at a moment. Ends are as policy saw them: destinations translated, sources not yet.

    ``attempts``: first packets, so far. ``packets`` and ``bytes`` are those of the connection in its original
    direction and in the other, at its end, where the kernel counts them. Times are RFC 3339, UTC.
    """

    time: str
    node: str
    state: State
    verdict: Literal["allow", "deny"]
    protocol: str
    src: End
    dst: End
    start: str
    decisions: tuple[Decided, ...]
    attempts: int
    duration_s: float
    packets: tuple[int, int] | None = None
    bytes: tuple[int, int] | None = None


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(FlowRecord)


def encode_record(record: FlowRecord) -> bytes:
    """One line, without its end."""
    return _encoder.encode(record)


def decode_record(line: bytes) -> FlowRecord | None:
    """A record from its line; None: the line is cut or is none."""
    try:
        return _decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def protocol_name(number: int) -> str:
    """The usual name, or the number."""
    return _PROTOCOLS.get(number, str(number))
