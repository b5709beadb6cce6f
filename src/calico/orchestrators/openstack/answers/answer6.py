"""What to answer to a DHCPv6 message (RFC 8415 section 18.3), as a function of the message and the lease of the port.

| message | answer |
|---|---|
| SOLICIT | ADVERTISE; REPLY with rapid commit |
| REQUEST, RENEW (to us), REBIND | REPLY with the port's addresses; others that the client names get no lifetime |
| CONFIRM | REPLY: success, or not on link when an address is not the port's |
| RELEASE, DECLINE (to us) | REPLY, and nothing changes |
| INFORMATION-REQUEST | REPLY with everything but addresses |
| a message of relays | none |

The client is known by its MAC. Only addresses of subnets with stateful DHCPv6 are given; no prefixes, no temporary
addresses. All of them go to the first association that asks, for a port has one interface.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from calico.orchestrators.openstack.answers.dhcp6 import (
    IA_ADDRESS,
    IA_ADDRESSES,
    IA_NA,
    IA_PD,
    IA_TA,
    Message6,
    encode6,
    encode_options,
    ia_addresses,
    parse6,
)
from calico.orchestrators.openstack.answers.frames import Request, udp6_frame
from calico.orchestrators.openstack.answers.lease import Lease, server_mac
from calico.orchestrators.openstack.answers.names import domain_bytes, domains_bytes
from calico.orchestrators.openstack.answers.outcome import Outcome

__all__ = ["answer6", "server_duid"]

SOLICIT, ADVERTISE, REQUEST, CONFIRM, RENEW, REBIND, REPLY, RELEASE, DECLINE = range(1, 10)
INFORMATION_REQUEST: Final = 11

_CLIENT_ID, _SERVER_ID, _WANTED, _STATUS, _RAPID_COMMIT, _DNS, _SEARCH = 1, 2, 6, 13, 14, 23, 24
_REFRESH, _FQDN = 32, 39
_SUCCESS, _NO_ADDRESSES, _NO_BINDING, _NOT_ON_LINK, _USE_MULTICAST, _NO_PREFIX = 0, 2, 3, 4, 5, 6

_LINK_LOCAL: Final = b"\xfe\x80" + b"\0" * 6
_SERVERS: Final = bytes.fromhex("ff020000000000000000000000010002")
_NAMES: Final = {
    SOLICIT: "solicit", REQUEST: "request", CONFIRM: "confirm", RENEW: "renew", REBIND: "rebind", RELEASE: "release",
    DECLINE: "decline", INFORMATION_REQUEST: "information-request",
}  # fmt: skip
_TO_ONE: Final = (REQUEST, RENEW, RELEASE, DECLINE)
_DUID_MAX: Final = 130


def server_duid(lease: Lease) -> bytes:
    """Who we say that we are: a DUID of a link-layer address (RFC 8415 section 11.4), the same on every host."""
    return b"\0\3\0\1" + server_mac(lease.mac)


def answer6(lease: Lease, mac: bytes, link_local: bytes, request: Request) -> Outcome:
    """The answer to a UDP datagram to port 547, from the interface's MAC and link-local address (packed)."""
    message = parse6(request.payload)
    if message is None:
        return Outcome("dhcp6", "malformed")
    if message.kind in (12, 13):
        return Outcome("dhcp6", "relayed")
    asked = _NAMES.get(message.kind)
    if asked is None:
        return Outcome("dhcp6", "malformed")
    if request.src_mac != lease.mac:
        return Outcome("dhcp6", "foreign-mac")
    if not lease.v6:
        return Outcome("dhcp6", "no-address")
    if fault := _fault(message, request, server_duid(lease)):
        return Outcome("dhcp6", asked if fault == _OTHER else "malformed", detail=fault)
    kind, options = _reply(message, request, lease)
    if not kind:
        return Outcome("dhcp6", asked)
    head = [(code, value) for code, value in message.options if code == _CLIENT_ID][:1]
    payload = encode6(kind, message.transaction, [*head, (_SERVER_ID, server_duid(lease)), *options])
    frame = udp6_frame(mac, lease.mac, link_local, request.src, payload)
    return Outcome("dhcp6", asked, answer="advertise" if kind == ADVERTISE else "reply", frame=frame)


_OTHER: Final = "the instance chose another server"


