"""API calls of a real Neutron, and what etcdctl finds then."""

from __future__ import annotations

import json
from typing import Any

import pytest

from functional.openstack.cloud import Cloud, annotation
from stack.client import ApiError
from stack.stack import Stack

_ROOT = "/calico/resources/v3/projectcalico.org/"

pytestmark = [pytest.mark.neutron, pytest.mark.timeout(600)]


def test_a_bound_port_is_an_endpoint_that_its_groups_select(cloud: Cloud) -> None:
    host = cloud.host()
    network, subnet = cloud.network()
    port = cloud.port(network, host)
    assert port["binding:vif_type"] == "tap"
    details = port["binding:vif_details"]
    assert (details["connectivity"], details["port_filter"]) == ("l3", True)
    assert details["mac_address"] == "fe" + port["mac_address"][2:]
    endpoint = cloud.endpoint(port)
    (group,) = port["security_groups"]
    spec = endpoint["spec"]
    assert (spec["node"], spec["workload"], spec["endpoint"]) == (host.name, port["device_id"], port["id"])
    assert spec["interfaceName"] == f"tap{port['id'][:11]}"
    assert spec["ipNetworks"] == [f"{port['fixed_ips'][0]['ip_address']}/32"]
    assert spec["ipv4Gateway"] == subnet["gateway_ip"]
    assert endpoint["metadata"]["labels"][f"sg.projectcalico.org/openstack-{group}"] == "default"
    policy = cloud.policy(group)
    assert policy["spec"]["selector"] == f"has(sg.projectcalico.org/openstack-{group})"
    assert {rule["source"]["selector"] for rule in policy["spec"]["ingress"]} == {policy["spec"]["selector"]}
    prefix = "/calico/resources/v3/projectcalico.org/"
    written = cloud.revision(f"{prefix}workloadendpoints/openstack/{endpoint['metadata']['name']}")
    assert cloud.revision(f"{prefix}networkpolicies/openstack/ossg.default.{group}") < written


def test_ports_that_are_not_of_instances_or_not_bound_have_no_endpoint(cloud: Cloud) -> None:
    host = cloud.host()
    network, _ = cloud.network()
    unbound = cloud.api.create("port", network_id=network["id"])
    service = cloud.port(network, host, device_owner="network:dhcp")
    nowhere = cloud.port(network, "no-such-host")
    direct = cloud.port(network, host, **{"binding:vnic_type": "direct"})
    assert nowhere["binding:vif_type"] == direct["binding:vif_type"] == "binding_failed"
    for port in (unbound, service, nowhere, direct):
        assert cloud.endpoints(port) == {}


def test_everything_that_is_deleted_is_gone_from_etcd(cloud: Cloud) -> None:
    host = cloud.host()
    network, subnet = cloud.network()
    group = cloud.api.create("security_group", name="short-lived")
    port = cloud.port(network, host, security_groups=[group["id"]])
    assert cloud.endpoint(port)
    assert cloud.policy(group["id"])
    assert subnet["id"] in cloud.stack.stored("/calico/dhcp/v2/no-region/subnet/")
    cloud.api.delete("port", port["id"])
    cloud.api.delete("security_group", group["id"])
    cloud.api.delete("subnet", subnet["id"])
    assert cloud.endpoints(port) == {}
    assert cloud.policy(group["id"]) is None
    assert subnet["id"] not in cloud.stack.stored("/calico/dhcp/v2/no-region/subnet/")


def test_rules_and_names_of_groups_follow_without_touching_what_they_do_not_concern(cloud: Cloud) -> None:
    host = cloud.host()
    network, _ = cloud.network()
    group = cloud.api.create("security_group", name="before")
    port = cloud.port(network, host, security_groups=[group["id"]])
    name = cloud.endpoint(port)["metadata"]["name"]
    key = f"/calico/resources/v3/projectcalico.org/workloadendpoints/openstack/{name}"
    written = cloud.revision(key)
    rule = cloud.api.create(
        "security_group_rule",
        security_group_id=group["id"],
        direction="ingress",
        protocol="6",
        port_range_min=22,
        port_range_max=23,
        remote_ip_prefix="192.0.2.0/24",
    )
    (ingress,) = cloud.policy(group["id"])["spec"]["ingress"]
    assert ingress["protocol"] == "TCP"
    assert ingress["source"]["nets"] == ["192.0.2.0/24"]
    assert ingress["destination"]["ports"] == ["22:23"]
    cloud.api.delete("security_group_rule", rule["id"])
    assert cloud.policy(group["id"])["spec"].get("ingress", []) == []
    assert cloud.revision(key) == written
    cloud.api.update("security_group", group["id"], name="after")
    labels = cloud.endpoint(port)["metadata"]["labels"]
    assert labels[f"sg.projectcalico.org/openstack-{group['id']}"] == "after"
    assert "sg-name.projectcalico.org/openstack-before" not in labels


