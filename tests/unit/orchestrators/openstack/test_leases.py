from __future__ import annotations

from typing import Any

import msgspec
import pytest

from calico.lib.packed import addr_bytes, net
from calico.orchestrators.openstack.answers.lease import Route
from calico.orchestrators.openstack.facts import DhcpOption, FixedIp, HostRoute
from calico.orchestrators.openstack.leases import Offers, lease_of
from calico.orchestrators.openstack.records import EndpointRecord, SubnetRecord

PORT = EndpointRecord(
    namespace="openstack",
    host="h1",
    device_id="d",
    port_id="p",
    interface="tapp",
    mac="fa:16:3e:00:00:01",
    network_id="n",
    fqdn="web.example.org",
    fixed_ips=(FixedIp(subnet_id="s4", ip_address="10.0.0.5"), FixedIp(subnet_id="s6", ip_address="fd00::5")),
)
FOUR = SubnetRecord(network_id="n", cidr="10.0.0.0/24", gateway_ip="10.0.0.1", dns_servers=("10.9.9.9",), mtu=1450)
SIX = SubnetRecord(network_id="n", cidr="fd00::/64", gateway_ip="fd00::1", ipv6_ra_mode="slaac", mtu=1450)
OFFERS = Offers()
METADATA = net("169.254.169.254/32")
GATEWAY, LINK = addr_bytes("10.0.0.1"), addr_bytes("169.254.1.1")


def lease(
    port: EndpointRecord = PORT, offers: Offers = OFFERS, link_mtu: int = 0, **subnets: SubnetRecord | None
) -> Any:
    records = {name: record for name, record in {"s4": FOUR, "s6": SIX, **subnets}.items() if record is not None}
    found, problems = lease_of(port, records, offers, link_mtu)
    assert found is not None
    return msgspec.structs.replace(found), problems


def changed(record: Any, **fields: Any) -> Any:
    return msgspec.structs.replace(record, **fields)


def test_a_port_is_told_what_neutron_says_of_it_and_its_subnets() -> None:
    found, problems = lease()
    assert not problems
    assert (found.v4.address, found.v4.prefix_len, found.v4.gateway) == (addr_bytes("10.0.0.5"), 24, GATEWAY)
    assert found.v4.server == GATEWAY
    assert found.v4.dns == (addr_bytes("10.9.9.9"),)
    assert found.v4.routes == (Route(METADATA, GATEWAY), Route(net("0.0.0.0/0"), GATEWAY))
    assert [(one.address, one.net, one.mode) for one in found.v6] == [
        (addr_bytes("fd00::5"), net("fd00::/64"), "slaac")
    ]
    assert (found.hostname, found.domain, found.search, found.mtu) == ("web", "example.org", ("example.org",), 1450)


def test_an_address_without_a_record_of_its_subnet_is_not_told() -> None:
    assert lease(s4=None)[0].v4 is None
    assert lease(s6=None)[0].v6 == ()


def test_documents_of_networking_calico_name_no_subnets_so_the_one_that_contains_the_address_is_meant() -> None:
    port = changed(PORT, fixed_ips=None, addresses=("10.0.0.5", "fd00::5", "192.0.2.1"))
    found, problems = lease(port)
    assert not problems
    assert found.v4.address == addr_bytes("10.0.0.5")
    assert len(found.v6) == 1


def test_only_the_first_ipv4_address_can_be_told() -> None:
    more = (FixedIp(subnet_id="s4", ip_address="10.0.0.7"), *(PORT.fixed_ips or ()))
    assert lease(changed(PORT, fixed_ips=more))[0].v4.address == addr_bytes("10.0.0.7")


def test_without_a_gateway_the_host_is_reached_at_the_address_that_it_always_has() -> None:
    four = changed(FOUR, gateway_ip=None, host_routes=(HostRoute(destination="10.7.0.0/16", nexthop="10.0.0.9"),))
    found, _ = lease(s4=four)
    assert (found.v4.gateway, found.v4.server) == (b"", LINK)
    assert found.v4.routes == (
        Route(net("169.254.1.1/32"), bytes(4)),
        Route(METADATA, LINK),
        Route(net("10.7.0.0/16"), addr_bytes("10.0.0.9")),
    )


def test_an_instance_that_is_its_subnets_gateway_is_not_sent_to_itself() -> None:
    port = changed(PORT, fixed_ips=(FixedIp(subnet_id="s4", ip_address="10.0.0.1"),))
    found, _ = lease(port)
    assert (found.v4.gateway, found.v4.server) == (b"", LINK)
    assert Route(net("0.0.0.0/0"), GATEWAY) not in found.v4.routes


def test_a_gateway_outside_of_its_subnet_is_made_reachable_first() -> None:
    found, _ = lease(s4=changed(FOUR, gateway_ip="192.0.2.1"))
    assert found.v4.routes[0] == Route(net("192.0.2.1/32"), bytes(4))
    assert found.v4.routes[-1] == Route(net("0.0.0.0/0"), addr_bytes("192.0.2.1"))


def test_a_default_route_of_the_subnets_own_stands_alone() -> None:
    four = changed(FOUR, host_routes=(HostRoute(destination="0.0.0.0/0", nexthop="10.0.0.254"),))
    defaults = [route for route in lease(s4=four)[0].v4.routes if route.net == net("0.0.0.0/0")]
    assert defaults == [Route(net("0.0.0.0/0"), addr_bytes("10.0.0.254"))]


def test_without_a_metadata_service_there_is_no_route_to_it() -> None:
    assert METADATA not in [route.net for route in lease(offers=Offers(metadata=False))[0].v4.routes]


