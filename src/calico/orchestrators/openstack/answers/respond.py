"""From a frame that came out of a port to what is sent back: the only way into this package for whoever has sockets."""

from __future__ import annotations

from typing import Final

import msgspec

from calico.orchestrators.openstack.answers.advert import answer_solicitation
from calico.orchestrators.openstack.answers.answer4 import answer4
from calico.orchestrators.openstack.answers.answer6 import answer6
from calico.orchestrators.openstack.answers.frames import parse_frame
from calico.orchestrators.openstack.answers.lease import Lease
from calico.orchestrators.openstack.answers.outcome import Outcome

__all__ = ["Host", "respond"]

_UDP: Final = 17


class Host(msgspec.Struct, frozen=True):
    """The host's end of the port's link. ``link_local`` (packed) is empty while the interface has none."""

    mac: bytes
    link_local: bytes = b""


def respond(frame: bytes, lease: Lease, host: Host) -> Outcome:
    """What to do about a frame. Never raises, whatever the bytes."""
    request = parse_frame(frame)
    if request is None:
        return Outcome("none", "malformed")
    if request.version == 4:
        if (request.sport, request.dport) != (68, 67):
            return Outcome("none", "other")
        return answer4(lease, host.mac, request)
    protocol = "dhcp6" if request.protocol == _UDP else "ra"
    if request.protocol == _UDP and (request.sport, request.dport) != (546, 547):
        return Outcome("none", "other")
    if not host.link_local:
        return Outcome("dhcp6" if protocol == "dhcp6" else "ra", "no-link-local")
    if protocol == "dhcp6":
        return answer6(lease, host.mac, host.link_local, request)
    return answer_solicitation(lease, host.mac, host.link_local, request)
