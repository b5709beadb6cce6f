import pytest

from calico.lab.addressing import plan_layout
from calico.lab.registrar import to_resource
from calico.lab.resources import endpoint_document, lab_documents
from calico.lab.topology import Fabric, Host, Port, Topology, Workload


def documents(topology):
    layout = plan_layout(topology)
    return {
        (d["kind"], d["metadata"]["name"]): d
        for d in [*lab_documents(layout), *map(endpoint_document, layout.workloads)]
    }


def topology(**fields):
    return Topology(
        name="t",
        **{"hosts": (Host(name="h-1"), Host(name="h-2")), "workloads": (Workload(name="w", host="h-1"),), **fields},
    )


@pytest.mark.parametrize(
    "wanted",
    [
        topology(),
        topology(hosts=(Host(name="h-1", reflector=True), Host(name="h-2"))),
        topology(fabric=Fabric(type="routed"), hosts=(Host(name="h-1", rack="a"), Host(name="h-2", rack="b"))),
    ],
)
def test_every_document_is_a_valid_resource(wanted):
    for document in documents(wanted).values():
        assert to_resource(document).metadata.name == document["metadata"]["name"]


def test_an_l2_lab_is_a_full_mesh_that_also_peers_with_its_router():
    found = documents(topology())
    assert found["BGPConfiguration", "default"]["spec"]["nodeToNodeMeshEnabled"] is True
    assert found["BGPPeer", "router-v4"]["spec"] == {
        "peerIP": "10.240.0.1",
        "asNumber": 65000,
        "keepOriginalNextHop": True,
    }


def test_reflectors_replace_the_mesh_and_alone_peer_with_the_router():
    found = documents(topology(hosts=(Host(name="h-1", reflector=True), Host(name="h-2"))))
    assert found["BGPConfiguration", "default"]["spec"]["nodeToNodeMeshEnabled"] is False
    assert found["BGPPeer", "reflectors"]["spec"]["peerSelector"] == "has(route-reflector)"
    assert found["BGPPeer", "router-v6"]["spec"]["nodeSelector"] == "has(route-reflector)"
    assert found["Node", "h-1"]["spec"]["bgp"]["routeReflectorClusterID"]
    assert "routeReflectorClusterID" not in found["Node", "h-2"]["spec"]["bgp"]


def test_hosts_of_a_rack_peer_with_their_tor_only():
    found = documents(
        topology(fabric=Fabric(type="routed"), hosts=(Host(name="h-1", rack="a"), Host(name="h-2", rack="b")))
    )
    peers = {name: d["spec"] for (kind, name), d in found.items() if kind == "BGPPeer"}
    assert set(peers) == {"tor-a-v4", "tor-a-v6", "tor-b-v4", "tor-b-v6"}
    assert peers["tor-b-v4"]["nodeSelector"] == "rack == 'b'"
    assert found["Node", "h-2"]["metadata"]["labels"]["rack"] == "b"
    assert found["BGPConfiguration", "default"]["spec"]["nodeToNodeMeshEnabled"] is False


@pytest.mark.parametrize(("orchestrator", "name"), [("cni", "h--1-cni-w--x-eth0"), ("k8s", "h--1-k8s-w--x-eth0")])
def test_an_endpoint_is_named_as_its_orchestrator_would_name_it(orchestrator, name):
    workload = Workload(name="w-x", host="h-1", orchestrator=orchestrator, ports=(Port(name="http", port=80),))
    document = documents(topology(workloads=(workload,)))["WorkloadEndpoint", name]
    assert document["spec"]["ipNetworks"] == ["10.65.0.1/32", "fd65::1/128"]
    assert document["spec"]["ports"] == [{"name": "http", "protocol": "TCP", "port": 80}]


def test_the_open_profile_exists_only_where_it_is_used():
    assert ("Profile", "lab-open") in documents(topology())
    closed = (Workload(name="w", host="h-1", profiles=("mine",)),)
    assert ("Profile", "lab-open") not in documents(topology(workloads=closed))
