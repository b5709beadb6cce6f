"""What the middle of an ended connection may do: nothing; and that nothing else is hindered."""

from __future__ import annotations

from typing import Any

import pytest

from calico.lib.packed import addr_bytes
from calico.rules.ended import ENDED_SETS, EndedFlow, EndedFlows
from calico.rules.evaluator.evaluate import Packet, forward, from_host
from calico.rules.packets import Flow

SYN, SYN_ACK, ACK, RST, FIN_ACK = 0x02, 0x12, 0x10, 0x04, 0x11
INIT, DATA, HEARTBEAT = 1, 0, 4
FAMILIES = pytest.mark.parametrize("v6", [False, True], ids=["v4", "v6"])


def ended(v6: bool, protocol: int = 6) -> EndedFlow:
    src, dst = (addr_bytes(f"fd00::{n}" if v6 else f"10.0.0.{n}") for n in (1, 2))
    return EndedFlow(src, dst, protocol, 40000, 80)


def segment(flow: EndedFlow, flags: int, *, back: bool = True, **more: Any) -> bytes:
    """A segment of the responder, or (not ``back``) of the initiator; for SCTP ``flags`` is the type of the chunk."""
    src, dst, sport, dport = flow.src, flow.dst, flow.sport, flow.dport
    ends = (
        {"src": dst, "dst": src, "sport": dport, "dport": sport}
        if back
        else {"src": src, "dst": dst, "sport": sport, "dport": dport}
    )
    data = Flow(**{"protocol": flow.protocol, **ends, **more}).data()
    if flow.protocol == 132:
        return data + bytes((flags, 0, 0, 4))
    at = (40 if len(src) == 16 else 20) + 13
    return data[:at] + bytes((flags,)) + data[at + 1 :]


@pytest.fixture
def world(host: Any) -> Any:
    host.workload(1)
    host.workload(2)
    host.tombstones = EndedFlows(host.state)
    return host


def passes(world: Any, data: bytes, state: Any = "new", came_from: str = "cali2") -> bool:
    return (
        forward(world.state, Packet(data=data, iifname=came_from, oifname="cali1", ct_state=state)).verdict == "accept"
    )


@FAMILIES
def test_a_segment_of_the_responder_does_not_open_an_ended_connection(world: Any, v6: bool) -> None:
    flow = ended(v6)
    assert passes(world, segment(flow, ACK))
    world.tombstones.add(flow)
    for flags in (ACK, SYN_ACK, RST, FIN_ACK, 0):
        assert not passes(world, segment(flow, flags)), flags
    world.tombstones.remove(flow)
    assert passes(world, segment(flow, ACK))


@FAMILIES
def test_a_connection_that_begins_is_judged_by_policy_alone(world: Any, v6: bool) -> None:
    flow = ended(v6)
    world.tombstones.add(flow)
    for more in (0, 0x01, 0x04, 0x08, 0x20, 0x40, 0x80, 0xC0):
        assert passes(world, segment(flow, SYN | more)), f"whatever else it says, here {more:#x}"
    assert passes(world, segment(flow, ACK), "established")


@FAMILIES
@pytest.mark.parametrize(
    "other",
    [{"sport": 81}, {"dport": 40001}, {"protocol": 17}, {"protocol": 132}],
    ids=lambda fields: next(iter(fields)),
)
def test_other_flows_of_the_same_machines_are_not_hindered(world: Any, v6: bool, other: dict[str, int]) -> None:
    flow = ended(v6)
    world.tombstones.add(flow)
    assert passes(world, segment(flow, ACK, **other))
    forwards = Packet(data=segment(flow, ACK, back=False), iifname="cali1", oifname="cali2")
    assert forward(world.state, forwards).verdict == "accept"


@FAMILIES
def test_the_host_does_not_open_an_ended_connection_either(world: Any, v6: bool) -> None:
    flow = ended(v6)
    world.tombstones.add(flow)

    def sent(flags: int, state: Any = "new") -> str:
        packet = Packet(data=segment(flow, flags), oifname="cali1", ct_state=state)
        return from_host(world.state, packet).verdict

    assert (sent(ACK), sent(SYN), sent(ACK, "established")) == ("drop", "accept", "accept")


@FAMILIES
def test_of_an_ended_association_only_an_init_may_pass(world: Any, v6: bool) -> None:
    flow = ended(v6, 132)
    world.tombstones.add(flow)
    assert [passes(world, segment(flow, chunk)) for chunk in (INIT, DATA, HEARTBEAT)] == [True, False, False]


def test_tombstones_are_read_back_from_the_table(world: Any) -> None:
    flows = {ended(v6, protocol) for v6 in (False, True) for protocol in (6, 132)}
    for flow in flows:
        world.tombstones.add(flow)
    assert set(EndedFlows(world.state)) == flows


def test_the_sets_are_declared_larger_before_they_are_full(world: Any) -> None:
    for port in range(1, 3001):
        world.tombstones.add(EndedFlow(bytes(4), bytes(4), 6, port, 80))
    assert world.state.sets[ENDED_SETS[0]].size > 3000
