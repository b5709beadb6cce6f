"""Neutron's objects, converted and written to a real etcd, are what packets obey."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from felix_world import World, resource
from msgspec import to_builtins
from msgspec.structs import replace

from calico.model.felixconfig import FelixConfigurationSpec
from calico.orchestrators.openstack.convert import (
    CLUSTER_TYPE,
    Converted,
    Options,
    completed_felix,
    convert_address_group,
    convert_isolation_tier,
    convert_port,
    convert_project_isolation,
    convert_security_group,
    to_store,
)
from calico.orchestrators.openstack.facts import (
    AddressGroup,
    AddressPair,
    Binding,
    FixedIp,
    FloatingIp,
    Port,
    SecurityGroup,
)
from calico.orchestrators.openstack.naming import tap_name
from cloud.made import SUBNETS, group, ident, port, rule, view
from cloud.semantics import Cloud, Seen

NAMES = ("a", "b", "c")
OUTSIDE = AddressGroup(id=ident("outside"), name="outside", addresses=("192.0.2.0/24", "2001:db8::/64"))
FLOATING = "198.18.0.1"
GATEWAY = SUBNETS[0].gateway_ip
PROTOCOLS = {"tcp:80": (6, 80), "tcp:2000": (6, 2000), "udp:80": (17, 80), "icmp": (1, 0), "sctp:80": (132, 80)}


@pytest.fixture(scope="module")
def host() -> Iterator[World]:
    """A host whose instances have taps, in a cluster as the Neutron side makes it."""
    made = World(NAMES)
    try:
        for name in NAMES:
            made.ip("h", f"link del cali{name}")
            made.wire(name, tap_name(ident(f"port {name}")))
            made.ip(name, f"route add {GATEWAY} dev eth0 scope link", f"route replace default via {GATEWAY}")
            made.reopen(name)
        made.ip("x", f"route add {FLOATING}/32 via 192.0.2.1")
        made.start_etcd()
        felix, _ = completed_felix(FelixConfigurationSpec())
        information = {"clusterGUID": "f" * 32, "datastoreReady": True, "clusterType": CLUSTER_TYPE}
        made.apply(
            resource("ClusterInformation", "default", information),
            resource("Tier", "default", {"order": 1000000, "defaultAction": "Deny"}),
            resource("FelixConfiguration", "default", to_builtins(felix)),
            settle=False,
        )
        made.start_felix()
        made.settle()
        yield made
    finally:
        made.close()


def instance(host: World, name: str, *groups: SecurityGroup, **more: Any) -> Port:
    """The port of a workload of the host."""
    v4, v6 = host.workloads[name]
    fixed = tuple(FixedIp(subnet_id=s.id, ip_address=a) for s, a in zip(SUBNETS, (v4, v6), strict=True))
    return port(name, groups=groups, fixed_ips=fixed, mac_address=host.mac(name),
                bindings=(Binding(host="h1", vif_type="tap"),), **more)  # fmt: skip


def write(host: World, converted: Iterable[Converted]) -> None:
    """Make the mirror these documents and nothing else."""
    mirrored = ("workloadendpoints", "networkpolicies", "networksets", "livemigrations")
    found = {key: None for key in host.list("/calico/resources/") if key.split("/")[5] in mirrored}
    documents = {
        document.path: to_store(document, None, uid="u", created="2026-01-01T00:00:00Z").decode()
        for one in converted
        for document in one.documents
    }
    host.put_raw({**found, **documents})
    assert not host.conditions("resource-invalid")


def obeyed(host: World, cloud: Cloud) -> int:
    """Compare packets between all instances and the outside with Neutron's semantics; how many had to pass."""
    ports = {one.id: one for one in cloud.ports}
    passing = 0
    for family in (4, 6):
        flows = []
        for source, target in itertools.permutations((*NAMES, "x"), 2):
            for text, (number, at) in PROTOCOLS.items():
                if number == 132 and "x" in (source, target):
                    continue
                kind = (58, (128, 0)) if family == 6 and number == 1 else (number, (8, 0))
                seen = Seen(host.address(source, family), host.address(target, family), kind[0], at, kind[1])
                may = all(
                    name == "x" or cloud.may(direction, ports[ident(f"port {name}")], seen)
                    for name, direction in ((source, "egress"), (target, "ingress"))
                )
                passing += may
                flows.append(f"{'' if may else '!'}{source}>{target} {text}")
        host.expect(family, *flows)
    return passing


def drawn(seed: int) -> list[SecurityGroup]:
    """Three groups of rules of every shape; whole protocols are often allowed, so that both verdicts are common."""
    rng = random.Random(seed)
    identifiers = [ident(f"{seed}-{n}") for n in range(3)]
    remotes: list[dict[str, Any]] = [{}, {"remote_ip_prefix": "10.65.0.0/30"}, {"remote_ip_prefix": "192.0.2.2"}]
    remotes += [{"remote_group_id": one} for one in identifiers] + [{"remote_address_group_id": OUTSIDE.id}]
    remotes += [{"remote_ip_prefix": "fd00:65::2/127"}]
    services: list[dict[str, Any]] = [{}, {"protocol": "0"}, {"protocol": "1", "port_range_min": 8}]
    services += [{"protocol": "58", "port_range_min": 128, "port_range_max": 0}, {"protocol": "icmp"}]
    services += [{"protocol": name, "port_range_min": 80, "port_range_max": 80} for name in ("tcp", "17", "132")]
    services += [{"protocol": "6", "port_range_min": 1000, "port_range_max": 3000}, {"protocol": "udp"}]
    groups = []
    for identifier in identifiers:
        rules = [
            rule(direction, ethertype, **rng.choice(services), **rng.choice(remotes))
            for direction in ("ingress", "egress")
            for ethertype in ("IPv4", "IPv6")
            for _ in range(rng.randint(1, 4))
        ]
        groups.append(SecurityGroup(id=identifier, name=f"g{identifier[:4]}", rules=tuple(rules)))
    return groups


