"""Ports: which are endpoints, where, and what their documents say."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from calico.errors import InvalidInput
from calico.model.forwards import PORT_FORWARDS
from calico.model.livemigration import LiveMigration
from calico.model.workload import WorkloadEndpoint
from calico.orchestrators.openstack import records
from calico.orchestrators.openstack.convert import (
    Converted,
    Options,
    compare,
    convert_port,
    convert_security_group,
    endpoint_hosts,
    is_endpoint,
    to_store,
)
from calico.orchestrators.openstack.facts import (
    AddressPair,
    BandwidthLimit,
    Binding,
    DhcpOption,
    DnsAssignment,
    FixedIp,
    FloatingIp,
    Network,
    PacketRateLimit,
    PortForwarding,
    QosPolicy,
    Subnet,
)
from cloud.judged import Judge
from cloud.made import HOST, NETWORK, PROJECT, SUBNETS, group, ident, port, rule, view
from cloud.semantics import Seen

OPTIONS = Options()
PREFIX = "/calico/resources/v3/projectcalico.org"


def endpoint(converted: Converted) -> WorkloadEndpoint:
    """The one endpoint."""
    (found,) = [one.resource for one in converted.documents if isinstance(one.resource, WorkloadEndpoint)]
    return found


def codes(converted: Converted) -> list[tuple[str, str]]:
    assert all((problem.kind, problem.id) == ("port", ident("port one")) for problem in converted.problems)
    return [(problem.code, problem.severity) for problem in converted.problems]


def test_a_port_is_the_endpoint_that_networking_calico_writes() -> None:
    web = group("web servers")
    one = port(
        "one",
        "10.65.0.5",
        "fd00:65::5",
        groups=(web,),
        allowed_address_pairs=(AddressPair(ip_address="10.65.0.9"),),
        dns_assignment=(DnsAssignment(ip_address="10.65.0.5", hostname="vm", fqdn="vm.example.org."),),
    )
    floating = FloatingIp(id=ident("f"), floating_ip_address="198.18.0.5", port_id=one.id, fixed_ip_address="10.65.0.5")
    converted = convert_port(view(one, web, floating_ips=(floating,)), OPTIONS)
    (document,) = converted.documents
    assert converted.problems == ()
    device, dashed = one.device_id, one.id.replace("-", "--")
    assert document.path == (
        f"{PREFIX}/workloadendpoints/openstack/compute--01-openstack-{device.replace('-', '--')}-{dashed}"
    )
    tree = document.tree()
    assert tree["spec"] == {
        "orchestrator": "openstack",
        "workload": device,
        "node": HOST,
        "endpoint": one.id,
        "interfaceName": f"tap{one.id[:11]}",
        "mac": "fa:16:3e:00:00:01",
        "ipNetworks": ["10.65.0.5/32", "fd00:65::5/128", "10.65.0.9/32"],
        "allowedIps": ["10.65.0.9/32"],
        "ipv4Gateway": "10.65.255.254",
        "ipv6Gateway": "fd00:65::ffff",
        "ipNATs": [{"internalIP": "10.65.0.5", "externalIP": "198.18.0.5"}],
    }
    assert tree["metadata"]["labels"] == {
        f"sg.projectcalico.org/openstack-{web.id}": "web_servers",
        "sg-name.projectcalico.org/openstack-web_servers": web.id,
        "projectcalico.org/namespace": "openstack",
        "projectcalico.org/orchestrator": "openstack",
        "projectcalico.org/openstack-project-id": PROJECT.id,
        "projectcalico.org/openstack-project-name": "acme",
        "projectcalico.org/openstack-project-parent-id": "default",
        "projectcalico.org/openstack-network-name": "net",
        "projectcalico.org/openstack-network-id": NETWORK.id,
    }
    annotations = tree["metadata"]["annotations"]
    assert annotations[records.NETWORK_ID] == NETWORK.id
    assert annotations[records.FQDN] == "vm.example.org"
    assert annotations[records.REVISION] == "7"


@pytest.mark.parametrize(
    "more",
    [
        {"device_owner": "network:dhcp"},
        {"device_owner": "network:router_interface"},
        {"device_owner": "baremetal:none"},
        {"device_owner": ""},
        {"admin_state_up": False},
        {"bindings": ()},
        {"bindings": (Binding(host="", vif_type="tap"),)},
        {"bindings": (Binding(host=HOST, vif_type="unbound"),)},
        {"bindings": (Binding(host=HOST, vif_type="binding_failed"),)},
        {"bindings": (Binding(host=HOST, vif_type="ovs"),)},
        {"bindings": (Binding(host=HOST, vif_type="hw_veb", vnic_type="direct"),)},
    ],
    ids=str,
)
def test_ports_that_are_no_endpoints_have_no_documents(more: dict[str, Any]) -> None:
    one = port("one", **more)
    assert not is_endpoint(one)
    assert convert_port(view(one), OPTIONS) == Converted()


@pytest.mark.parametrize("owner", ["compute:nova", "compute:", "compute:az-2", "kuryr:container", "kuryr:container:x"])
def test_ports_of_instances_and_containers_are_endpoints(owner: str) -> None:
    assert is_endpoint(port("one", device_owner=owner))


def test_a_region_has_a_namespace_of_its_own() -> None:
    converted = convert_port(view(port("one")), Options(region="east"))
    assert "/workloadendpoints/openstack-region-east/" in converted.documents[0].path
    labels = converted.documents[0].tree()["metadata"]["labels"]
    assert labels["projectcalico.org/namespace"] == "openstack-region-east"


@pytest.mark.parametrize(
    "bindings",
    [
        (Binding(host="h1", vif_type="tap", profile={"migrating_to": "h2"}),),
        (Binding(host="h1", vif_type="tap"), Binding(host="h2", vif_type="tap", status="INACTIVE")),
        (
            Binding(host="h2", vif_type="tap", status="INACTIVE"),
            Binding(host="h1", vif_type="tap", profile={"migrating_to": "h2"}),
        ),
    ],
    ids=["by profile", "by bindings", "by both"],
)
def test_a_migrating_port_is_at_both_hosts_and_the_migration_is_told_before_the_target(bindings: Any) -> None:
    one = port("one", bindings=bindings)
    assert endpoint_hosts(one) == ("h1", ("h2",))
    source, migration, target = (document.resource for document in convert_port(view(one), OPTIONS).documents)
    assert isinstance(source, WorkloadEndpoint)
    assert isinstance(target, WorkloadEndpoint)
    assert isinstance(migration, LiveMigration)
    assert (source.spec.node, target.spec.node) == ("h1", "h2")
    assert migration.metadata.name == target.metadata.name
    assert migration.spec.source is not None
    assert migration.spec.target is not None
    ends = [migration.spec.source.workload_endpoint, migration.spec.target.workload_endpoint]
    assert [end and end.hostname for end in ends] == ["h1", "h2"]
    for end in ends:
        assert end is not None
        assert (end.orchestrator_id, end.workload_id, end.endpoint_id) == (
            "openstack", f"openstack/{one.device_id}", one.id,
        )  # fmt: skip


def test_a_migration_to_where_the_port_is_already_is_none() -> None:
    one = port("one", bindings=(Binding(host="h1", vif_type="tap", profile={"migrating_to": "h1"}),))
    assert endpoint_hosts(one) == ("h1", ())
    assert len(convert_port(view(one), OPTIONS).documents) == 1


def test_a_port_that_is_bound_at_a_target_only_is_an_endpoint_there_and_no_migration() -> None:
    bindings = (
        Binding(host="h1", vif_type="binding_failed"),
        Binding(host="h2", vif_type="tap", status="INACTIVE"),
    )
    one = port("one", bindings=bindings)
    assert is_endpoint(one)
    assert endpoint_hosts(one) == ("", ("h2",))
    assert endpoint(convert_port(view(one), OPTIONS)).spec.node == "h2"
    assert len(convert_port(view(one), OPTIONS).documents) == 1


def test_every_target_has_its_migration_in_one_order() -> None:
    others = tuple(Binding(host=f"h{n}", vif_type="tap", status="INACTIVE") for n in (9, 3, 7, 5, 2))
    one = port("one", bindings=(*others, Binding(host="h1", vif_type="tap")))
    assert endpoint_hosts(one) == ("h1", ("h2", "h3", "h5", "h7", "h9"))
    assert len(convert_port(view(one), OPTIONS).documents) == 11


@pytest.mark.parametrize("named", ["", None, 5, ["h2"]], ids=str)
def test_a_profile_that_names_no_host_is_no_migration(named: Any) -> None:
    binding = Binding(host="h1", vif_type="tap", profile={"migrating_to": named})
    nowhere = Binding(host="", vif_type="tap", status="INACTIVE")
    assert endpoint_hosts(port("one", bindings=(binding, nowhere))) == ("h1", ())


def test_a_target_that_could_not_be_bound_is_no_endpoint() -> None:
    failed = Binding(host="h2", vif_type="binding_failed", status="INACTIVE")
    assert endpoint_hosts(port("one", bindings=(Binding(host="h1", vif_type="tap"), failed))) == ("h1", ())


def test_pairs_with_prefixes_are_sources_and_single_addresses_are_routed() -> None:
    """networking-calico makes ``10.65.0.128/25/32`` of a prefix."""
    pairs = ("10.65.0.128/25", "10.65.66.1/32", "10.65.67.3", "fd00::/64", "fd00:65::7/128", "10.65.0.5")
    one = port("one", "10.65.0.5", allowed_address_pairs=tuple(AddressPair(ip_address=text) for text in pairs))
    converted = convert_port(view(one), OPTIONS)
    spec = endpoint(converted).spec
    assert spec.ip_networks == ("10.65.0.5/32", "10.65.66.1/32", "10.65.67.3/32", "fd00:65::7/128")
    assert spec.allow_spoofed_source_prefixes == ("10.65.0.128/25", "fd00::/64")
    assert converted.documents[0].extra == {"allowedIps": ["10.65.66.1/32", "10.65.67.3/32", "fd00:65::7/128"]}
    assert converted.problems == ()


def test_a_pair_outside_the_networks_subnets_draws_no_traffic_unless_the_operator_wants_it() -> None:
    """Whoever may write pairs would otherwise take over the address of a server of the fabric."""
    one = port("one", "10.65.0.5", allowed_address_pairs=(AddressPair(ip_address="192.0.2.53"),))
    converted = convert_port(view(one), OPTIONS)
    assert codes(converted) == [("pair-not-routed", "notice")]
    assert endpoint(converted).spec.ip_networks == ("10.65.0.5/32",)
    assert endpoint(converted).spec.allow_spoofed_source_prefixes == ("192.0.2.53/32",)
    wanted = convert_port(view(one), Options(route_all_pairs=True))
    assert wanted.problems == ()
    assert endpoint(wanted).spec.ip_networks == ("10.65.0.5/32", "192.0.2.53/32")


@pytest.mark.parametrize(
    "special", ["127.0.0.1", "169.254.169.254", "224.0.0.18", "fe80::1", "0.0.0.0", "::1", "255.255.255.255"]
)
def test_an_address_that_means_something_on_every_host_is_never_routed_to_an_instance(special: str) -> None:
    pairs = (AddressPair(ip_address=special),)
    paired = convert_port(view(port("one", "10.65.0.5", allowed_address_pairs=pairs)), Options(route_all_pairs=True))
    assert endpoint(paired).spec.ip_networks == ("10.65.0.5/32",)
    assert codes(paired) == [("pair-not-routed", "notice")]
    fixed = convert_port(view(port("one", "10.65.0.5", special)), OPTIONS)
    assert endpoint(fixed).spec.ip_networks == ("10.65.0.5/32",)
    assert codes(fixed) == [("address-invalid", "denied")]


def test_a_fixed_address_that_is_also_a_pair_is_still_given_out_by_dhcp() -> None:
    """networking-calico's DHCP skips it."""
    one = port("one", "10.65.0.5", allowed_address_pairs=(AddressPair(ip_address="10.65.0.5"),))
    converted = convert_port(view(one), OPTIONS)
    record, _ = records.read_endpoint(endpoint(converted))
    assert record.fixed_ips == one.fixed_ips
    assert converted.documents[0].extra == {}


