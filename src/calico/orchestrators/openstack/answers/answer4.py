"""What to answer to a DHCPv4 message (RFC 2131 section 4.3), as a function of the message and the lease of the port.

| message | answer |
|---|---|
| DISCOVER | OFFER; ACK with rapid commit (RFC 4039) |
| REQUEST to another server | none: the client chose that one |
| REQUEST after an OFFER, after a reboot, to renew or to rebind | ACK; NAK when the address is not the port's |
| INFORM | ACK without address and times |
| DECLINE, RELEASE | none, and nothing changes: the address is the port's |

Of a message that another MAC speaks of or that a relay passed on, nothing is answered.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from calico.orchestrators.openstack.answers import dhcp4
from calico.orchestrators.openstack.answers.dhcp4 import Message4, encode4, parse4
from calico.orchestrators.openstack.answers.frames import BROADCAST_MAC, Request, udp4_frame
from calico.orchestrators.openstack.answers.lease import Lease, Lease4, Route
from calico.orchestrators.openstack.answers.names import domains_bytes
from calico.orchestrators.openstack.answers.outcome import Outcome

__all__ = ["answer4"]

_NONE: Final = b"\0\0\0\0"
_EVERYONE: Final = b"\xff\xff\xff\xff"
_IP_AND_UDP: Final = 28
_ROOM_MAX: Final = 1472

_NETMASK, _ROUTER, _DNS, _HOSTNAME, _DOMAIN, _MTU, _BROADCAST_ADDRESS = 1, 3, 6, 12, 15, 26, 28
_REQUESTED, _LEASE, _TYPE, _SERVER, _WANTED, _MESSAGE, _MAX_SIZE, _T1, _T2 = 50, 51, 53, 54, 55, 56, 57, 58, 59
_CLIENT_ID, _RAPID_COMMIT, _SEARCH, _ROUTES, _OLD_ROUTES = 61, 80, 119, 121, 249

_NAMES: Final = {dhcp4.OFFER: "offer", dhcp4.ACK: "ack", dhcp4.NAK: "nak"}
_ASKED: Final = {1: "discover", 3: "request", 4: "decline", 7: "release", 8: "inform"}


def answer4(lease: Lease, server_mac: bytes, request: Request) -> Outcome:
    """The answer to a UDP datagram to port 67."""
    message = parse4(request.payload)
    if message is None:
        return Outcome("dhcp4", "malformed")
    kind = message.options.get(_TYPE, b"")
    asked = _ASKED.get(kind[0] if len(kind) == 1 else 0)
    if asked is None:
        return Outcome("dhcp4", "malformed")
    if message.giaddr != _NONE:
        return Outcome("dhcp4", "relayed")
    if message.chaddr != lease.mac:
        return Outcome("dhcp4", "foreign-mac")
    own = lease.v4
    if own is None:
        return Outcome("dhcp4", "no-address")
    answer, why = _decide(kind[0], message, own)
    if not answer:
        return Outcome("dhcp4", asked, detail=why)
    return _send(answer, message, lease, own, server_mac, why, asked)


def _decide(kind: int, message: Message4, own: Lease4) -> tuple[int, str]:
    """The type of the answer (0: none) and why, when that is not plain."""
    options = message.options
    if kind == dhcp4.DISCOVER:
        return (dhcp4.ACK, "") if _RAPID_COMMIT in options else (dhcp4.OFFER, "")
    if kind == dhcp4.INFORM:
        return dhcp4.ACK, ""
    if kind == dhcp4.DECLINE:
        return 0, "the instance says that somebody else has its address"
    if kind == dhcp4.RELEASE:
        return 0, ""
    server = options.get(_SERVER)
    if server is not None and server != own.server:
        return 0, "the instance chose another server"
    wanted = options.get(_REQUESTED, _NONE) if message.ciaddr == _NONE else message.ciaddr
    if wanted == _NONE:
        return 0, "the instance asks for no address"
    if wanted != own.address:
        return dhcp4.NAK, "the address asked for is not the port's"
    return dhcp4.ACK, ""


def _send(
    answer: int, message: Message4, lease: Lease, own: Lease4, server_mac: bytes, why: str, asked: str
) -> Outcome:
    """RFC 2131 section 4.1: to whom, and table 3: with what."""
    asks, inform, nak = message.options, asked == "inform", answer == dhcp4.NAK
    options = [(_TYPE, bytes((answer,))), (_SERVER, own.server)]
    if not nak and not inform:
        options += _times(lease)
    if asked == "discover" and answer == dhcp4.ACK:
        options.append((_RAPID_COMMIT, b""))
    if _CLIENT_ID in asks:
        options.append((_CLIENT_ID, asks[_CLIENT_ID]))  # RFC 6842
    if nak:
        options.append((_MESSAGE, why.encode()))
    else:
        options += _configuration(lease, own, asks.get(_WANTED, b""))
    size = asks.get(_MAX_SIZE, b"")
    room = min(int.from_bytes(size, "big") - _IP_AND_UDP, _ROOM_MAX) if len(size) == 2 else 0
    reply = msgspec.structs.replace(
        message,
        ciaddr=message.ciaddr if not nak and answer == dhcp4.ACK else _NONE,
        yiaddr=_NONE if nak or inform else own.address,
        siaddr=_NONE if nak else lease.next_server or own.server,
        broadcast=message.broadcast or nak,
    )
    payload, left_out = encode4(reply, options, room)
    if nak:
        to_mac, to = BROADCAST_MAC, _EVERYONE
    elif message.ciaddr not in (_NONE, _EVERYONE):
        to_mac, to = lease.mac, message.ciaddr
    elif message.broadcast:
        to_mac, to = BROADCAST_MAC, _EVERYONE
    else:
        to_mac, to = lease.mac, own.address
    frame = udp4_frame(server_mac, to_mac, own.server, to, payload)
    detail = f"no room for options {left_out}" if left_out else why
    return Outcome("dhcp4", asked, answer=_NAMES[answer], frame=frame, detail=detail)


def _times(lease: Lease) -> list[tuple[int, bytes]]:
    given = dict(lease.extra4)
    times = ((_LEASE, lease.lease_s), (_T1, lease.t1_s), (_T2, lease.t2_s))
    return [(code, given.get(code) or seconds.to_bytes(4, "big")) for code, seconds in times]


def _configuration(lease: Lease, own: Lease4, wanted: bytes) -> Iterator[tuple[int, bytes]]:
    """First what was asked for, in that order; then the extra options, which somebody set on purpose. Who asks for
    nothing in particular gets all."""
    have = _known(lease, own)
    extra = dict(lease.extra4)
    have.update(extra)
    for code in (_T1, _T2):
        have.pop(code, None)
    codes = dict.fromkeys((_NETMASK, *wanted, *extra) if wanted else have)
    if codes.keys() & {_ROUTES, _OLD_ROUTES} and _ROUTES in have:
        have.setdefault(_OLD_ROUTES, have[_ROUTES])
    if wanted and _ROUTES in codes and _ROUTER in codes:  # RFC 3442: before the router
        codes = dict.fromkeys((_NETMASK, _ROUTES, *codes))
    for code in codes:
        if code in have:
            yield code, have[code]


def _known(lease: Lease, own: Lease4) -> dict[int, bytes]:
    bits = 32 - own.prefix_len
    mask = (0xFFFFFFFF << bits & 0xFFFFFFFF) if bits < 32 else 0
    found = {_NETMASK: mask.to_bytes(4, "big")}
    if routes := b"".join(map(_route, own.routes)):
        found[_ROUTES] = routes
    if own.gateway:
        found[_ROUTER] = own.gateway
    if own.dns:
        found[_DNS] = b"".join(own.dns)
    if lease.domain:
        found[_DOMAIN] = lease.domain.encode()
    if lease.hostname:
        found[_HOSTNAME] = lease.hostname.encode()
    if lease.mtu:
        found[_MTU] = lease.mtu.to_bytes(2, "big")
    if own.prefix_len < 31:
        address = int.from_bytes(own.address, "big") | ~mask & 0xFFFFFFFF
        found[_BROADCAST_ADDRESS] = address.to_bytes(4, "big")
    if lease.search:
        found[_SEARCH] = domains_bytes(lease.search)
    return found


def _route(route: Route) -> bytes:
    """RFC 3442: of the destination only the bytes that matter."""
    length = route.net[4]
    return bytes((length,)) + route.net[: (length + 7) // 8] + route.nexthop