@pytest.mark.parametrize("seed", range(6))
def test_packets_obey_security_groups_of_every_shape(host: World, seed: int) -> None:
    groups = drawn(seed)
    rng = random.Random(-seed - 1)
    ports = [
        instance(host, name, *rng.sample(groups, rng.randint(1, 2)), port_security_enabled=rng.random() < 0.9)
        for name in NAMES
    ]
    cloud = Cloud(ports, groups, [OUTSIDE])
    converted = [convert_security_group(one, Options()) for one in groups]
    converted += [convert_address_group(OUTSIDE, Options())]
    converted += [convert_port(view(one, *groups), Options()) for one in ports]
    # A prefix or an ICMP of the other ethertype allows nothing and is named; everything else is carried out.
    assert {problem.code for one in converted for problem in one.problems} <= {"prefix-invalid", "protocol-unknown"}
    write(host, converted)
    assert obeyed(host, cloud) > 0


def test_members_join_a_remote_group_by_one_key(host: World) -> None:
    friends = group("friends", rule("egress"))
    guarded = group("guarded", rule("ingress", protocol="tcp", remote_group_id=friends.id))
    ports = [instance(host, "a", guarded), instance(host, "b", friends), instance(host, "c", group("closed"))]
    closed = group("closed", rule("egress"))
    groups = [friends, guarded, closed]
    write(host, [convert_security_group(one, Options()) for one in groups])
    for one in ports:
        _put(host, convert_port(view(one, *groups), Options()))
    host.expect(4, "b>a tcp:80", "!c>a tcp:80")
    _put(host, convert_port(view(instance(host, "c", closed, friends), *groups), Options()))
    host.expect(4, "b>a tcp:80", "c>a tcp:80", "!c>a udp:80")


def test_an_address_group_changes_what_its_rules_allow_by_one_key(host: World) -> None:
    guarded = group("guarded", rule("ingress", protocol="tcp", remote_address_group_id=OUTSIDE.id))
    elsewhere = replace(OUTSIDE, addresses=("203.0.113.0/24",))
    write(
        host,
        [
            convert_security_group(guarded, Options()),
            convert_address_group(elsewhere, Options()),
            convert_port(view(instance(host, "a", guarded), guarded), Options()),
        ],
    )
    host.expect(4, "!x>a tcp:80")
    _put(host, convert_address_group(OUTSIDE, Options()))
    host.expect(4, "x>a tcp:80", "!x2>a tcp:80")


def test_an_instance_may_send_from_its_pairs_and_without_port_security_from_anywhere(host: World) -> None:
    everything = group("everything", rule("egress"), rule("ingress"))
    pairs = (AddressPair(ip_address="10.77.0.0/24"), AddressPair(ip_address="10.78.0.1"))
    ports = [
        instance(host, "a", everything, allowed_address_pairs=pairs),
        instance(host, "b", port_security_enabled=False),
    ]
    write(host, [convert_security_group(everything, Options())])
    for one in ports:
        _put(host, convert_port(view(one, everything), Options()))
    sources = {
        ("a", "10.77.0.9"): True, ("a", "10.78.0.1"): True, ("a", "10.78.0.2"): False, ("b", "10.99.0.1"): True,
    }  # fmt: skip
    sent = [(name, "x", host.packet(f"{name}>x udp:80", 4)._replace(source=source)) for name, source in sources]
    assert host.passed(*sent, expected=3) == list(sources.values())


def test_a_floating_address_reaches_its_instance_as_its_groups_allow(host: World) -> None:
    web = group("web", rule("ingress", protocol="tcp", port_range_min=80, port_range_max=80))
    one = instance(host, "a", web)
    floating = FloatingIp(
        id=ident("f"), floating_ip_address=FLOATING, port_id=one.id, fixed_ip_address=host.address("a", 4)
    )
    write(
        host,
        [convert_security_group(web, Options()), convert_port(view(one, web, floating_ips=(floating,)), Options())],
    )
    sent = [("x", "a", host.packet(f"x>a {what}", 4)._replace(destination=FLOATING)) for what in ("tcp:80", "tcp:81")]
    assert host.passed(*sent, expected=1) == [True, False]


def test_projects_are_kept_apart_before_their_groups_are_asked(host: World) -> None:
    rules = (rule(way, kind) for way in ("ingress", "egress") for kind in ("IPv4", "IPv6"))
    everything = group("everything", *rules)
    options = Options(isolation="project")
    ports = [
        instance(host, name, everything, project_id=project_id)
        for name, project_id in zip(NAMES, ("pa", "pa", "pb"), strict=True)
    ]
    write(
        host,
        [
            convert_security_group(everything, options),
            convert_isolation_tier(options),
            *(convert_project_isolation(project_id, options) for project_id in ("pa", "pb")),
            *(convert_port(view(one, everything), options) for one in ports),
        ],
    )
    for family in (4, 6):
        host.expect(family, "a>b tcp:80", "b>a udp:80", "!a>c tcp:80", "!c>b icmp", "x>a tcp:80", "x>c tcp:80")


def _put(host: World, converted: Converted) -> None:
    (document,) = converted.documents
    host.put_raw({document.path: to_store(document, None, uid="u", created="2026-01-01T00:00:00Z").decode()})
