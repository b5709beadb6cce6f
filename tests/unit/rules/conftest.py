"""A host with a ruleset and short words for its workloads and packets."""

from __future__ import annotations

from typing import Any

import pytest

from calico.calc.messages import (
    ActiveRule,
    EndpointId,
    EndpointUpdate,
    HostEndpointUpdate,
    ProfileUpdate,
    TierPolicies,
)
from calico.lib.packed import addr_bytes, net
from calico.model.keys import ResourceKey
from calico.rules.config import RulesConfig
from calico.rules.evaluator.evaluate import Outcome, Packet, forward, from_host, to_host
from calico.rules.packets import Flow
from calico.rules.ruleset import Ruleset
from calico.rules.table import TableState

OPEN = ProfileUpdate(name="open", ingress=(ActiveRule(action="allow"),), egress=(ActiveRule(action="allow"),))


class Host:
    """Workloads 1 to 9 are ``cali<n>`` with 10.0.0.<n> and fd00::<n>."""

    def __init__(self, **config: Any) -> None:
        self.state = TableState()
        self.ruleset = Ruleset(self.state, RulesConfig(**config))
        self.say(OPEN)

    def say(self, *messages: Any) -> None:
        for message in messages:
            self.ruleset.on_message(message)

    def workload(
        self,
        number: int,
        *tiers: TierPolicies,
        profiles: tuple[str, ...] = ("open",),
        interface: str = "",
        nets: tuple[str, ...] = (),
        nats: tuple[tuple[str, str], ...] = (),
        spoofed: tuple[str, ...] = (),
    ) -> EndpointId:
        identity = EndpointId("k8s", f"ns/w{number}", "eth0")
        self.say(
            EndpointUpdate(
                id=identity,
                key=ResourceKey("WorkloadEndpoint", "ns", f"w{number}"),
                interface=interface or f"cali{number}",
                nets=tuple(map(net, nets or (f"10.0.0.{number}", f"fd00::{number}"))),
                tiers=tiers,
                profiles=profiles,
                nats=tuple((addr_bytes(own), addr_bytes(external)) for own, external in nats),
                spoofed=tuple(map(net, spoofed)),
            )
        )
        return identity

    def endpoint(self, name: str = "h", interface: str = "eth0", *expected: str, **fields: Any) -> None:
        """A host endpoint; with policies as its fields say."""
        key = ResourceKey("HostEndpoint", "", name)
        addresses = tuple(map(addr_bytes, expected))
        self.say(HostEndpointUpdate(name=name, key=key, interface=interface, expected_ips=addresses, **fields))

    def link(self, name: str, *addresses: str) -> None:
        """An interface is there with these addresses."""
        self.ruleset.on_host_interface(name, frozenset(map(addr_bytes, addresses)))

    def packet(self, source: str, destination: str, flow: Flow, **more: Any) -> Packet:
        return Packet(data=flow.data(), iifname=source, oifname=destination, **more)

    def forward(
        self, source: str, destination: str, flow: Flow, translated: Flow | None = None, **more: Any
    ) -> Outcome:
        """``translated``: what DNAT makes of the packet."""
        then = self.packet(source, destination, translated, **more) if translated else None
        return forward(self.state, self.packet(source, destination, flow, **more), then)

    def forwards(self, source: str, destination: str, flow: Flow, translated: Flow | None = None, **more: Any) -> bool:
        return self.forward(source, destination, flow, translated, **more).verdict == "accept"

    def reached_from(self, source: str, flow: Flow, translated: Flow | None = None, **more: Any) -> bool:
        then = self.packet(source, "", translated, **more) if translated else None
        return to_host(self.state, self.packet(source, "", flow, **more), then).verdict == "accept"

    def sends_to(self, destination: str, flow: Flow, translated: tuple[str, Flow] | None = None, **more: Any) -> bool:
        """``translated``: where DNAT sends the packet, and what it makes of it."""
        then = self.packet("", *translated, **more) if translated else None
        return from_host(self.state, self.packet("", destination, flow, **more), then).verdict == "accept"

    @staticmethod
    def flow(src: str, dst: str, **fields: Any) -> Flow:
        return Flow(src=addr_bytes(src), dst=addr_bytes(dst), **fields)

    @staticmethod
    def between(source: int, destination: int, v6: bool = False, **fields: Any) -> Flow:
        prefix = "fd00::" if v6 else "10.0.0."
        return Host.flow(f"{prefix}{source}", f"{prefix}{destination}", **fields)


@pytest.fixture
def make_host() -> type[Host]:
    return Host


@pytest.fixture
def host() -> Host:
    return Host()
