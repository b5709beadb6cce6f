"""Reading and ending flows on a real kernel: of all and of some addresses, in zones, when something fails."""

from __future__ import annotations

import asyncio
import socket
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest

from calico.dataplane.flows.established import EstablishedFlows
from calico.dataplane.flows.tracked import FlowTable
from calico.dataplane.flows.ways import Ways
from calico.dataplane.netns import in_netns
from calico.errors import Transient
from calico.lib.packed import addr_bytes
from calico.netlink.conntrack import decode_flow
from calico.rules.affected import Affected
from calico.rules.config import RulesConfig
from calico.rules.ruleset import Ruleset
from calico.rules.table import TableState

TRACK = "table inet t { chain out { type filter hook output priority 0; ct state new accept; }\n }"
ZONED = "table inet t { chain pre { type filter hook output priority -300; ct zone set 7; }\n" + TRACK[15:]
OWN = [addr_bytes(f"127.0.1.{n}") for n in (1, 2)]
OTHER = addr_bytes("127.0.2.1")


def nft(host: Any, text: str) -> None:
    subprocess.run(["nsenter", f"--net=/run/netns/{host.name}", "nft", "-f", "-"], input=text, text=True, check=True)


def datagrams(source: bytes, target: bytes, *ports: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((socket.inet_ntoa(source), 0))
        for port in ports:
            sock.sendto(b"x", (socket.inet_ntoa(target), port))


def left() -> set[tuple[bytes, bytes, int]]:
    table = FlowTable()
    try:
        flows = [decode_flow(payload) for payload in table.read()]
    finally:
        table.close()
    return {(f.orig.src, f.orig.dst, f.orig.dport) for f in flows if f.orig.protocol == 17}


class Agent:
    """The service with a ruleset in which the endpoint of ``OWN`` may do nothing; the kernel never gets to see it."""

    def __init__(self) -> None:
        self.state = TableState()
        Ruleset(self.state, RulesConfig())
        self.refusals = 0
        self.problems: list[dict[str, str]] = []
        self.service = EstablishedFlows(
            self.state,
            commit=self._commit,
            interface_of=lambda address: "cali1" if address in OWN else None,
            on_problems=self.problems.append,
        )

    def _commit(self) -> None:
        if self.refusals:
            self.refusals -= 1
            raise Transient("the kernel is busy")

    @property
    def figures(self) -> dict[str, Any]:
        return self.service.as_data()

    def all_of(self, *addresses: bytes) -> Affected:
        affected = Affected()
        affected.changed = True
        for direction in ("ingress", "egress"):
            affected.add(direction, addresses)  # type: ignore[arg-type]
        return affected

    async def rechecked(self) -> None:
        while self.figures["pending"]:
            await asyncio.sleep(0.001)


def running(host: Any, scenario: Callable[[Agent], Any]) -> None:
    async def work() -> None:
        agent = Agent()
        task = asyncio.create_task(agent.service.run())
        try:
            await scenario(agent)
            assert not task.done()
        finally:
            task.cancel()
            agent.service.close()

    host.run(work)


@pytest.mark.parametrize("rules", [TRACK, ZONED], ids=["default-zone", "other-zone"])
@pytest.mark.parametrize("noise", [0, 1500], ids=["whole-table", "picked-by-the-kernel"])
def test_flows_of_affected_addresses_end_in_either_direction(host: Any, rules: str, noise: int) -> None:
    nft(host, rules)

    async def scenario(agent: Agent) -> None:
        datagrams(OTHER, addr_bytes("127.0.3.1"), *range(1, noise + 2))
        datagrams(OWN[0], OTHER, 5)
        datagrams(OTHER, OWN[0], 6)
        datagrams(OWN[1], OTHER, 7)
        agent.service.on_applied(agent.all_of(OWN[0]))
        await agent.rechecked()
        assert {flow for flow in left() if flow[1] != addr_bytes("127.0.3.1")} == {(OWN[1], OTHER, 7)}
        assert len(left()) == noise + 2
        found = agent.figures
        assert (found["passes"], found["examined"], found["cut"]) == (1, 2, 2)
        assert found["read"] < 10  # of many flows only those of the address

    running(host, scenario)


def test_nothing_is_judged_while_the_kernel_is_behind_the_ruleset(host: Any) -> None:
    nft(host, TRACK)

    async def scenario(agent: Agent) -> None:
        datagrams(OWN[0], OTHER, 5)
        agent.service.on_applied(agent.all_of(*OWN))
        agent.service.on_failed()
        await asyncio.sleep(0.1)
        assert left() == {(OWN[0], OTHER, 5)}
        assert agent.figures["pending"]
        agent.service.on_applied(Affected())
        await agent.rechecked()
        assert left() == set()

    running(host, scenario)


def test_what_the_kernel_refuses_is_named_and_tried_again(host: Any) -> None:
    nft(host, TRACK)

    async def scenario(agent: Agent) -> None:
        with socket.create_server((socket.inet_ntoa(OWN[0]), 0), backlog=2000) as server, ExitStack() as stack:
            for _ in range(1500):  # more than are judged in one slice
                stack.enter_context(socket.create_connection(server.getsockname(), source_address=("127.0.2.1", 0)))
            agent.refusals = 2
            agent.service.on_applied(agent.all_of(*OWN))
            await agent.rechecked()
        assert agent.figures["cut"] == agent.figures["tombstones"] == 1500
        assert agent.figures["passes"] == 1
        assert agent.problems == [{"conntrack": "the kernel is busy"}] * 2 + [{}]

    running(host, scenario)


def test_others_go_on_between_the_slices_of_a_pass_and_new_changes_are_taken_after_it(host: Any) -> None:
    nft(host, TRACK)

    async def scenario(agent: Agent) -> None:
        datagrams(OWN[0], OTHER, *range(1, 2001))
        datagrams(OWN[1], OTHER, 5)
        agent.service.on_applied(agent.all_of(OWN[0]))
        turns = 0
        while not agent.figures["cut"] and agent.figures["pending"]:
            await asyncio.sleep(0.001)
        agent.service.on_applied(agent.all_of(OWN[1]))
        while agent.figures["passes"] < 1:
            turns += 1
            await asyncio.sleep(0)
        assert turns > 3
        await agent.rechecked()
        assert left() == set()
        assert agent.figures["passes"] == 2
        assert agent.figures["examined"] == 2001

    running(host, scenario)


def test_the_way_of_an_address_is_that_of_its_endpoint_or_route(host: Any) -> None:
    host.workload(1, address="10.65.0.2", address6="fd00:65::2")
    host.ip("addr", "add", "192.0.2.1/24", "dev", "cali1")
    host.ip("addr", "add", "2001:db8::1/64", "dev", "cali1")
    host.ip("route", "add", "blackhole", "198.51.100.0/24")

    def ask() -> dict[str, str | None]:
        ways = Ways({addr_bytes("10.65.0.2"): "cali9"}.get)
        try:
            texts = ("10.65.0.2", "192.0.2.1", "127.0.0.1", "192.0.2.77", "198.51.100.1", "203.0.113.1",
                     "2001:db8::1", "2001:db8::2", "2001:db9::1", "192.0.2.255")  # fmt: skip
            return {text: ways.way(addr_bytes(text)) for text in texts}
        finally:
            ways.close()

    assert in_netns(host.name, ask) == {
        "10.65.0.2": "cali9",
        "192.0.2.1": None,
        "127.0.0.1": None,
        "192.0.2.77": "cali1",
        "198.51.100.1": "",
        "203.0.113.1": "",
        "2001:db8::1": None,
        "2001:db8::2": "cali1",
        "2001:db9::1": "",
        "192.0.2.255": None,
    }
