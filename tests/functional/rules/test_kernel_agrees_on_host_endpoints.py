"""As for workloads, with the two interfaces as the host's own: random host endpoints, packets through, to and from the
host. A table of somebody else writes down what reached the host."""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from calico.calc.messages import HostEndpointUpdate, Message, TierPolicies
from calico.dataplane.netns import in_netns
from calico.lib.packed import addr_bytes, addr_str
from calico.model.keys import ResourceKey
from calico.rules.config import RulesConfig
from calico.rules.evaluator.evaluate import Packet, forward, from_host, to_host
from calico.rules.packets import Flow

sys.path.insert(0, str(Path(__file__).parent))
from test_kernel_agrees_with_the_evaluator import FENCE, KEYS, Draw, exchange, number_of, numbered, quiet

__all__ = ["quiet"]

pytestmark = pytest.mark.root

ROUNDS, PACKETS = 6, 120
HOST = {4: addr_bytes("10.65.255.1"), 6: addr_bytes("fd00:65::ffff")}
WITNESS = """
table inet witness {
  set seen4 { typeof ip id; size 65535; flags dynamic; }
  set seen6 { typeof ip6 flowlabel; size 65535; flags dynamic; }
  chain input {
    type filter hook input priority 10; policy drop;
    iifname "cali2" ip daddr 10.65.255.1 add @seen4 { ip id }
    iifname "cali2" ip6 daddr fd00:65::ffff add @seen6 { ip6 flowlabel }
  }
}
"""


class DrawHosts(Draw):
    """Random host endpoints besides."""

    def host_tiers(self, share: float, *, egress: bool = True) -> tuple[TierPolicies, ...]:
        if self.random.random() > share:
            return ()
        tier = TierPolicies(
            name="one",
            default_action=self.random.choice(["deny", "pass"]),
            ingress=self.some(KEYS, 0.8),
            egress=self.some(KEYS, 0.8) if egress else (),
        )
        return (tier,)

    def host_endpoint(self, name: str, interface: str) -> HostEndpointUpdate:
        return HostEndpointUpdate(
            name=name,
            key=ResourceKey("HostEndpoint", "", name),
            interface=interface,
            tiers=self.tiers(),
            forward_tiers=self.host_tiers(0.7),
            untracked_tiers=self.host_tiers(0.5),
            pre_dnat_tiers=self.host_tiers(0.5, egress=False),
            profiles=("x",),
        )

    def host_messages(self, host: Any) -> list[Message]:
        chosen = self.random.choice([["cali1", "cali2"], ["cali2"], ["*", "cali1"], ["*"]])
        found = self.messages(host)[:-2]
        return [*found, *(self.host_endpoint(f"h{number}", name) for number, name in enumerate(chosen))]


@pytest.fixture
def drawn(quiet: Any, request: pytest.FixtureRequest) -> tuple[Any, list[Flow]]:
    """A host with random host endpoints, and flows."""
    draw = DrawHosts(request.param)
    quiet.use(RulesConfig(interface_prefixes=("tap",)))
    quiet.apply(*draw.host_messages(quiet))
    return quiet, [draw.flow() for _ in range(PACKETS)]


def expected(judge: Any, host: Any, flows: list[Flow], **interfaces: str) -> set[int]:
    return {
        number
        for number, flow in enumerate(flows)
        if judge(host.state, Packet(data=flow.data(), **interfaces)).verdict == "accept"
    }


def differences(flows: list[Flow], wanted: set[int], found: set[int]) -> list[Flow]:
    return [flows[number] for number in wanted ^ found]


@pytest.mark.parametrize("drawn", range(ROUNDS), indirect=True)
def test_the_kernel_forwards_exactly_what_the_evaluator_accepts(drawn: tuple[Any, list[Flow]]) -> None:
    host, flows = drawn
    wanted = expected(forward, host, flows, iifname="cali2", oifname="cali1")
    assert not differences(flows, wanted, exchange(host, flows))


@pytest.mark.parametrize("drawn", range(ROUNDS), indirect=True)
def test_exactly_what_the_evaluator_accepts_reaches_the_host(drawn: tuple[Any, list[Flow]]) -> None:
    host, flows = drawn
    flows = [Flow(**{**_fields(flow), "dst": HOST[flow.version]}) for flow in flows]
    fence = Flow(**{**_fields(FENCE), "dst": HOST[4]})
    host.nft("-f", "-", text=WITNESS)
    wanted = expected(to_host, host, flows, iifname="cali2")
    with host.workloads[1].wire() as wire:
        for number, flow in enumerate([*flows, fence]):
            kind = b"\x86\xdd" if flow.version == 6 else b"\x08\x00"
            wire.send(bytes.fromhex("eeeeeeeeeeee") + host.workloads[1].mac + kind + numbered(flow, number))
    found: set[int] = set()
    while len(flows) not in found:
        found = seen(host)
    assert not differences(flows, wanted, found - {len(flows)})


@pytest.mark.parametrize("drawn", range(ROUNDS), indirect=True)
def test_exactly_what_the_evaluator_accepts_leaves_the_host(drawn: tuple[Any, list[Flow]]) -> None:
    """The kernel gives packets numbered 0 a number of its own, so the fence is first, too."""
    host, flows = drawn
    flows = [FENCE, *flows]
    wanted = expected(from_host, host, flows, oifname="cali1") - {0}
    found: set[int] = set()
    with host.workloads[0].wire() as capture:
        for number, flow in enumerate([*flows[1:], FENCE], 1):
            send_from(host, numbered(flow, number))
        while len(flows) not in found:
            number_found = number_of(capture.recv(2000))
            if number_found is not None:
                found.add(number_found)
    assert not differences(flows, wanted, found - {len(flows)})


def _fields(flow: Flow) -> dict[str, Any]:
    return {name: getattr(flow, name) for name in Flow.__struct_fields__}


def seen(host: Any) -> set[int]:
    """The numbers that the witness has."""
    found: set[int] = set()
    for name in ("seen4", "seen6"):
        listing = json.loads(host.nft("-j", "list", "set", "inet", "witness", name))
        (one,) = [item["set"] for item in listing["nftables"] if "set" in item]
        found.update(map(int, one.get("elem", [])))
    return found


def send_from(host: Any, data: bytes) -> None:
    """The host sends a packet as it is; what its own filters refuse is an error that is none here."""
    family = socket.AF_INET if data[0] >> 4 == 4 else socket.AF_INET6
    target = addr_str(data[16:20] if family == socket.AF_INET else data[24:40])
    with in_netns(host.netns, lambda: socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW)) as sock:
        try:
            sock.sendto(data, (target, 0))
        except PermissionError:
            return