def test_the_macs_of_pairs_are_kept_unless_they_are_the_ports_own() -> None:
    pairs = (
        AddressPair(ip_address="10.66.0.1", mac_address="FA:16:3E:00:00:01"),
        AddressPair(ip_address="10.66.0.2", mac_address="fa:16:3e:00:00:99"),
    )
    record, _ = records.read_endpoint(endpoint(convert_port(view(port("one", allowed_address_pairs=pairs)), OPTIONS)))
    assert [pair.mac_address for pair in record.address_pairs] == ["", "fa:16:3e:00:00:99"]


def test_a_pair_lets_an_instance_send_and_a_prefix_only_from_within() -> None:
    everything = group("all", rule("egress"))
    one = port(
        "one",
        "10.65.0.5",
        groups=(everything,),
        allowed_address_pairs=(AddressPair(ip_address="10.66.0.1"), AddressPair(ip_address="10.67.0.0/24")),
    )
    judge = Judge([convert_port(view(one, everything), OPTIONS), convert_security_group(everything, OPTIONS)])
    sent = {
        source: judge.forwards(one, None, Seen(source, "198.51.100.7", 6, 80))
        for source in ("10.65.0.5", "10.66.0.1", "10.67.0.77", "10.67.1.1", "10.65.0.6")
    }
    assert sent == {
        "10.65.0.5": True, "10.66.0.1": True, "10.67.0.77": True, "10.67.1.1": False, "10.65.0.6": False,
    }  # fmt: skip


