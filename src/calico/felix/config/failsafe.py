"""Failsafe ports as operators write them: a string (environment), or objects (FelixConfiguration). Pure."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from calico.lib.packed import is_v6, net, net_str
from calico.model.felixconfig import ProtoPort
from calico.rules.config import FailsafePort
from calico.rules.packets import SCTP, TCP, UDP

__all__ = ["failsafe_ports", "failsafe_text"]

_PROTOCOLS = {"tcp": TCP, "udp": UDP, "sctp": SCTP}
_NAMES = {number: name for name, number in _PROTOCOLS.items()}
_ENTRY = re.compile(r"(?:(?P<protocol>[A-Za-z]+):(?:(?P<net>[0-9./]+|\[[0-9A-Fa-f:./]+\]):)?)?(?P<port>[0-9]{1,5})")


def failsafe_ports(value: Any) -> tuple[FailsafePort, ...]:
    """The ports of ``tcp:22,udp:10.0.0.0/8:68,tcp:[fd00::/8]:22``, of ``none``, or of {protocol, port, net} objects; a
    port alone is TCP. ValueError names the entry that is none."""
    if isinstance(value, str):
        entries = [entry.strip() for entry in value.split(",")]
        found = [] if value.strip().lower() == "none" else [_of_text(entry) for entry in entries if entry]
    else:
        found = [_of_object(entry) for entry in msgspec.convert(value, list[Any])]
    return tuple(dict.fromkeys(found))


def failsafe_text(ports: tuple[FailsafePort, ...]) -> str:
    """The string that ``failsafe_ports`` reads as these."""
    return ",".join(map(_entry_text, ports)) or "none"


def _entry_text(entry: FailsafePort) -> str:
    where = ""
    if entry.net is not None:
        where = f"[{net_str(entry.net)}]:" if is_v6(entry.net) else f"{net_str(entry.net)}:"
    return f"{_NAMES[entry.protocol]}:{where}{entry.port}"


def _of_text(text: str) -> FailsafePort:
    match = _ENTRY.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not <protocol>:<port> nor <protocol>:<CIDR>:<port>")
    cidr = match["net"] or ""
    found = _port(text, match["protocol"] or "tcp", int(match["port"]), cidr.strip("[]"))
    if found.net is not None and is_v6(found.net) != cidr.startswith("["):
        raise ValueError(f"{text!r}: an IPv6 CIDR, and no other, stands in square brackets")
    return found


def _of_object(entry: Any) -> FailsafePort:
    found = msgspec.convert(entry, ProtoPort)
    return _port(str(entry), found.protocol, found.port, found.net)


def _port(text: str, protocol: str, number: int, cidr: str) -> FailsafePort:
    if protocol.lower() not in _PROTOCOLS:
        raise ValueError(f"{text}: the protocol must be one of {', '.join(_PROTOCOLS)}")
    if not 0 <= number <= 65535:
        raise ValueError(f"{text}: the port must be between 0 and 65535")
    return FailsafePort(_PROTOCOLS[protocol.lower()], number, net(cidr) if cidr else None)
