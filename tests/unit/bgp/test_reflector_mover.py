"""What a move writes: only what is its own, and nothing of it is left after the way back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

import pytest

from calico.bgp.reflectors.evidence import HostReport, SessionReport
from calico.bgp.reflectors.fleet import REFLECTOR_LABEL, Fleet, peering_name
from calico.bgp.reflectors.mover import Mover, NotSafe
from calico.bgp.reflectors.steps import Step, Wanted, steps_to_add, steps_to_mesh, steps_to_reflectors
from calico.datastore.api import Op
from calico.datastore.memory import MemoryBackend
from calico.datastore.typed.store import Store
from calico.model.bgp import BGPPeer, BGPPeerSpec
from calico.model.meta import Metadata
from calico.model.node import Node, NodeBGPSpec, NodeSpec

ID = "244.0.0.1"
NODES = "/calico/resources/v3/projectcalico.org/nodes/"


class Obedient:
    """Hosts that follow at once, and have one route each; those in ``silent`` say nothing."""

    def __init__(self) -> None:
        self.silent: set[str] = set()
        self.fleet: Callable[[], Coroutine[Any, Any, Fleet]]

    async def read(self, nodes: Iterable[str]) -> dict[str, HostReport]:
        fleet = await self.fleet()
        reports = {}
        for name in nodes:
            far = {other for pair in fleet.pairs(mesh=fleet.mesh) if name in pair for other in pair} - {name}
            sessions = {
                address: SessionReport(True, "Established", len(fleet.hosts) if other in fleet.members else 1)
                for other in far
                for _, address in fleet.hosts[other].addresses
            }
            reports[name] = HostReport(node=name, in_sync=True, revision=10**9, sessions=sessions)
        return {name: report for name, report in reports.items() if name not in self.silent}


class Shelf:
    """A store on memory with three nodes, and a mover on it that does not wait."""

    def __init__(self, *, ignored: frozenset[str] = frozenset()) -> None:
        self.backend = MemoryBackend()
        self.store = Store(self.backend)
        self.hosts = Obedient()
        self.mover = Mover(self.store, self.hosts, patience_s=0.0, ignored=ignored)
        self.hosts.fleet = self.mover.fleet
        asyncio.run(self._fill())

    async def _fill(self) -> None:
        for number in (1, 2, 3):
            metadata = Metadata(name=f"n{number}", labels={"rack": "x"}, annotations={"note": "keep"})
            bgp = NodeBGPSpec(ipv4_address=f"10.0.0.{number}/24")
            await self.store.create(Node(kind="Node", metadata=metadata, spec=NodeSpec(bgp=bgp)))
        spec = BGPPeerSpec(peer_ip="192.0.2.1", as_number=65001)
        await self.store.create(BGPPeer(kind="BGPPeer", metadata=Metadata(name="tor"), spec=spec))
        found = await self.backend.get(NODES + "n1")
        assert found is not None
        stored = json.loads(found.value)
        stored["spec"]["bgp"]["fieldOfTomorrow"] = 1
        await self.backend.txn([Op(NODES + "n1", json.dumps(stored).encode())])

    def raw(self) -> dict[str, bytes]:
        return {item.key: item.value for item in asyncio.run(self.backend.list("/")).items}

    def plain(self) -> dict[str, Any]:
        """What is stored, without the mesh's setting, which the first move writes down."""
        return {key: json.loads(value) for key, value in self.raw().items() if "bgpconfigurations" not in key}

    def run(self, derive: Callable[[Fleet], list[Step]]) -> list[str]:
        return [step.kind for step in asyncio.run(self.mover.run(derive))]

    def fleet(self) -> Fleet:
        return asyncio.run(self.mover.fleet())


def adding(*nodes: str) -> Callable[[Fleet], list[Step]]:
    return lambda fleet: steps_to_add(fleet, Wanted(nodes=nodes, cluster_id=ID))


def test_there_and_back_again_leaves_nothing() -> None:
    shelf = Shelf()
    before = shelf.plain()
    assert shelf.run(adding("n1", "n2")) == ["create-peering", "join", "reflect", "join", "reflect"]
    assert shelf.run(steps_to_reflectors) == ["mesh-off"]
    fleet = shelf.fleet()
    assert (fleet.mesh, fleet.members) == (False, {"n1": ID, "n2": ID})
    changed = {key.rpartition("/")[2] for key, value in shelf.plain().items() if before.get(key) != value}
    assert changed == {"n1", "n2", peering_name(ID)}
    assert shelf.run(steps_to_mesh)[0] == "mesh-on"
    assert shelf.plain() == before
    assert shelf.fleet().mesh


def test_a_node_keeps_what_else_it_has() -> None:
    shelf = Shelf()
    shelf.run(adding("n1", "n2"))
    stored = json.loads(shelf.raw()[NODES + "n1"])
    assert stored["metadata"]["labels"] == {"rack": "x", REFLECTOR_LABEL: ID}
    assert stored["metadata"]["annotations"] == {"note": "keep"}
    expected = {"ipv4Address": "10.0.0.1/24", "routeReflectorClusterID": ID, "fieldOfTomorrow": 1}
    assert stored["spec"]["bgp"] == expected


def test_no_session_is_changed_while_a_host_is_silent_unless_it_is_ignored() -> None:
    shelf = Shelf()
    before = shelf.plain()
    shelf.hosts.silent = {"n3"}
    with pytest.raises(NotSafe, match=r"not done: join n1 .*: n3 says nothing"):
        shelf.run(adding("n1", "n2"))
    changed = {key.rpartition("/")[2] for key, value in shelf.plain().items() if before.get(key) != value}
    assert changed == {peering_name(ID)}
    deaf = Shelf(ignored=frozenset({"n3"}))
    deaf.hosts.silent = {"n3"}
    assert deaf.run(adding("n1", "n2"))[-1] == "reflect"
    assert deaf.run(steps_to_reflectors) == ["mesh-off"]