def test_without_port_security_everything_passes_and_groups_do_not_count() -> None:
    closed = group("closed")
    one = port("one", groups=(closed,), port_security_enabled=False)
    converted = convert_port(view(one, closed), OPTIONS)
    found = endpoint(converted)
    assert found.spec.profiles == ("projectcalico-default-allow",)
    assert not [label for label in found.metadata.labels if label.startswith(("sg.", "sg-name."))]
    assert records.read_endpoint(found)[0].port_security is False
    judge = Judge([converted, convert_security_group(closed, OPTIONS)])
    assert judge.forwards(None, one, Seen("198.51.100.7", "10.65.0.1", 6, 80))
    assert judge.forwards(one, None, Seen("10.99.0.1", "198.51.100.7", 47))


def test_with_port_security_and_no_group_nothing_passes() -> None:
    one = port("one")
    judge = Judge([convert_port(view(one), OPTIONS)])
    assert not judge.forwards(None, one, Seen("198.51.100.7", "10.65.0.1", 6, 80))
    assert not judge.forwards(one, None, Seen("10.65.0.1", "198.51.100.7", 6, 80))


def test_an_endpoint_without_policy_of_its_group_lets_nothing_pass() -> None:
    """As long as the group's policy has not been written."""
    everything = group("all", rule("egress"), rule("ingress"))
    one = port("one", groups=(everything,))
    judge = Judge([convert_port(view(one, everything), OPTIONS)])
    assert not judge.forwards(None, one, Seen("198.51.100.7", "10.65.0.1", 6, 80))


