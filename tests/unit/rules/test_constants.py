"""Sets that are part of a rule: named by what they hold, the same in every process."""

from __future__ import annotations

from calico.lib.packed import addr_bytes, net
from calico.rules.constants import ConstantSets, constant_nets, constant_ports, constant_protocols
from calico.rules.table import TableState
from retained import retained


def test_single_addresses_are_a_hash_with_room_and_networks_are_intervals() -> None:
    hosts = constant_nets(False, [net("10.0.0.2"), net("10.0.0.1")])
    assert (hosts.decl.key, hosts.decl.interval, hosts.decl.size) == (("ipv4_addr",), False, 64)
    assert hosts.elements == (addr_bytes("10.0.0.1"), addr_bytes("10.0.0.2"))
    nets = constant_nets(True, [net("fd00::/16"), net("fd00::1"), net("fd01::1")])
    assert (nets.decl.key, nets.decl.interval, nets.decl.size) == (("ipv6_addr",), True, 0)
    assert nets.elements == (net("fd00::/16"), net("fd01::1"))


def test_ports_and_protocols_are_hashes_of_padded_keys() -> None:
    ports, protocols = constant_ports(range(80, 180)), constant_protocols([17, 6])
    assert (ports.decl.key, ports.decl.interval, ports.decl.size) == (("inet_service",), False, 256)
    assert ports.elements[:2] == (b"\0\x50\0\0", b"\0\x51\0\0")
    assert (protocols.decl.key, protocols.decl.interval) == (("inet_proto",), False)
    assert protocols.elements == (bytes((6, 0, 0, 0)), bytes((17, 0, 0, 0)))


def test_names_tell_the_kind_and_are_the_same_for_the_same_content_whatever_its_order() -> None:
    assert constant_ports([53, 80, 53]) == constant_ports([80, 53])
    assert constant_ports([53, 80]).decl.name == "cp-9436354569e9b32b8d90f9f8"
    assert constant_protocols([6]).decl.name.startswith("cl-")
    assert constant_nets(False, [net("10.0.0.1")]).decl.name.startswith("c-")
    everything = {constant_ports([1]).decl.name, constant_ports([2]).decl.name, constant_ports([1, 2]).decl.name}
    assert len(everything) == 3


def test_a_set_is_there_while_a_chain_uses_it_and_then_nothing_is_remembered() -> None:
    state = TableState()
    sets, one, two = ConstantSets(state), constant_ports([53, 80]), constant_ports([443, 8443])
    sets.use("a", (one, two))
    sets.use("b", (one,))
    assert set(state.sets) == {one.decl.name, two.decl.name}
    assert set(state.elements(one.decl.name)) == set(one.elements)
    sets.use("a", (two,))
    sets.use("b", ())
    assert set(state.sets) == {two.decl.name}
    sets.use("a", (one,))
    assert set(state.sets) == {one.decl.name}
    sets.use("a", ())
    state.take()
    assert not state.sets
    assert retained(sets) == retained(ConstantSets(TableState()))
