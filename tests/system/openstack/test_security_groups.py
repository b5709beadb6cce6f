"""Calls of Neutron's API, and what packets do before and after."""

from __future__ import annotations

from cloud import Cloud


def test_members_of_the_default_group_reach_each_other_and_nobody_else_reaches_them(cloud: Cloud) -> None:
    cloud.opens(cloud.a, cloud.b.address)
    cloud.opens(cloud.b, cloud.a.address)
    assert not cloud.outside.connects(cloud.b.address)
    assert cloud.b.connects(cloud.outside.address) == cloud.b.address


def test_a_rule_opens_and_its_end_closes(cloud: Cloud) -> None:
    group = cloud.group()
    with cloud.with_groups("b", group):
        cloud.closes(cloud.a, cloud.b.address)
        rule = cloud.rule(group, protocol="6", port_range_min=80, port_range_max=80)
        cloud.opens(cloud.outside, cloud.b.address)
        assert not cloud.outside.connects(cloud.b.address, 443)
        cloud.api.call("DELETE", f"security-group-rules/{rule}")
        cloud.closes(cloud.outside, cloud.b.address)


def test_a_rule_for_a_remote_group_follows_its_members(cloud: Cloud) -> None:
    clients = cloud.group()
    servers = cloud.group({"protocol": "tcp", "remote_group_id": clients})
    with cloud.with_groups("b", servers):
        cloud.closes(cloud.a, cloud.b.address)
        with cloud.with_groups("a", clients):
            cloud.opens(cloud.a, cloud.b.address)
            assert not cloud.outside.connects(cloud.b.address)
        cloud.closes(cloud.a, cloud.b.address)


def test_a_rule_for_a_remote_address_group_lets_in_its_addresses_and_nobody_else(cloud: Cloud) -> None:
    friends = cloud.api.create("address_group", name="friends", addresses=[f"{cloud.outside.address}/32"])["id"]
    group = cloud.group({"protocol": "tcp", "remote_address_group_id": friends})
    with cloud.with_groups("b", group):
        cloud.opens(cloud.outside, cloud.b.address)
        cloud.closes(cloud.a, cloud.b.address)
        body = {"addresses": [f"{cloud.outside.address}/32"]}
        cloud.api.call("PUT", f"address-groups/{friends}/remove_addresses", body)
        cloud.closes(cloud.outside, cloud.b.address)
        cloud.api.call("PUT", f"address-groups/{friends}/add_addresses", {"addresses": [f"{cloud.a.address}/32"]})
        cloud.opens(cloud.a, cloud.b.address)
        assert not cloud.outside.connects(cloud.b.address)
    cloud.api.call("DELETE", f"address-groups/{friends}")


def test_a_port_without_port_security_is_open_and_may_send_from_any_address(cloud: Cloud) -> None:
    foreign = "198.51.100.7"
    with cloud.foreign_address("a", foreign), cloud.with_groups("b", cloud.group({"protocol": "udp"})):
        assert not cloud.datagram_arrives(cloud.a, cloud.b, foreign)
        groups = cloud.port("a")["security_groups"]
        cloud.change("a", security_groups=[], port_security_enabled=False)
        try:
            cloud.opens(cloud.outside, cloud.a.address)
            cloud.until("a datagram from there arrives", lambda: cloud.datagram_arrives(cloud.a, cloud.b, foreign))
        finally:
            cloud.change("a", port_security_enabled=True, security_groups=groups)
        cloud.closes(cloud.outside, cloud.a.address)
        assert not cloud.datagram_arrives(cloud.a, cloud.b, foreign)


def test_an_allowed_address_pair_is_reached_and_spoken_from(cloud: Cloud) -> None:
    pair = "10.65.0.250"
    group = cloud.group({"protocol": "tcp"})
    with cloud.foreign_address("a", pair), cloud.with_groups("a", group):
        assert not cloud.outside.connects(pair)
        cloud.change("a", allowed_address_pairs=[{"ip_address": pair}])
        cloud.opens(cloud.outside, pair)
        assert cloud.a.connects(cloud.outside.address, source=pair) == pair
        cloud.change("a", allowed_address_pairs=[])
        cloud.closes(cloud.outside, pair)


def test_a_floating_address_leads_from_outside_to_the_instance_while_it_is_associated(cloud: Cloud) -> None:
    outer = cloud.api.create("network", name="outer", **{"router:external": True, "provider:network_type": "local"})
    cloud.api.create(
        "subnet", network_id=outer["id"], ip_version=4, cidr="10.66.0.0/24", enable_dhcp=False, gateway_ip="10.66.0.1"
    )
    router = cloud.api.create("router", external_gateway_info={"network_id": outer["id"]})["id"]
    cloud.api.call("PUT", f"routers/{router}/add_router_interface", {"subnet_id": cloud.subnet["id"]})
    floating = cloud.api.create("floatingip", floating_network_id=outer["id"])
    address, path = floating["floating_ip_address"], f"floatingips/{floating['id']}"
    port = cloud.instance("b").port
    with cloud.with_groups("b", cloud.group({"protocol": "tcp"})):
        assert not cloud.outside.connects(address)
        cloud.api.call("PUT", path, {"floatingip": {"port_id": port}})
        cloud.opens(cloud.outside, address)
        assert cloud.b.connects(cloud.outside.address) == address
        cloud.until("it is ACTIVE", lambda: cloud.api.call("GET", path)["floatingip"]["status"] == "ACTIVE")
        cloud.api.call("PUT", path, {"floatingip": {"port_id": None}})
        cloud.closes(cloud.outside, address)
    cloud.api.call("DELETE", path)
    cloud.api.call("PUT", f"routers/{router}/remove_router_interface", {"subnet_id": cloud.subnet["id"]})
    cloud.api.call("DELETE", f"routers/{router}")
    cloud.api.call("DELETE", f"networks/{outer['id']}")