def test_floating_addresses_are_in_one_order_and_lead_to_fixed_addresses_only() -> None:
    one = port("one", "10.65.0.5", "10.65.0.6")
    pairs = [("198.18.0.9", "10.65.0.5"), ("198.18.0.1", "10.65.0.6"), ("198.18.0.3", "10.65.0.5")]
    floating = tuple(
        FloatingIp(id=ident(external), floating_ip_address=external, port_id=one.id, fixed_ip_address=own)
        for external, own in [*pairs, ("198.18.0.4", "10.65.0.99"), ("198.18.0.5", "")]
    )
    converted = convert_port(view(one, floating_ips=floating), OPTIONS)
    assert [(nat.internal_ip, nat.external_ip) for nat in endpoint(converted).spec.ip_nats] == [
        ("10.65.0.5", "198.18.0.3"), ("10.65.0.5", "198.18.0.9"), ("10.65.0.6", "198.18.0.1"),
    ]  # fmt: skip
    assert codes(converted) == [("floating-ip-astray", "denied")]


def forwarding(name: str = "pf", **fields: str) -> PortForwarding:
    given = {
        "floating_ip_address": "198.18.0.1", "protocol": "tcp", "external_port": "2222",
        "internal_ip_address": "10.65.0.5", "internal_port": "22", **fields,
    }  # fmt: skip
    return PortForwarding(id=ident(name), floating_ip_id=ident("f"), internal_port_id=ident("one"), **given)


