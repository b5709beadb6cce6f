"""The records that the Neutron side writes and the compute side reads."""

from __future__ import annotations

import json

import pytest

from calico.errors import InvalidInput
from calico.model.keys import key_path
from calico.model.meta import Metadata
from calico.model.workload import WorkloadEndpoint, WorkloadEndpointSpec
from calico.orchestrators.openstack import naming, records
from calico.orchestrators.openstack.facts import AddressPair, DhcpOption, FixedIp, HostRoute

PORT = "2f1b8a9e-0000-4000-8000-00000000000a"
DEVICE = "7c3d0c1e-0000-4000-8000-00000000000b"


def test_a_subnet_record_has_the_keys_and_names_of_networking_calico() -> None:
    record = records.SubnetRecord(
        network_id="n1",
        cidr="10.65.0.0/24",
        gateway_ip="10.65.0.1",
        host_routes=(HostRoute(destination="10.9.0.0/16", nexthop="10.65.0.7"),),
        dns_servers=("10.1.1.1",),
    )
    assert naming.subnet_key("", "s1") == "/calico/dhcp/v2/no-region/subnet/s1"
    assert naming.subnet_key("east", "s1") == "/calico/dhcp/v2/region-east/subnet/s1"
    assert json.loads(records.encode_subnet(record)) == {
        "network_id": "n1",
        "cidr": "10.65.0.0/24",
        "host_routes": [{"destination": "10.9.0.0/16", "nexthop": "10.65.0.7"}],
        "gateway_ip": "10.65.0.1",
        "dns_servers": ["10.1.1.1"],
    }
    assert records.decode_subnet(records.encode_subnet(record)) == record


def test_a_subnet_record_always_has_four_fields() -> None:
    stored = json.loads(records.encode_subnet(records.SubnetRecord(network_id="n1", cidr="fd00::/64")))
    assert stored == {"network_id": "n1", "cidr": "fd00::/64", "host_routes": [], "gateway_ip": None}


@pytest.mark.parametrize("raw", [b"", b"[]", b"{}", b'{"network_id":"n","cidr":"10.0.0.1/24"}', b'{"cidr":3}', b"\xff"])
def test_what_is_no_subnet_record_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidInput):
        records.decode_subnet(raw)


def test_unknown_fields_of_a_subnet_record_are_ignored() -> None:
    raw = b'{"network_id":"n","cidr":"10.0.0.0/24","gateway_ip":null,"host_routes":[],"later":1}'
    assert records.decode_subnet(raw) == records.SubnetRecord(network_id="n", cidr="10.0.0.0/24")


def _endpoint(annotations: dict[str, str]) -> WorkloadEndpoint:
    spec = WorkloadEndpointSpec(
        orchestrator="openstack",
        workload=DEVICE,
        node="compute-01",
        endpoint=PORT,
        interface_name=naming.tap_name(PORT),
        mac="fa:16:3e:00:00:01",
        ip_networks=("10.65.0.5/32", "fd00::5/128"),
        ipv4_gateway="10.65.0.1",
    )
    name = naming.endpoint_name("compute-01", DEVICE, PORT)
    return WorkloadEndpoint(
        metadata=Metadata(name=name, namespace=naming.namespace(), annotations=annotations), spec=spec
    )


def test_annotations_are_read_back_as_they_were_written() -> None:
    told = {
        "network_id": "n1",
        "fqdn": "vm-1.example.org",
        "fixed_ips": (FixedIp(subnet_id="s1", ip_address="10.65.0.5"),),
        "address_pairs": (
            AddressPair(ip_address="10.66.0.0/24"),
            AddressPair(ip_address="10.65.0.9", mac_address="fa:16:3e:00:00:09"),
        ),
        "dhcp_options": (DhcpOption(opt_name="bootfile-name", opt_value="pxelinux.0"),),
        "dns_search": ("example.org",),
        "mtu": 1450,
        "project_id": "p1",
        "port_security": False,
    }
    record, problems = records.read_endpoint(_endpoint(records.endpoint_annotations(**told)))  # type: ignore[arg-type]
    assert not problems
    assert {name: getattr(record, name) for name in told} == told
    assert (record.device_id, record.port_id, record.host) == (DEVICE, PORT, "compute-01")
    assert record.addresses == ("10.65.0.5", "fd00::5")


def test_an_endpoint_of_networking_calico_is_read_without_our_annotations() -> None:
    record, problems = records.read_endpoint(_endpoint({records.NETWORK_ID: "n1", records.FQDN: "vm.example.org."}))
    assert not problems
    assert (record.network_id, record.fqdn, record.fixed_ips, record.port_security, record.mtu) == (
        "n1",
        "vm.example.org",
        None,
        True,
        0,
    )


def test_an_annotation_that_cannot_be_read_counts_as_absent_and_is_named() -> None:
    wrong = {records.MTU: "many", records.FIXED_IPS: '{"a":1}', records.DNS_SEARCH: '["ok.org"]'}
    record, problems = records.read_endpoint(_endpoint(wrong))
    assert (record.mtu, record.fixed_ips, record.dns_search) == (0, None, ("ok.org",))
    assert len(problems) == 2
    assert all(name in " ".join(problems) for name in (records.MTU, records.FIXED_IPS))


@pytest.mark.parametrize(("text", "revision"), [("12", 12), ("", 0), ("-1", 0), ("x", 0), ("9" * 30, 0), ("١", 0)])
def test_the_revision_of_a_document_is_a_decimal_number_or_unknown(text: str, revision: int) -> None:
    assert records.revision_of({records.REVISION: text}) == revision


def test_names_and_keys_are_those_of_the_data_model() -> None:
    assert key_path(naming.endpoint_key("", "compute-01", "a-b", "c-d")) == (
        "/calico/resources/v3/projectcalico.org/workloadendpoints/openstack/compute--01-openstack-a--b-c--d"
    )
    assert key_path(naming.group_key("east", "g1")) == (
        "/calico/resources/v3/projectcalico.org/networkpolicies/openstack-region-east/ossg.default.g1"
    )
    assert key_path(naming.address_group_key("", "a1")) == (
        "/calico/resources/v3/projectcalico.org/networksets/openstack/osag.a1"
    )
    assert naming.address_group_label("a1") == "ag.projectcalico.org/openstack-a1"
    assert naming.label_text("X-files") == "X-files"
    assert key_path(naming.migration_key("", "h2", "a", "b")).endswith("/livemigrations/openstack/h2-openstack-a-b")
    assert naming.election_key("east") == "/calico/openstack/v2/region-east/neutron_election"
    assert naming.tap_name(PORT) == "tap2f1b8a9e-00"
    assert naming.tap_mac("FA:16:3E:01:02:03") == "fe:16:3e:01:02:03"
    assert naming.group_name_label("web servers/é") == "sg-name.projectcalico.org/openstack-web_servers"
    assert naming.group_name_label("a" * 30) == "sg-name.projectcalico.org/openstack-" + "a" * 27
    assert naming.group_name_label("—") == ""


@pytest.mark.parametrize("region", ["East", "a" * 47, "-a", "a_b", "a.b", "a/b"])
def test_a_region_that_names_no_namespace_is_refused(region: str) -> None:
    with pytest.raises(InvalidInput):
        naming.check_region(region)


@pytest.mark.parametrize("region", ["", "east", "a" * 46])
def test_a_region_that_names_a_namespace_is_taken(region: str) -> None:
    assert naming.check_region(region) == region