def _fault(message: Message6, request: Request, duid: bytes) -> str:
    """RFC 8415 section 16: what makes a message one to be ignored."""
    kind, client, server = message.kind, message.first(_CLIENT_ID), message.first(_SERVER_ID)
    if not request.src.startswith(_LINK_LOCAL):
        return "not from a link-local address"
    if client is None and kind != INFORMATION_REQUEST:
        return "no client identifier"
    if client is not None and not 3 <= len(client) <= _DUID_MAX:
        return "no client identifier that can be one"
    if kind in (SOLICIT, CONFIRM, REBIND) and server is not None:
        return "a server identifier where none may be"
    if kind in _TO_ONE and server is None:
        return "no server identifier"
    if server is not None and server != duid:
        return _OTHER
    codes = {code for code, _ in message.options}
    if kind == INFORMATION_REQUEST and codes & {IA_NA, IA_TA, IA_PD}:
        return "asks for information and for addresses"
    if any(ia_addresses(code, value) is None for code, value in message.options if code in IA_ADDRESSES):
        return "an association of addresses is cut off"
    if any(len(value) < 12 for value in message.all(IA_PD)):
        return "an association of prefixes is cut off"
    return ""


def _reply(message: Message6, request: Request, lease: Lease) -> tuple[int, list[tuple[int, bytes]]]:
    """The type of the answer (0: none) and its options after the identifiers."""
    kind = message.kind
    if kind in _TO_ONE and request.dst != _SERVERS:
        return REPLY, [(_STATUS, _status(_USE_MULTICAST))]
    if kind == CONFIRM:
        return _confirm(message, lease)
    if kind in (RELEASE, DECLINE):
        return REPLY, [(_STATUS, _status(_SUCCESS))]
    if kind == INFORMATION_REQUEST:
        return REPLY, [*_configuration(message, lease), (_REFRESH, lease.lease_s.to_bytes(4, "big"))]
    options = [*_associations(message, lease), *_configuration(message, lease)]
    if kind != SOLICIT:
        return REPLY, options
    if message.first(_RAPID_COMMIT) is not None:
        return REPLY, [(_RAPID_COMMIT, b""), *options]
    return ADVERTISE, options


def _confirm(message: Message6, lease: Lease) -> tuple[int, list[tuple[int, bytes]]]:
    """Without addresses there is nothing to say (section 18.3.3)."""
    own = {one.address for one in lease.v6}
    found = [address for code, value in message.options if code in IA_ADDRESSES
             for address in ia_addresses(code, value) or ()]  # fmt: skip
    if not found:
        return 0, []
    return REPLY, [(_STATUS, _status(_SUCCESS if own.issuperset(found) else _NOT_ON_LINK))]


def _associations(message: Message6, lease: Lease) -> Iterator[tuple[int, bytes]]:
    own = [one.address for one in lease.v6 if one.mode == "dhcpv6-stateful"]
    for code, value in message.options:
        if code == IA_NA:
            yield IA_NA, _association(value, own, lease)
            own = []  # another association would make the instance have the same address twice
        elif code == IA_TA:
            yield IA_TA, value[:4] + encode_options([(_STATUS, _status(_NO_ADDRESSES))])
        elif code == IA_PD:
            yield IA_PD, value[:4] + b"\0" * 8 + encode_options([(_STATUS, _status(_NO_PREFIX))])


def _association(value: bytes, own: list[bytes], lease: Lease) -> bytes:
    """Section 21.4: its identifier, when to renew, and the addresses: ours, and without lifetime those of the client
    that are not."""
    asked = ia_addresses(IA_NA, value) or []
    ended = [address for address in dict.fromkeys(asked) if address not in own]
    if not own:
        inner = [(IA_ADDRESS, address + b"\0" * 8) for address in ended]
        return value[:4] + b"\0" * 8 + encode_options([*inner, (_STATUS, _status(_NO_ADDRESSES))])
    seconds = lease.lease_s.to_bytes(4, "big")
    inner = [(IA_ADDRESS, address + seconds + seconds) for address in own]
    inner += [(IA_ADDRESS, address + b"\0" * 8) for address in ended]
    return value[:4] + lease.t1_s.to_bytes(4, "big") + lease.t2_s.to_bytes(4, "big") + encode_options(inner)


def _configuration(message: Message6, lease: Lease) -> Iterator[tuple[int, bytes]]:
    extra = dict(lease.extra6)
    if lease.dns6 and _DNS not in extra:
        yield _DNS, b"".join(lease.dns6)
    if lease.search and _SEARCH not in extra:
        yield _SEARCH, domains_bytes(lease.search)
    wanted = message.first(_WANTED) or b""
    asks_name = any(wanted[at : at + 2] == b"\0\x27" for at in range(0, len(wanted) - 1, 2))
    if lease.hostname and asks_name:
        name = f"{lease.hostname}.{lease.domain}" if lease.domain else lease.hostname
        yield _FQDN, b"\0" + domain_bytes(name)
    yield from lease.extra6


_TEXTS: Final = {
    _SUCCESS: "done", _NO_ADDRESSES: "no address for this association", _NOT_ON_LINK: "not an address of this port",
    _USE_MULTICAST: "ask all servers", _NO_PREFIX: "no prefixes are given", _NO_BINDING: "unknown",
}  # fmt: skip


def _status(code: int) -> bytes:
    return code.to_bytes(2, "big") + _TEXTS[code].encode()
