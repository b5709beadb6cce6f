import msgspec
import pytest

from calico.errors import InvalidInput
from calico.lab.topology import Topology, parse_topology, to_document

MINIMAL = "name: t\nhosts: [{name: h1}]\n"


def refused(text: str) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        parse_topology(text)
    return caught.value


def test_a_name_and_one_host_make_a_topology():
    topology = parse_topology(MINIMAL)
    assert (topology.name, [h.name for h in topology.hosts], topology.fabric.type) == ("t", ["h1"], "l2")


def test_a_given_name_replaces_the_one_in_the_file():
    assert parse_topology(MINIMAL, name="other").name == "other"


def test_a_topology_survives_being_written_and_read_back():
    text = MINIMAL + "workloads: [{name: w, host: h1, labels: {app: web}, ports: [{name: http, port: 80}]}]\n"
    topology = parse_topology(text)
    assert msgspec.convert(to_document(topology), Topology) == topology


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("name: t\nhosts: [{name: h1, colour: red}]\n", "hosts[0]"),
        ("name: t\nhosts: [{name: h1, as: many}]\n", "hosts[0].as"),
        ("name: t\nhosts: []\n", "hosts"),
        ("name: a-b\nhosts: [{name: h1}]\n", "name"),
        ("name: t\nhosts: [{name: h1}, {name: h1}]\n", "hosts[1].name"),
        ("name: t\nhosts: [{name: gw}]\n", "hosts[0].name"),
        ("name: t\nhosts: [{name: tor-a}]\n", "hosts[0].name"),
        (MINIMAL + "workloads: [{name: w, host: nowhere}]\n", "workloads[0].host"),
        (MINIMAL + "workloads: [{name: h1, host: h1}]\n", "workloads[0].name"),
        (MINIMAL + "workloads: [{name: w, host: h1, addresses: [10.0.0]}]\n", "workloads[0].addresses[0]"),
        (MINIMAL + "workloads: [{name: w, host: h1, ports: [{name: x, port: 0}]}]\n", "workloads[0].ports[0].port"),
        (MINIMAL + "pools: [{cidr: 10.0.0.1/8}]\n", "pools[0].cidr"),
        (MINIMAL + "etcd: {members: 2}\n", "etcd.members"),
        (MINIMAL + "fabric: {type: routed}\n", "hosts[0].rack"),
        (MINIMAL + "fabric: {subnet: 'fd00::/64'}\n", "fabric.subnet"),
        (MINIMAL + "resources: [{metadata: {name: x}}]\n", "resources[0].kind"),
    ],
)
def test_a_mistake_is_refused_by_the_name_of_its_field(text, field):
    assert refused(text).field == field


def test_an_address_may_be_used_once_only_however_it_is_written():
    text = MINIMAL + (
        "workloads: [{name: a, host: h1, addresses: ['fd00::1']}, {name: b, host: h1, addresses: ['fd00:0::1']}]\n"
    )
    error = refused(text)
    assert error.field == "workloads[1].addresses[0]"
    assert "a" in error.message


def test_a_route_reflector_has_no_place_behind_a_tor():
    assert refused("name: t\nfabric: {type: routed}\nhosts: [{name: h, rack: a, reflector: true}]\n").field == (
        "hosts[0].reflector"
    )


@pytest.mark.parametrize("text", ["[1, 2]", "just words", "", "name: [", "name: t\nhosts: {name: h}"])
def test_what_is_not_a_topology_is_refused(text):
    assert refused(text).subject == "topology"