@pytest.mark.parametrize(
    ("named", "offered", "told"),
    [((), (), ()), ((), ("10.1.1.1",), ("10.1.1.1",)), (("10.9.9.9",), ("10.1.1.1",), ("10.9.9.9",)),
     (("0.0.0.0",), ("10.1.1.1",), ())],
)  # fmt: skip
def test_name_servers_are_the_subnets_or_else_the_hosts_and_zero_means_none(
    named: tuple[str, ...], offered: tuple[str, ...], told: tuple[str, ...]
) -> None:
    found, _ = lease(offers=Offers(dns=offered), s4=changed(FOUR, dns_servers=named))
    assert found.v4.dns == tuple(map(addr_bytes, told))


@pytest.mark.parametrize(
    ("ra", "address", "mode"),
    [("slaac", "slaac", "slaac"), ("dhcpv6-stateless", None, "dhcpv6-stateless"),
     (None, "dhcpv6-stateful", "dhcpv6-stateful"), (None, None, "dhcpv6-stateful")],
)  # fmt: skip
def test_the_mode_of_a_subnet_is_that_of_its_router_or_of_its_addresses(ra: str, address: str, mode: str) -> None:
    found, problems = lease(s6=changed(SIX, ipv6_ra_mode=ra, ipv6_address_mode=address))
    assert (found.v6[0].mode, problems) == (mode, ())


@pytest.mark.parametrize(
    ("port", "network", "link", "mtu"),
    [(0, 1450, 0, 1450), (1400, 1450, 0, 1400), (0, 0, 1500, 1500), (9000, 0, 1500, 1500), (0, 1400, 9000, 1400)],
)
def test_the_mtu_is_the_networks_and_never_more_than_the_interface_takes(
    port: int, network: int, link: int, mtu: int
) -> None:
    found, _ = lease(
        changed(PORT, mtu=port), link_mtu=link, s4=changed(FOUR, mtu=network), s6=changed(SIX, mtu=network)
    )
    assert found.mtu == mtu


def test_an_instance_without_a_name_is_named_after_its_address() -> None:
    found, _ = lease(changed(PORT, fqdn=""), Offers(domain="cloud"))
    assert (found.hostname, found.domain, found.search) == ("host-10-0-0-5", "cloud", ("cloud",))


def test_what_cannot_be_followed_is_left_out_and_named() -> None:
    port = changed(
        PORT,
        fqdn="bad name..x",
        dns_search=("ok.example", "bad..example"),
        dhcp_options=(
            DhcpOption(opt_name="nonsense", opt_value="1"),
            DhcpOption(opt_name="67", opt_value="boot"),
            DhcpOption(opt_name="59", opt_value="http://x", ip_version=6),
        ),
        fixed_ips=(FixedIp(subnet_id="s4", ip_address="junk"), FixedIp(subnet_id="s4", ip_address="192.0.2.5"),
                   *(PORT.fixed_ips or ())),
    )  # fmt: skip
    four = changed(
        FOUR,
        gateway_ip="junk",
        dns_servers=("junk", "10.9.9.9"),
        host_routes=(
            HostRoute(destination="junk", nexthop="10.0.0.1"),
            HostRoute(destination="10.0.0.0/8", nexthop="fd00::1"),
        ),
    )
    found, problems = lease(port, s4=four, s6=changed(SIX, ipv6_ra_mode="odd"))
    assert found.v4.address == addr_bytes("10.0.0.5")
    assert found.v4.dns == (addr_bytes("10.9.9.9"),)
    assert found.extra4 == ((67, b"boot"),)
    assert found.extra6 == ((59, b"http://x"),)
    assert found.search == ("ok.example",)
    assert found.v6[0].mode == "dhcpv6-stateful"
    text = "\n".join(problems)
    for word in ("nonsense", "bad name", "bad..example", "192.0.2.5", "host route junk", "via fd00::1", "gateway of",
                 "DNS server", "'odd'"):  # fmt: skip
        assert word in text, word


def test_a_port_without_a_mac_is_told_nothing() -> None:
    for mac in ("", "fa:16:3e:00:00", "fa:16:3e:00:00:zz", "01:00:5e:00:00:01"):
        found, problems = lease_of(changed(PORT, mac=mac), {"s4": FOUR}, Offers())
        assert found is None
        assert "spec.mac" in problems[0]


def test_a_lease_stays_small_however_much_is_asked_for() -> None:
    routes = tuple(HostRoute(destination=f"10.{n}.0.0/16", nexthop="10.0.0.1") for n in range(200))
    options = tuple(DhcpOption(opt_name=str(n), opt_value="x") for n in range(130, 200))
    search = tuple(f"{'x' * 60}.d{n}.example" for n in range(50))
    fixed = tuple(FixedIp(subnet_id="s6", ip_address=f"fd00::{n:x}") for n in range(2, 60))
    port = changed(PORT, dhcp_options=options, dns_search=search, fixed_ips=fixed + (PORT.fixed_ips or ()))
    six = tuple(HostRoute(destination=f"fd09:{n:x}::/32", nexthop="fd00::1") for n in range(100))
    found, problems = lease(port, s4=changed(FOUR, host_routes=routes), s6=changed(SIX, host_routes=six))
    assert len(found.v4.routes) <= 66
    assert len(found.v6) == 8
    assert len(found.v6[0].routes) == 16
    assert len(found.search) == 8
    assert len(found.extra4) <= 32
    assert len(problems) >= 4