def test_an_address_group_is_one_set_that_rules_name(cloud: Cloud) -> None:
    addresses = cloud.api.create("address_group", name="friends", addresses=["192.0.2.1/32", "2001:db8::/64"])
    group = cloud.api.create("security_group", name="for friends")
    cloud.api.create(
        "security_group_rule",
        security_group_id=group["id"],
        direction="ingress",
        remote_address_group_id=addresses["id"],
    )
    (rule,) = cloud.policy(group["id"])["spec"]["ingress"]
    assert addresses["id"] in rule["source"]["selector"]
    assert set(cloud.stack.resources("networksets")[f"osag.{addresses['id']}"]["spec"]["nets"]) == {
        "192.0.2.1/32",
        "2001:db8::/64",
    }
    cloud.api.call("PUT", f"address-groups/{addresses['id']}/remove_addresses", {"addresses": ["192.0.2.1/32"]})
    cloud.stack.settle()
    assert cloud.stack.resources("networksets")[f"osag.{addresses['id']}"]["spec"]["nets"] == ["2001:db8::/64"]


def test_port_security_pairs_options_and_names_follow(cloud: Cloud) -> None:
    host = cloud.host()
    network, _ = cloud.network()
    port = cloud.port(
        network,
        host,
        allowed_address_pairs=[{"ip_address": "10.250.0.0/25"}, {"ip_address": "10.250.1.1"}],
        extra_dhcp_opts=[{"opt_name": "bootfile-name", "opt_value": "pxe.0"}],
    )
    endpoint = cloud.endpoint(port)
    assert "10.250.0.0/25" in annotation(endpoint, "address-pairs")
    assert "pxe.0" in annotation(endpoint, "dhcp-options")
    cloud.api.update("network", network["id"], name="renamed")
    labels = cloud.endpoint(port)["metadata"]["labels"]
    assert labels["projectcalico.org/openstack-network-name"] == "renamed"
    cloud.api.update("port", port["id"], security_groups=[], allowed_address_pairs=[], port_security_enabled=False)
    endpoint = cloud.endpoint(port)
    assert annotation(endpoint, "port-security") == "disabled"
    assert not any(label.startswith("sg.") for label in endpoint["metadata"]["labels"])


def test_an_address_pair_in_another_subnet_of_the_network_is_routed(cloud: Cloud) -> None:
    network, _ = cloud.network()
    other = cloud.subnet(network)["cidr"].rpartition(".")[0] + ".30"
    (subnet, *_) = cloud.api.show("network", network["id"])["subnets"]
    fixed = [{"subnet_id": subnet}]
    pairs = [{"ip_address": other}, {"ip_address": "203.0.113.9"}]
    port = cloud.port(network, cloud.host(), fixed_ips=fixed, allowed_address_pairs=pairs)
    assert cloud.endpoint(port)["spec"]["ipNetworks"] == [f"{port['fixed_ips'][0]['ip_address']}/32", f"{other}/32"]


def test_an_address_pair_is_routed_as_long_as_a_subnet_has_it_that_came_after_the_port(cloud: Cloud) -> None:
    network, first = cloud.network()
    pair = first["cidr"].rpartition(".")[0] + ".30"
    port = cloud.port(network, cloud.host(), allowed_address_pairs=[{"ip_address": pair}])
    own = f"{port['fixed_ips'][0]['ip_address']}/32"
    assert cloud.endpoint(port)["spec"]["ipNetworks"] == [own]
    later = cloud.subnet(network)
    assert cloud.endpoint(port)["spec"]["ipNetworks"] == [own, f"{pair}/32"]
    cloud.api.delete("subnet", later["id"])
    assert cloud.endpoint(port)["spec"]["ipNetworks"] == [own]


