"""What Felix says of its host endpoints."""

from __future__ import annotations

from typing import Any

import pytest

from calico.calc.messages import HostEndpointRemove, HostEndpointUpdate
from calico.dataplane.interfaces import Interface
from calico.felix.host_endpoints import HostEndpointStates
from calico.lib.packed import addr_bytes
from calico.model.keys import ResourceKey
from calico.obs.conditions import Conditions

EXPECTED = addr_bytes("10.0.0.1")


class States:
    """The states, what was reported, and whose each interface is as the ruleset would say."""

    def __init__(self) -> None:
        self.conditions = Conditions()
        self.reported: list[tuple[str, str | None]] = []
        self.reasons: list[tuple[str, ...]] = []
        self.states = HostEndpointStates(self.conditions, self._report)

    def _report(self, name: str, status: str | None, reasons: tuple[str, ...]) -> None:
        self.reported.append((name, status))
        self.reasons.append(reasons)

    def say(self, name: str, interface: str = "", *expected: bytes) -> None:
        key = ResourceKey("HostEndpoint", "", name)
        self.states.on_message(HostEndpointUpdate(name=name, key=key, interface=interface, expected_ips=expected))

    def link(self, name: str, oper_up: bool = True) -> None:
        self.states.on_interface(name, Interface(name=name, index=1, oper_up=oper_up))

    def refresh(self, **whose: tuple[str, ...]) -> dict[str, dict[str, Any]]:
        self.states.refresh(lambda: whose)
        return self.states.as_data()


@pytest.fixture
def states() -> States:
    return States()


def test_it_is_up_while_an_interface_of_it_carries_packets(states: States) -> None:
    states.say("h", "", EXPECTED)
    states.link("eth0", oper_up=False)
    states.link("eth1")
    assert states.refresh(h=("eth0", "eth1")) == {"h": {"status": "up", "interfaces": ["eth0", "eth1"], "reason": ""}}
    states.link("eth1", oper_up=False)
    assert states.refresh(h=("eth0", "eth1"))["h"]["status"] == "down"
    states.states.on_interface("eth0", None)
    states.link("eth1")
    assert states.refresh(h=("eth1",)) == {"h": {"status": "up", "interfaces": ["eth1"], "reason": ""}}
    assert states.reported == [("h", "up"), ("h", "down"), ("h", "up")]
    assert states.reasons == [(), ("no interface of it is up",), ()]


def test_it_is_down_without_an_interface_but_for_the_one_of_all(states: States) -> None:
    states.say("named", "eth0")
    states.say("all", "*")
    assert {name: state["status"] for name, state in states.refresh().items()} == {"named": "down", "all": "up"}


@pytest.mark.parametrize(("interface", "expected"), [("eth0", ()), ("*", ()), ("", (EXPECTED,))])
def test_one_that_another_comes_before_is_in_error_and_named(
    states: States, interface: str, expected: tuple[bytes, ...]
) -> None:
    states.say("a", interface, *expected)
    states.say("b", interface, *expected)
    states.link("eth0")
    data = states.refresh(a=("eth0",))
    assert {name: state["status"] for name, state in data.items()} == {"a": "up", "b": "error"}
    (condition,) = states.conditions
    assert (condition.code, condition.object) == ("endpoint-error", "HostEndpoint b")
    assert "host endpoint a" in condition.message
    states.states.on_message(HostEndpointRemove(name="a"))
    assert states.refresh(b=("eth0",))["b"]["status"] == "up"
    assert not list(states.conditions)


def test_one_that_is_removed_is_reported_as_gone_and_its_condition_with_it(states: States) -> None:
    states.say("a", "eth0")
    states.say("b", "eth0")
    states.refresh()
    states.states.on_message(HostEndpointRemove(name="b"))
    assert set(states.refresh()) == {"a"}
    assert ("b", None) in states.reported
    assert not list(states.conditions)


def test_nothing_is_looked_at_while_nothing_changed(states: States) -> None:
    states.say("h", "eth0")
    states.refresh()
    states.states.refresh(lambda: pytest.fail("asked again"))
    states.states.on_message(HostEndpointRemove(name="h"))
    states.refresh()
    states.link("eth0")
    states.states.refresh(lambda: pytest.fail("asked without a host endpoint"))