def forwards(converted: Converted) -> list[tuple[str, int, int]]:
    text = endpoint(converted).metadata.annotations.get(PORT_FORWARDS, "[]")
    return [(each["protocol"], each["externalPort"], each["internalPort"]) for each in json.loads(text)]


def test_forwarded_ports_are_told_one_by_one() -> None:
    given = (forwarding(), forwarding("pf2", protocol="udp", external_port="8000:8002", internal_port="53:55"))
    converted = convert_port(view(port("one", "10.65.0.5"), port_forwardings=given), OPTIONS)
    assert codes(converted) == []
    assert forwards(converted) == [("tcp", 2222, 22), ("udp", 8000, 53), ("udp", 8001, 54), ("udp", 8002, 55)]
    (written,) = converted.documents
    assert compare(written, to_store(written, None, uid="u", created="2026-01-01T00:00:00Z")).verdict == "unchanged"


@pytest.mark.parametrize(
    "wrong",
    [
        {"protocol": "icmp"},
        {"external_port": "80:81"},
        {"external_port": "0", "internal_port": "0"},
        {"internal_ip_address": "10.65.0.9"},
        {"external_port": "1000:3000", "internal_port": "1000:3000"},
    ],
)
def test_a_forward_that_cannot_be_translated_is_denied_and_others_stay(wrong: dict[str, str]) -> None:
    given = (forwarding(), forwarding("pf2", **{"external_port": "80", **wrong}))
    converted = convert_port(view(port("one", "10.65.0.5"), port_forwardings=given), OPTIONS)
    assert codes(converted) == [("port-forwarding-invalid", "denied")]
    assert forwards(converted) == [("tcp", 2222, 22)]


def test_all_forwards_of_an_address_lead_from_one_host() -> None:
    one = port("one", "10.65.0.5")
    for host, expected in ((one.bindings[0].host, []), ("elsewhere", [("port-forwarding-elsewhere", "denied")])):
        converted = convert_port(view(one, port_forwardings=(forwarding(host=host),)), OPTIONS)
        assert codes(converted) == expected
        assert len(forwards(converted)) == 1 - len(expected)


