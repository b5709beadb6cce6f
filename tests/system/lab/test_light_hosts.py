"""Two dozen light hosts: they come up as a mesh, and end up behind two reflectors without a kernel losing a route."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec
import pytest

from calico.bgp.reflectors.fleet import REFLECTOR_LABEL, peering_of
from calico.lab.light import LightLab, planned_texts
from calico.lab.resources import Document, lab_documents
from calico.lab.topology import Host, Topology

pytestmark = [pytest.mark.lab, pytest.mark.timeout(180), pytest.mark.xdist_group("light")]

COUNT, REFLECTORS = 22, ("h00", "h01")
CLUSTER_ID = "244.0.0.1"


@pytest.fixture(scope="module")
def lab() -> Iterator[LightLab]:
    hosts = tuple(Host(name=f"h{number:02}") for number in range(COUNT))
    with LightLab(Topology(name="lighthosts", hosts=hosts)) as lab:
        yield lab


def until(condition: Callable[[], Any], message: str) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, message
        time.sleep(0.1)


def documents(lab: LightLab, *, mesh: bool, reflect: Iterable[str] = ()) -> list[Document]:
    """The lab's resources, with the peering of a cluster in place of the mesh's sessions and these reflectors in it."""
    found = []
    for given in lab_documents(lab.layout):
        document = msgspec.json.decode(msgspec.json.encode(given))
        name = document["metadata"]["name"]
        if document["kind"] == "BGPConfiguration":
            document["spec"]["nodeToNodeMeshEnabled"] = mesh
        if document["kind"] == "Node" and name in REFLECTORS:
            document["metadata"]["labels"][REFLECTOR_LABEL] = CLUSTER_ID
            document["spec"]["bgp"]["routeReflectorClusterID"] = CLUSTER_ID if name in reflect else ""
        found.append(document)
    peering = peering_of(CLUSTER_ID, "all()", None)
    metadata = {"name": peering.metadata.name, "annotations": peering.metadata.annotations}
    return [*found, {"kind": "BGPPeer", "metadata": metadata, "spec": msgspec.to_builtins(peering.spec)}]


def test_a_mesh_comes_up_and_turns_into_reflectors_without_a_kernel_losing_a_route(lab: LightLab) -> None:
    lab.start(planned_texts(lab.layout, documents(lab, mesh=True, reflect=REFLECTORS)))
    lab.await_routes(60)
    until(lambda: lab.established() == COUNT * (COUNT - 1), "not all sessions of the mesh are established")
    assert sum(lab.memory_bytes().values()) < COUNT * 5_000_000
    with lab.watched_routes() as gone:
        lab.configure(planned_texts(lab.layout, documents(lab, mesh=False, reflect=REFLECTORS)))
        until(lambda: lab.established() == 2 * (2 * (COUNT - 2) + 1), "the mesh's sessions have not gone")
    assert gone == []
    lab.await_routes(60)


def test_on_others_than_the_reflector_nothing_changes_when_it_starts_to_reflect(lab: LightLab) -> None:
    plain = planned_texts(lab.layout)
    joined = planned_texts(lab.layout, documents(lab, mesh=True))
    assert joined == plain
    reflecting = planned_texts(lab.layout, documents(lab, mesh=True, reflect=("h01",)))
    assert [name for name in plain if reflecting[name] != plain[name]] == ["h01"]
