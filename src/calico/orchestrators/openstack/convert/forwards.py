"""Port forwardings of floating addresses to the annotation that Felix translates by."""

from __future__ import annotations

from collections.abc import Iterator

from calico.model.forwards import MAX_FORWARDS, PORT_FORWARDS, PortForward, forwards_text
from calico.orchestrators.openstack.convert.documents import Problem
from calico.orchestrators.openstack.facts import PortForwarding, PortView

__all__ = ["convert_forwards"]

_PROTOCOLS = ("tcp", "udp", "sctp")


def convert_forwards(view: PortView, host: str, problems: list[Problem]) -> dict[str, str]:
    """The annotation; nothing without forwards. ``host`` is where the port is.

    All ports of a floating address lead from one host, for its route leads there: a forward to an instance elsewhere
    would work or not as the fabric chooses, and is left out.
    """
    found: set[PortForward] = set()
    fixed = {fixed.ip_address for fixed in view.port.fixed_ips}

    def deny(code: str, forwarding: PortForwarding, why: str) -> None:
        text = (
            f"port {view.port.id}: {forwarding.protocol} port {forwarding.external_port} of floating address "
            f"{forwarding.floating_ip_address} is not forwarded; {why}"
        )
        problems.append(Problem(code=code, kind="port", id=view.port.id, text=text))

    for forwarding in sorted(view.port_forwardings, key=lambda forwarding: forwarding.id):
        pairs = list(_pairs(forwarding))
        if not pairs or forwarding.protocol not in _PROTOCOLS:
            deny("port-forwarding-invalid", forwarding, "its protocol or its ports are none that can be translated")
        elif forwarding.internal_ip_address not in fixed:
            deny("port-forwarding-invalid", forwarding, f"{forwarding.internal_ip_address} is no fixed address of it")
        elif host and forwarding.host not in ("", host):
            deny("port-forwarding-elsewhere", forwarding, f"the address is at {forwarding.host}, the port at {host}")
        elif len(found) + len(pairs) > MAX_FORWARDS:
            deny("port-forwarding-invalid", forwarding, f"more than {MAX_FORWARDS} ports of one instance")
        else:
            found.update(
                PortForward(
                    protocol=forwarding.protocol,
                    external_ip=forwarding.floating_ip_address,
                    external_port=external,
                    internal_ip=forwarding.internal_ip_address,
                    internal_port=internal,
                )
                for external, internal in pairs
            )
    return {PORT_FORWARDS: forwards_text(found)} if found else {}


def _pairs(forwarding: PortForwarding) -> Iterator[tuple[int, int]]:
    """External and internal port, one by one; nothing when the ranges are not of one length."""
    external, internal = _range(forwarding.external_port), _range(forwarding.internal_port)
    if len(external) == len(internal):
        yield from zip(external, internal, strict=True)


def _range(text: str) -> range:
    first, _, last = text.partition(":")
    try:
        low, high = int(first), int(last or first)
    except ValueError:
        return range(0)
    return range(low, high + 1) if 1 <= low <= high <= 65535 else range(0)