def test_limits_are_neutrons_in_calicos_units() -> None:
    policy = QosPolicy(
        id=ident("qos"),
        bandwidth_limits=(
            BandwidthLimit(direction="egress", max_kbps=1000, max_burst_kbps=800),
            BandwidthLimit(direction="ingress", max_kbps=2000),
        ),
        packet_rate_limits=(PacketRateLimit(direction="ingress", max_kpps=2, max_burst_kpps=1),),
        dscp_mark=26,
    )
    converted = convert_port(view(port("one"), qos=policy), Options(egress_max_connections=500))
    assert converted.documents[0].tree()["spec"]["qosControls"] == {
        "egressBandwidth": 1_000_000,
        "egressBurst": 800_000,
        "ingressBandwidth": 2_000_000,
        "ingressPacketRate": 2000,
        "ingressPacketBurst": 1000,
        "egressMaxConnections": 500,
        "dscp": 26,
    }
    assert converted.problems == ()


def test_the_burst_may_be_read_as_networking_calico_reads_it() -> None:
    policy = QosPolicy(
        id=ident("qos"), bandwidth_limits=(BandwidthLimit(direction="egress", max_kbps=1000, max_burst_kbps=2000),)
    )
    controls = endpoint(convert_port(view(port("one"), qos=policy), Options(burst_is_peak=True))).spec.qos_controls
    assert controls is not None
    assert (controls.egress_bandwidth, controls.egress_burst, controls.egress_peakrate) == (1_000_000, 0, 2_000_000)


def test_a_peak_below_its_bandwidth_is_left_out_and_told() -> None:
    policy = QosPolicy(
        id=ident("qos"), bandwidth_limits=(BandwidthLimit(direction="egress", max_kbps=1000, max_burst_kbps=800),)
    )
    converted = convert_port(view(port("one"), qos=policy), Options(burst_is_peak=True))
    controls = endpoint(converted).spec.qos_controls
    assert controls is not None
    assert (controls.egress_bandwidth, controls.egress_peakrate) == (1_000_000, 0)
    assert codes(converted) == [("qos-out-of-bounds", "notice")]


def test_limits_that_calico_has_not_are_told() -> None:
    policy = QosPolicy(
        id=ident("qos"),
        packet_rate_limits=(
            PacketRateLimit(direction="egress", max_kpps=50),
            PacketRateLimit(direction="both", max_kpps=1),
        ),
        bandwidth_limits=(BandwidthLimit(direction="any", max_kbps=5),),
        unsupported=("minimum_bandwidth",),
    )
    floating = FloatingIp(
        id=ident("f"), floating_ip_address="198.18.0.1", port_id=ident("port one"), fixed_ip_address="10.65.0.1"
    )
    converted = convert_port(
        view(port("one"), qos=policy, floating_ips=(floating,), floating_qos={floating.id: policy}), OPTIONS
    )
    assert sorted(codes(converted)) == [("qos-out-of-bounds", "notice")] + [("qos-unsupported", "notice")] * 4
    controls = endpoint(converted).spec.qos_controls
    assert controls is not None
    assert (controls.egress_packet_rate, controls.egress_bandwidth) == (10000, 0)
    assert "minimum_bandwidth" in endpoint(converted).metadata.annotations[records.PROBLEMS]


def test_dhcp_is_told_all_it_needs() -> None:
    network = Network(id=NETWORK.id, name="net", mtu=1400, dns_domain="net.example.org.")
    one = port(
        "one",
        "10.65.0.5",
        extra_dhcp_opts=(DhcpOption(opt_name="bootfile-name", opt_value="x"),),
        dns_assignment=(DnsAssignment(ip_address="10.65.0.5", fqdn="vm.openstacklocal."),),
    )
    record, problems = records.read_endpoint(endpoint(convert_port(view(one, network=network), OPTIONS)))
    assert problems == ()
    assert record.mtu == 1400
    assert record.dns_search == ("net.example.org", "openstacklocal")
    assert record.dhcp_options == one.extra_dhcp_opts
    assert record.fixed_ips == one.fixed_ips
    assert record.project_id == PROJECT.id