def test_subnets_tell_hosts_what_dhcp_says_and_ports_their_gateway(cloud: Cloud) -> None:
    host = cloud.host()
    network, subnet = cloud.network()
    port = cloud.port(network, host)
    base = subnet["cidr"].rpartition(".")[0]
    last = int(subnet["gateway_ip"].rpartition(".")[2]) + 13
    gateway = f"{base}.{last}"
    cloud.api.update(
        "subnet",
        subnet["id"],
        dns_nameservers=["192.0.2.53"],
        host_routes=[{"destination": "198.51.100.0/24", "nexthop": gateway}],
        gateway_ip=None,
    )
    cloud.stack.settle()
    record = cloud.stack.stored("/calico/dhcp/v2/no-region/subnet/")[subnet["id"]]
    assert record["dns_servers"] == ["192.0.2.53"]
    assert record["host_routes"] == [{"destination": "198.51.100.0/24", "nexthop": gateway}]
    assert record["gateway_ip"] is None
    assert "ipv4Gateway" not in cloud.endpoint(port)["spec"]
    cloud.api.update("subnet", subnet["id"], enable_dhcp=False)
    cloud.stack.settle()
    assert subnet["id"] not in cloud.stack.stored("/calico/dhcp/v2/no-region/subnet/")


def test_limits_of_a_policy_follow_at_port_and_network(cloud: Cloud) -> None:
    host = cloud.host()
    network, _ = cloud.network()
    policy = cloud.api.create("qos/policies:policy", name="slow")
    rules = f"qos/policies/{policy['id']}/bandwidth_limit_rules"
    rule = cloud.api.create(f"{rules}:bandwidth_limit_rule", max_kbps=1000, direction="ingress")
    mine = cloud.port(network, host, qos_policy_id=policy["id"])
    other = cloud.port(network, host)
    assert cloud.endpoint(mine)["spec"]["qosControls"]["ingressBandwidth"] == 1_000_000
    assert "qosControls" not in cloud.endpoint(other)["spec"]
    cloud.api.call("PUT", f"{rules}/{rule['id']}", {"bandwidth_limit_rule": {"max_kbps": 2000}})
    assert cloud.endpoint(mine)["spec"]["qosControls"]["ingressBandwidth"] == 2_000_000
    cloud.api.update("network", network["id"], qos_policy_id=policy["id"])
    assert cloud.endpoint(other)["spec"]["qosControls"]["ingressBandwidth"] == 2_000_000
    cloud.api.create(f"qos/policies/{policy['id']}/dscp_marking_rules:dscp_marking_rule", dscp_mark=10)
    assert cloud.endpoint(other)["spec"]["qosControls"]["dscp"] == 10


def test_floating_addresses_lead_to_the_endpoint_and_are_active_with_their_port(cloud: Cloud) -> None:
    host = cloud.host()
    outside = cloud.api.create("network", name="outside", **{"router:external": True})
    cloud.subnet(outside)
    network, subnet = cloud.network()
    router = cloud.api.create("router", external_gateway_info={"network_id": outside["id"]})
    cloud.api.call("PUT", f"routers/{router['id']}/add_router_interface", {"subnet_id": subnet["id"]})
    port = cloud.port(network, host)
    inside = port["fixed_ips"][0]["ip_address"]
    floating = cloud.api.create("floatingip", floating_network_id=outside["id"], port_id=port["id"])
    assert floating["status"] == "DOWN"
    assert cloud.endpoint(port)["spec"]["ipNATs"] == [
        {"internalIP": inside, "externalIP": floating["floating_ip_address"]}
    ]
    cloud.active(port, host)
    status = lambda: cloud.api.show("floatingip", floating["id"])["status"]  # noqa: E731
    cloud.stack.until("the floating address is ACTIVE", lambda: status() == "ACTIVE")
    cloud.api.update("floatingip", floating["id"], port_id=None)
    assert "ipNATs" not in cloud.endpoint(port)["spec"]
    assert status() == "DOWN"
    cloud.api.update("floatingip", floating["id"], port_id=port["id"])
    assert status() == "ACTIVE"
    cloud.api.delete("floatingip", floating["id"])
    assert "ipNATs" not in cloud.endpoint(port)["spec"]


def test_a_subnet_that_overlaps_another_networks_is_refused(cloud: Cloud) -> None:
    _, subnet = cloud.network()
    other = cloud.api.create("network", name="other")
    with pytest.raises(ApiError, match=f"overlaps subnet {subnet['id']}") as refused:
        cloud.api.create("subnet", network_id=other["id"], ip_version=4, cidr=subnet["cidr"])
    assert refused.value.status == 409


