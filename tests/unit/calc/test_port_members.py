"""Address ports that several contribute."""

from __future__ import annotations

from calico.calc.port_members import PortMembers
from calico.lib.packed import addr_bytes, addr_port

WEB, DNS = (addr_port(addr_bytes("10.0.0.1"), protocol, port) for protocol, port in ((6, 80), (17, 53)))


def test_an_address_port_stays_until_nobody_contributes_it_any_more() -> None:
    ports = PortMembers()
    for member in (WEB, WEB, DNS):
        ports.add(member)
    assert ports.delta.take() == ({WEB, DNS}, frozenset())
    ports.remove(WEB)
    assert (ports.members(), ports.delta.take()) == ({WEB, DNS}, (frozenset(), frozenset()))
    ports.remove(WEB)
    assert (ports.members(), ports.delta.take()) == ({DNS}, (frozenset(), {WEB}))