def test_a_family_without_gateway_has_none() -> None:
    subnets = (Subnet(id=SUBNETS[0].id, network_id=NETWORK.id, cidr="10.65.0.0/16"),)
    spec = endpoint(convert_port(view(port("one", "10.65.0.1"), subnets=subnets), OPTIONS)).spec
    assert (spec.ipv4_gateway, spec.ipv6_gateway) == ("", "")


def test_the_first_address_whose_subnet_has_a_gateway_gives_it() -> None:
    subnets = tuple(
        Subnet(id=ident(f"s{n}"), network_id=NETWORK.id, cidr=f"10.{n}.0.0/16", gateway_ip=f"10.{n}.0.254" if n else "")
        for n in range(4)
    )
    fixed = tuple(FixedIp(subnet_id=ident(f"s{n}"), ip_address=f"10.{n}.0.1") for n in (3, 0, 2, 1, 9))
    spec = endpoint(convert_port(view(port("one", fixed_ips=fixed), subnets=subnets), OPTIONS)).spec
    assert spec.ipv4_gateway == "10.1.0.254"
    assert spec.ip_networks == tuple(f"10.{n}.0.1/32" for n in (0, 1, 2, 3, 9))


@pytest.mark.parametrize("seed", range(5))
def test_the_order_in_which_facts_come_makes_no_other_document(seed: int) -> None:
    groups = tuple(group(name) for name in ("a", "b", "c", "d"))
    floating = tuple(
        FloatingIp(
            id=ident(f"f{n}"), floating_ip_address=f"198.18.0.{n}", port_id=ident("port one"), fixed_ip_address=own
        )
        for n, own in ((1, "10.65.0.2"), (2, "10.65.0.1"), (3, "10.65.0.2"))
    )
    pairs = [("10.65.7.7", ""), ("10.77.0.0/16", ""), ("10.65.7.9", ""), ("10.65.7.7", "fa:16:3e:00:00:77")]
    options = [("router", "1.1.1.1"), ("mtu", "1400"), ("mtu", "1300"), ("bootfile-name", "x")]
    facts: dict[str, tuple[Any, ...]] = {
        "fixed_ips": tuple(
            FixedIp(subnet_id=SUBNETS[":" in text].id, ip_address=text)
            for text in ("10.65.0.1", "10.65.0.2", "fd00:65::2", "fd00:65::1", "10.65.0.10")
        ),
        "allowed_address_pairs": tuple(AddressPair(ip_address=text, mac_address=mac) for text, mac in pairs),
        "extra_dhcp_opts": tuple(DhcpOption(opt_name=name, opt_value=value) for name, value in options),
        "security_groups": tuple(one.id for one in groups),
    }
    rng = random.Random(seed)
    shuffled = {name: tuple(rng.sample(values, len(values))) for name, values in facts.items()}
    first = convert_port(view(port("one", **facts), *groups, floating_ips=floating), OPTIONS)
    second = convert_port(
        view(port("one", **shuffled), *groups[::-1], floating_ips=tuple(rng.sample(floating, 3))), OPTIONS
    )
    assert first.documents[0].tree() == second.documents[0].tree()
    assert first.problems == second.problems == ()


def test_many_floating_addresses_are_in_the_order_of_their_values() -> None:
    one = port("one", "10.65.0.5")
    floating = tuple(
        FloatingIp(id=ident(f"f{n}"), floating_ip_address=f"198.18.0.{n}", port_id=owner, fixed_ip_address="10.65.0.5")
        for n in (100, 9, 20, 3, 77, 10)
        for owner in (one.id, "")
    )
    anothers = FloatingIp(
        id=ident("f"), floating_ip_address="198.18.0.1", port_id=ident("port two"), fixed_ip_address="10.65.0.5"
    )
    converted = convert_port(view(one, floating_ips=(anothers, *floating)), OPTIONS)
    assert [nat.external_ip for nat in endpoint(converted).spec.ip_nats] == [
        f"198.18.0.{n}" for n in (3, 9, 10, 20, 77, 100)
    ]
    assert converted.problems == ()