def test_forwarded_ports_of_an_address_are_told_to_its_ports_of_one_host(cloud: Cloud, stack: Stack) -> None:
    """The first port's host has the address. A port elsewhere is ERROR, until it comes to that host."""
    host, other = cloud.host(), cloud.host()
    network, subnet = cloud.network()
    outer = cloud.api.create("network", name="outer", **{"router:external": True})
    cloud.subnet(outer)
    router = cloud.api.create("router", name="r", external_gateway_info={"network_id": outer["id"]})
    cloud.api.call("PUT", f"routers/{router['id']}/add_router_interface", {"subnet_id": subnet["id"]})
    floating = cloud.api.create("floatingip", floating_network_id=outer["id"])

    def forward(port: dict[str, Any], external: int) -> str:
        body = {
            "protocol": "tcp", "external_port": external, "internal_port": 22, "internal_port_id": port["id"],
            "internal_ip_address": port["fixed_ips"][0]["ip_address"],
        }  # fmt: skip
        path = f"floatingips/{floating['id']}/port_forwardings"
        return str(cloud.api.call("POST", path, {"port_forwarding": body})["port_forwarding"]["id"])

    def forwarded(port: dict[str, Any]) -> list[int]:
        text = cloud.endpoint(port)["metadata"]["annotations"].get("nat.calico-network/port-forwards", "[]")
        return [each["externalPort"] for each in json.loads(text)]

    first, second = cloud.port(network, host), cloud.port(network, other)
    ids = {forward(first, 2201): (first, 2201), forward(second, 2202): (second, 2202)}
    (winner, wins), (loser, loses) = (ids[each] for each in sorted(ids))
    stack.until("the first has its port", lambda: forwarded(winner) == [wins])
    assert forwarded(loser) == []
    cloud.until_status(loser, "ERROR")
    cloud.api.update("port", loser["id"], **{"binding:host_id": winner["binding:host_id"]})
    stack.until("the second has its port", lambda: forwarded(loser) == [loses])
    assert forwarded(winner) == [wins]


def test_a_network_is_joined_to_those_that_a_router_joins_and_parted_again(cloud: Cloud, stack: Stack) -> None:
    """With ``isolation = network+router`` the policy of each network passes its peers; with pools hosts translate."""
    (blue, in_blue), (red, in_red) = cloud.network(), cloud.network()
    outer = cloud.api.create("network", name="outer", **{"router:external": True})
    cloud.subnet(outer)
    router = cloud.api.create("router", name="r", external_gateway_info={"network_id": outer["id"]})

    def peers(network: dict[str, Any]) -> set[str]:
        stack.settle()
        policy = stack.resources("networkpolicies")[f"openstack-isolation.network-{network['id']}"]
        (rule,) = policy["spec"]["ingress"]
        return {each for each in (blue["id"], red["id"], outer["id"]) if each in rule["source"]["selector"]}

    def translates(subnet: dict[str, Any]) -> bool:
        return bool(stack.stored(f"{_ROOT}ippools/")[f"openstack.{subnet['id']}"]["spec"].get("natOutgoing"))

    assert peers(blue) == {blue["id"]}
    assert not translates(in_blue)
    for subnet in (in_blue, in_red):
        cloud.api.call("PUT", f"routers/{router['id']}/add_router_interface", {"subnet_id": subnet["id"]})
    assert peers(blue) == peers(red) == {blue["id"], red["id"]}
    assert peers(outer) == {blue["id"], red["id"], outer["id"]}
    assert translates(in_blue)
    cloud.api.update("router", router["id"], external_gateway_info={"network_id": outer["id"], "enable_snat": False})
    stack.settle()
    assert not translates(in_blue)
    cloud.api.call("PUT", f"routers/{router['id']}/remove_router_interface", {"subnet_id": in_red["id"]})
    assert peers(red) == {red["id"]}
    assert peers(blue) == {blue["id"]}
    cloud.api.delete("network", red["id"])
    stack.settle()
    assert f"openstack-isolation.network-{red['id']}" not in stack.resources("networkpolicies")
    assert f"openstack.{in_red['id']}" not in stack.stored(f"{_ROOT}ippools/")
    others = stack.resources("networkpolicies")["openstack-isolation.others"]["spec"]
    assert [rule["action"] for rule in others["ingress"]] == ["Deny", "Pass"]
    assert stack.stored(f"{_ROOT}tiers/")["openstack-isolation"]["spec"]["defaultAction"] == "Pass"
