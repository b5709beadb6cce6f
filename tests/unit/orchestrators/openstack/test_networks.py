"""Subnets, pools, isolation, and what FelixConfiguration must say."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from calico.errors import InvalidInput
from calico.model.felixconfig import FelixConfigurationSpec
from calico.model.ippool import IPPool
from calico.orchestrators.openstack import naming, records
from calico.orchestrators.openstack.convert import (
    Options,
    completed_felix,
    convert_isolation_tier,
    convert_network_isolation,
    convert_port,
    convert_project_isolation,
    convert_security_group,
    convert_subnet,
)
from calico.orchestrators.openstack.convert.isolation import joined_networks
from calico.orchestrators.openstack.facts import FixedIp, HostRoute, Network, Router, Subnet
from cloud.judged import Judge
from cloud.made import NETWORK, SUBNETS, group, ident, port, rule, view
from cloud.semantics import Seen


def test_a_subnet_is_the_record_of_networking_calico_and_more() -> None:
    subnet = Subnet(
        id=ident("s"),
        network_id=NETWORK.id,
        cidr="fd00:65::/64",
        ip_version=6,
        gateway_ip="fd00:65::1",
        ipv6_ra_mode="slaac",
        ipv6_address_mode="slaac",
        dns_nameservers=("fd00::53", "fd00::35"),
        host_routes=(HostRoute(destination="fd01::/64", nexthop="fd00:65::9"),),
        revision_number=5,
    )
    network = replace(NETWORK, dns_domain="example.org.")
    (document,) = convert_subnet(subnet, network, (), Options(region="east")).documents
    assert document.path == f"/calico/dhcp/v2/region-east/subnet/{subnet.id}"
    assert document.tree() == {
        "network_id": NETWORK.id,
        "cidr": "fd00:65::/64",
        "host_routes": [{"destination": "fd01::/64", "nexthop": "fd00:65::9"}],
        "gateway_ip": "fd00:65::1",
        "dns_servers": ["fd00::53", "fd00::35"],
        "ipv6_ra_mode": "slaac",
        "ipv6_address_mode": "slaac",
        "mtu": 1450,
        "dns_search": ["example.org"],
        "neutron_revision": 5,
    }
    assert records.decode_subnet(json.dumps(document.tree()).encode()).ipv6_ra_mode == "slaac"


def test_a_subnet_without_dhcp_has_no_record() -> None:
    assert convert_subnet(replace(SUBNETS[0], enable_dhcp=False), NETWORK, (), Options()).documents == ()


def test_a_subnet_that_is_none_is_named() -> None:
    converted = convert_subnet(replace(SUBNETS[0], cidr="10.0.0.0/99"), NETWORK, (), Options())
    assert converted.documents == ()
    assert [problem.code for problem in converted.problems] == ["prefix-invalid"]
    with pytest.raises(InvalidInput):
        convert_subnet(SUBNETS[0], Network(id="other"), (), Options())


@pytest.mark.parametrize(
    ("cidr", "router", "block", "translated"),
    [
        ("10.65.0.0/16", {"gateway_network_id": "ext"}, 26, True),
        ("10.65.0.0/29", {"gateway_network_id": "ext", "enable_snat": False}, 29, False),
        ("10.65.0.0/24", {}, 26, False),
        ("10.65.0.0/24", {"gateway_network_id": "ext", "subnet_ids": ("another",)}, 26, False),
        ("fd00:65::/64", {"gateway_network_id": "ext"}, 122, False),
        ("fd00:65::/124", {}, 124, False),
    ],
)
def test_a_pool_is_for_neutron_only_and_translates_where_a_router_does(
    cidr: str, router: dict[str, Any], block: int, translated: bool
) -> None:
    subnet = replace(SUBNETS[0], cidr=cidr)
    routers = [Router(**{"id": "r", "subnet_ids": (subnet.id,), **router})]
    converted = convert_subnet(subnet, NETWORK, routers, Options(pools=True))
    assert not converted.problems
    pool = converted.documents[1].resource
    assert isinstance(pool, IPPool)
    assert converted.documents[1].path.endswith(f"/ippools/openstack.{subnet.id}")
    assert (pool.spec.cidr, pool.spec.block_size, pool.spec.nat_outgoing) == (cidr, block, translated)
    assert (pool.spec.assignment_mode, pool.spec.ipip_mode, pool.spec.vxlan_mode) == ("Manual", "Never", "Never")


OPEN = group("open", rule("ingress"), rule("egress"))
NETWORKS = [ident(f"network {n}") for n in range(4)]
PROJECTS = ["pa", "pb"]


def _world(options: Options, routers: list[Router], places: list[tuple[str, str]]) -> tuple[list[Any], Judge]:
    """One port with open groups for each (network, project)."""
    ports, converted = [], [convert_security_group(OPEN, options), convert_isolation_tier(options)]
    for n, (network_id, project_id) in enumerate(places, 1):
        one = port(f"p{n}", groups=(OPEN,), network_id=network_id, project_id=project_id,
                   fixed_ips=(FixedIp(subnet_id="s", ip_address=f"10.65.0.{n}"),))  # fmt: skip
        ports.append(one)
        converted.append(convert_port(view(one, OPEN, network=Network(id=network_id), subnets=()), options))
    for network_id in NETWORKS:
        near = [one for one in routers if network_id in (*one.network_ids, one.gateway_network_id)]
        converted.append(convert_network_isolation(Network(id=network_id, revision_number=2), near, options))
    converted += [convert_project_isolation(project_id, options) for project_id in PROJECTS]
    return ports, Judge(converted)


def _talk(judge: Judge, one: Any, other: Any) -> bool:
    return judge.forwards(one, other, Seen(one.fixed_ips[0].ip_address, other.fixed_ips[0].ip_address, 6, 80))


PLACES = [(network_id, project_id) for network_id in NETWORKS for project_id in PROJECTS]
routers = st.lists(
    st.builds(
        lambda inside, gateway: Router(id="r", network_ids=tuple(sorted(inside)), gateway_network_id=gateway),
        st.sets(st.sampled_from(NETWORKS[:3]), max_size=3),
        st.sampled_from(["", NETWORKS[3]]),
    ),
    max_size=2,
)


@given(drawn=routers)
@settings(max_examples=25, deadline=None)
def test_networks_talk_when_one_router_joins_them(drawn: list[Router]) -> None:
    ports, judge = _world(Options(isolation="network+router"), drawn, PLACES)
    for one, other in itertools.permutations(ports, 2):
        joined = one.network_id == other.network_id or any(
            one.network_id in router.network_ids
            and (other.network_id in router.network_ids or other.network_id == router.gateway_network_id)
            for router in drawn
        )
        assert _talk(judge, one, other) == joined


def test_projects_talk_only_within_themselves_and_the_world_is_not_judged() -> None:
    ports, judge = _world(Options(isolation="project"), [], PLACES)
    for one, other in itertools.permutations(ports, 2):
        assert _talk(judge, one, other) == (one.project_id == other.project_id)
    assert judge.forwards(None, ports[0], Seen("198.51.100.7", "10.65.0.1", 6, 80))


def test_only_routers_of_a_network_join_it_and_in_one_order() -> None:
    near = Router(id="r", network_ids=("n", "z", "c", "b", "y", "a"))
    far = Router(id="far", network_ids=("k", "l"), gateway_network_id="m")
    assert joined_networks("n", [near, far]) == ("a", "b", "c", "n", "y", "z")
    assert joined_networks("m", [near, far]) == ("k", "l", "m")


def test_isolation_of_the_region_and_of_projects_has_no_revision() -> None:
    options = Options(isolation="project")
    for converted in (convert_isolation_tier(options), convert_project_isolation("p", options)):
        for document in converted.documents:
            assert document.revision == 0
            assert records.REVISION not in document.tree()["metadata"].get("annotations", {})


def test_without_isolation_there_is_no_document_of_it() -> None:
    options = Options()
    assert convert_isolation_tier(options).documents == ()
    assert convert_network_isolation(NETWORK, (), options).documents == ()
    assert convert_project_isolation("p", options).documents == ()


def test_what_isolation_lets_pass_still_needs_a_group() -> None:
    options = Options(isolation="project")
    one, other = (port(name, address, project_id="pa") for name, address in (("a", "10.65.0.1"), ("b", "10.65.0.2")))
    judge = Judge(
        [
            convert_isolation_tier(options),
            convert_project_isolation("pa", options),
            *(convert_port(view(each), options) for each in (one, other)),
        ]
    )
    assert not _talk(judge, one, other)


def test_a_network_whose_policy_is_not_there_yet_is_kept_apart() -> None:
    options = Options(isolation="network+router")
    one, other = (port(name, address, groups=(OPEN,)) for name, address in (("pa", "10.65.0.1"), ("pb", "10.65.0.2")))
    converted = [convert_isolation_tier(options), convert_security_group(OPEN, options)]
    converted += [convert_port(view(each, OPEN), options) for each in (one, other)]
    assert not _talk(Judge(converted), one, other)
    assert _talk(Judge([*converted, convert_network_isolation(NETWORK, (), options)]), one, other)


def test_isolation_holds_for_ports_without_port_security() -> None:
    options = Options(isolation="project")
    one, other = (
        port(name, address, project_id=name, port_security_enabled=False)
        for name, address in (("pa", "10.65.0.1"), ("pb", "10.65.0.2"))
    )
    judge = Judge(
        [
            convert_isolation_tier(options),
            *(convert_project_isolation(project_id, options) for project_id in PROJECTS),
            *(convert_port(view(each), options) for each in (one, other)),
        ]
    )
    assert not _talk(judge, one, other)


def test_felix_is_told_what_openstack_needs_and_an_operators_choice_stays() -> None:
    completed, problems = completed_felix(FelixConfigurationSpec())
    assert (completed.interface_prefix, completed.endpoint_reporting_enabled, completed.workload_source_spoofing) == (
        "cali,tap", True, "Any",
    )  # fmt: skip
    assert problems == ()
    assert completed_felix(completed) == (completed, ())
    chosen = FelixConfigurationSpec(
        interface_prefix="tap, veth", endpoint_reporting_enabled=False, workload_source_spoofing="Disabled"
    )
    kept, problems = completed_felix(chosen)
    assert (kept.interface_prefix, kept.endpoint_reporting_enabled, kept.workload_source_spoofing) == (
        "tap,veth", False, "Disabled",
    )  # fmt: skip
    assert [problem.code for problem in problems] == ["felix-configuration"] * 2


def test_regions_do_not_meet() -> None:
    east, west = Options(region="east"), Options(region="west")
    one = port("one", groups=(OPEN,))
    paths = [
        {document.path for document in converted.documents}
        for options in (east, west)
        for converted in (convert_port(view(one, OPEN), options), convert_security_group(OPEN, options))
    ]
    assert len(set().union(*paths)) == 4
    assert all(naming.identify(path, "east") is None for path in (*paths[2], *paths[3]))