def test_labels_say_nothing_of_what_is_not_known() -> None:
    network = Network(id=NETWORK.id)
    labels = endpoint(convert_port(view(port("one"), project=None, network=network), OPTIONS)).metadata.labels
    assert labels == {
        "projectcalico.org/openstack-project-id": PROJECT.id,
        "projectcalico.org/openstack-network-id": NETWORK.id,
    }


def test_the_first_assigned_name_counts() -> None:
    names = tuple(DnsAssignment(ip_address="10.65.0.1", fqdn=fqdn) for fqdn in ("", "Xvm.example.X.", "other.org"))
    record, _ = records.read_endpoint(endpoint(convert_port(view(port("one", dns_assignment=names)), OPTIONS)))
    assert record.fqdn == "Xvm.example.X"
    unnamed = endpoint(convert_port(view(port("one", dns_assignment=names[:1])), OPTIONS))
    assert records.FQDN not in unnamed.metadata.annotations


def test_a_subnet_that_is_none_does_not_stop_its_ports() -> None:
    wrong = Subnet(id=SUBNETS[0].id, network_id=NETWORK.id, cidr="nonsense", gateway_ip="10.65.0.254")
    subnets = (wrong, SUBNETS[1])
    converted = convert_port(view(port("one", "10.65.0.1"), subnets=subnets), OPTIONS)
    assert endpoint(converted).spec.ipv4_gateway == "10.65.0.254"
    assert converted.problems == ()


def test_two_groups_of_one_name_keep_both_memberships() -> None:
    twins = group("twin"), group("twin", id=ident("second twin"))
    labels = endpoint(convert_port(view(port("one", groups=twins), *twins), OPTIONS)).metadata.labels
    assert {label for label in labels if label.startswith("sg.")} == {
        f"sg.projectcalico.org/openstack-{one.id}" for one in twins
    }
    assert labels["sg-name.projectcalico.org/openstack-twin"] == min(one.id for one in twins)


def test_a_renamed_group_changes_the_labels_of_its_ports_and_not_its_policy() -> None:
    before, after = group("before", id=ident("g")), group("after", id=ident("g"))
    one = port("one", groups=(before,))
    labels = [endpoint(convert_port(view(one, named), OPTIONS)).metadata.labels for named in (before, after)]
    assert [found[f"sg.projectcalico.org/openstack-{before.id}"] for found in labels] == ["before", "after"]
    policies = [convert_security_group(named, OPTIONS).documents[0].tree() for named in (before, after)]
    assert policies[0] == policies[1]


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"device_id": ""}, "endpoint-unnamed"),
        ({"device_id": "-x"}, "endpoint-unnamed"),
        ({"bindings": (Binding(host="Upper", vif_type="tap"),)}, "document-invalid"),
        ({"device_id": "x" * 300}, "document-invalid"),
        ({"mac_address": "not a mac"}, "document-invalid"),
    ],
    ids=str,
)
def test_a_port_that_cannot_be_written_is_named_and_not_written(more: dict[str, Any], code: str) -> None:
    converted = convert_port(view(port("one", **more)), OPTIONS)
    assert converted.documents == ()
    assert codes(converted) == [(code, "denied")]
    assert converted.problems[0].text


def test_addresses_that_are_none_are_left_out_and_told() -> None:
    one = port("one", "10.65.0.5", "nonsense", allowed_address_pairs=(AddressPair(ip_address="10.0.0.0/40"),))
    converted = convert_port(view(one), OPTIONS)
    assert codes(converted) == [("address-invalid", "denied")] * 2
    assert endpoint(converted).spec.ip_networks == ("10.65.0.5/32",)


def test_a_port_with_the_network_of_another_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(InvalidInput, match=r"network\.id"):
        convert_port(view(port("one"), network=Network(id="other")), OPTIONS)
