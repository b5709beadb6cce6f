"""What networks and routers mean for packets: with ``isolation = network+router``, and with pools of subnets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from cloud import Cloud, Machine


@pytest.fixture(scope="module")
def red(cloud: Cloud) -> Iterator[dict[str, Any]]:
    """Another network, with an instance ``c`` on the host of ``a``; whose groups let everything in."""
    network = cloud.api.create("network", name="red")
    subnet = cloud.api.create("subnet", network_id=network["id"], ip_version=4, cidr="10.66.0.0/24")
    group = cloud.group({"ethertype": "IPv4"})
    port = cloud.api.create("port", network_id=network["id"], security_groups=[group])
    cloud.boot("c", "compute1", port=port["id"])
    with cloud.with_groups("a", cloud.group({"ethertype": "IPv4"})):
        yield {"network": network, "subnet": subnet}
    cloud.delete("c")
    for path in (f"ports/{port['id']}", f"networks/{network['id']}", f"security-groups/{group}"):
        cloud.api.call("DELETE", path)


@pytest.fixture
def c(cloud: Cloud, red: dict[str, Any]) -> Machine:
    return cloud.machines["c"]


def test_networks_reach_each_other_while_a_router_joins_them(cloud: Cloud, red: dict[str, Any], c: Machine) -> None:
    """In both directions, on one host; the world outside is not kept apart."""
    cloud.opens(cloud.outside, c.address)
    cloud.closes(cloud.a, c.address)
    cloud.closes(c, cloud.a.address)
    cloud.opens(cloud.b, cloud.a.address)
    router = cloud.api.create("router", name="joins")
    for subnet in (red["subnet"], cloud.subnet):
        cloud.api.call("PUT", f"routers/{router['id']}/add_router_interface", {"subnet_id": subnet["id"]})
    cloud.opens(cloud.a, c.address)
    cloud.opens(c, cloud.a.address)
    cloud.api.call("PUT", f"routers/{router['id']}/remove_router_interface", {"subnet_id": red["subnet"]["id"]})
    cloud.closes(cloud.a, c.address)
    cloud.closes(c, cloud.a.address)
    cloud.api.call("PUT", f"routers/{router['id']}/remove_router_interface", {"subnet_id": cloud.subnet["id"]})
    cloud.api.call("DELETE", f"routers/{router['id']}")


def test_a_forwarded_port_of_a_floating_address_leads_to_the_instance(cloud: Cloud) -> None:
    """By Neutron's ``port_forwarding``; security groups see the client and the instance's own port."""
    outer = cloud.api.create("network", name="public", **{"router:external": True})
    cloud.api.create("subnet", network_id=outer["id"], ip_version=4, cidr="203.0.113.0/24", enable_dhcp=False)
    router = cloud.api.create("router", name="forwards", external_gateway_info={"network_id": outer["id"]})
    cloud.api.call("PUT", f"routers/{router['id']}/add_router_interface", {"subnet_id": cloud.subnet["id"]})
    floating = cloud.api.create("floatingip", floating_network_id=outer["id"])
    path, address = f"floatingips/{floating['id']}/port_forwardings", floating["floating_ip_address"]
    asked = {
        "protocol": "tcp", "external_port": 2280, "internal_port": 80, "internal_ip_address": cloud.a.address,
        "internal_port_id": cloud.instance("a").port,
    }  # fmt: skip
    made = cloud.api.call("POST", path, {"port_forwarding": asked})["port_forwarding"]
    with cloud.with_groups("a", cloud.group()):
        cloud.settle()
        assert not cloud.outside.connects(address, 2280)
    allowed = {"protocol": "tcp", "port_range_min": 80, "port_range_max": 80}
    with cloud.with_groups("a", cloud.group({**allowed, "remote_ip_prefix": f"{cloud.outside.address}/32"})):
        cloud.until("the port is forwarded", lambda: cloud.outside.connects(address, 2280) == cloud.outside.address)
        assert not cloud.outside.connects(address, 443)
        assert not cloud.b.connects(address, 2280), "it is not the prefix that the group allows"
        cloud.api.call("PUT", f"{path}/{made['id']}", {"port_forwarding": {"external_port": 2281}})
        cloud.opens(cloud.outside, address, 2281)
        cloud.closes(cloud.outside, address, 2280)
        cloud.api.call("DELETE", f"{path}/{made['id']}")
        cloud.closes(cloud.outside, address, 2281)
    cloud.api.call("DELETE", f"floatingips/{floating['id']}")
    cloud.api.call("PUT", f"routers/{router['id']}/remove_router_interface", {"subnet_id": cloud.subnet["id"]})
    cloud.api.call("DELETE", f"routers/{router['id']}")
    cloud.api.call("DELETE", f"networks/{outer['id']}")


def test_what_leaves_by_a_translating_router_comes_from_the_host(cloud: Cloud, red: dict[str, Any], c: Machine) -> None:
    """Each host translates for its instances; between instances nothing is translated."""
    outer = cloud.api.create("network", name="outer", **{"router:external": True})
    cloud.api.create("subnet", network_id=outer["id"], ip_version=4, cidr="198.51.100.0/24", enable_dhcp=False)
    cloud.until("c is seen as itself", lambda: c.connects(cloud.outside.address) == c.address)
    router = cloud.api.create("router", name="leads", external_gateway_info={"network_id": outer["id"]})
    for subnet in (red["subnet"], cloud.subnet):
        cloud.api.call("PUT", f"routers/{router['id']}/add_router_interface", {"subnet_id": subnet["id"]})
    cloud.until("c is translated", lambda: c.connects(cloud.outside.address) not in ("", c.address))
    cloud.until("a sees c as itself", lambda: c.connects(cloud.a.address) == c.address)
    info = {"network_id": outer["id"], "enable_snat": False}
    cloud.api.call("PUT", f"routers/{router['id']}", {"router": {"external_gateway_info": info}})
    cloud.until("c is seen as itself", lambda: c.connects(cloud.outside.address) == c.address)
    for subnet in (red["subnet"], cloud.subnet):
        cloud.api.call("PUT", f"routers/{router['id']}/remove_router_interface", {"subnet_id": subnet["id"]})
    cloud.api.call("DELETE", f"routers/{router['id']}")
    cloud.api.call("DELETE", f"networks/{outer['id']}")
