"""What a host is told of pools, hosts and floating addresses, one sentence of the specification at a time."""

from __future__ import annotations

from typing import Any

import pytest

from calico.calc.graph import Graph
from calico.calc.messages import ALL_HOSTS, IPAM_POOLS, MASQ_POOLS, IPSetDelta, Message
from calico.calc.nat_claims import NatClaims
from calico.calc.settings import CalcSettings
from calico.calc.spec import DataplaneState
from calico.lib.packed import addr_bytes, net
from calico.model.ippool import IPPool, IPPoolSpec
from calico.model.keys import ResourceKey
from calico.model.node import Node, NodeAddress, NodeBGPSpec, NodeSpec
from calico.model.qos import QoSControls
from calico.model.workload import IPNAT, WorkloadEndpoint, WorkloadEndpointSpec
from retained import retained

FLOATING = CalcSettings(floating_ips=True)


class Host:
    """A graph in sync and what it told so far."""

    def __init__(self, settings: CalcSettings | None = None) -> None:
        self.graph = Graph("here", settings)
        self.state = DataplaneState()
        self.graph.on_in_sync()
        self.flush()

    def flush(self) -> list[Message]:
        messages = self.graph.flush()
        self.state.replay(messages)
        return messages

    def pool(self, name: str, cidr: str, **spec: Any) -> ResourceKey:
        key = ResourceKey("IPPool", "", name)
        self.graph.on_resource(key, IPPool(spec=IPPoolSpec(cidr=cidr, **spec)))
        self.flush()
        return key

    def node(self, name: str, v4: str = "", v6: str = "", *addresses: str) -> ResourceKey:
        key = ResourceKey("Node", "", name)
        bgp = NodeBGPSpec(ipv4_address=v4, ipv6_address=v6) if v4 or v6 else None
        spec = NodeSpec(bgp=bgp, addresses=tuple(NodeAddress(address=address) for address in addresses))
        self.graph.on_resource(key, Node(spec=spec))
        self.flush()
        return key

    def endpoint(self, pod: str, address: str, *nats: tuple[str, str], node: str = "here", **more: Any) -> ResourceKey:
        key = ResourceKey("WorkloadEndpoint", "red", f"{node}-k8s-{pod}-eth0")
        spec = WorkloadEndpointSpec(
            node=node,
            orchestrator="k8s",
            pod=pod,
            endpoint="eth0",
            ip_networks=tuple(address.split()),
            interface_name=f"cali{pod}",
            ip_nats=tuple(IPNAT(internal_ip=own, external_ip=external) for own, external in nats),
            **more,
        )
        self.graph.on_resource(key, WorkloadEndpoint(spec=spec))
        self.flush()
        return key

    def remove(self, key: ResourceKey) -> list[Message]:
        self.graph.on_resource(key, None)
        return self.flush()

    def members(self, set_id: str) -> set[bytes]:
        return set(self.state.ip_sets[set_id].members)

    def nats(self, pod: str) -> tuple[tuple[bytes, bytes], ...]:
        (found,) = (e.nats for e in self.state.endpoints.values() if e.interface == f"cali{pod}")
        return found


def nat(own: str, external: str) -> tuple[bytes, bytes]:
    return addr_bytes(own), addr_bytes(external)


def test_pools_are_not_told_while_nothing_refers_to_them() -> None:
    host = Host(CalcSettings(nat_excludes_hosts=True))
    host.pool("a", "10.0.0.0/16")
    host.node("n", "192.0.2.1/24")
    assert host.state.ip_sets == {}


def test_a_pool_with_outgoing_nat_makes_all_pools_known_also_disabled_ones() -> None:
    host = Host()
    host.pool("a", "10.0.0.0/16", nat_outgoing=True)
    host.pool("b", "10.1.0.0/16", disabled=True)
    host.pool("c", "fd00::/64")
    assert host.members(MASQ_POOLS) == {net("10.0.0.0/16")}
    assert host.members(IPAM_POOLS) == {net("10.0.0.0/16"), net("10.1.0.0/16"), net("fd00::/64")}
    assert ALL_HOSTS not in host.state.ip_sets


def test_another_pool_is_told_as_a_change_of_one_member() -> None:
    host = Host()
    host.pool("a", "10.0.0.0/16", nat_outgoing=True)
    key = ResourceKey("IPPool", "", "b")
    host.graph.on_resource(key, IPPool(spec=IPPoolSpec(cidr="10.1.0.0/16")))
    added = IPSetDelta(id=IPAM_POOLS, added=frozenset((net("10.1.0.0/16"),)), removed=frozenset())
    assert host.flush() == [added]
    assert host.remove(key) == [IPSetDelta(id=IPAM_POOLS, added=frozenset(), removed=added.added)]


def test_the_last_pool_with_outgoing_nat_takes_the_sets_with_it() -> None:
    host = Host()
    key = host.pool("a", "10.0.0.0/16", nat_outgoing=True)
    host.pool("b", "10.1.0.0/16")
    host.remove(key)
    assert host.state.ip_sets == {}


def test_hosts_are_told_when_nat_excludes_them_with_every_address_they_have() -> None:
    host = Host(CalcSettings(nat_excludes_hosts=True))
    host.pool("a", "10.0.0.0/16", nat_outgoing=True)
    host.node("n", "192.0.2.1/24", "2001:db8::1/64", "192.0.2.1", "198.51.100.7/32")
    host.node("m", "192.0.2.2")
    assert host.members(ALL_HOSTS) == {net("192.0.2.1"), net("192.0.2.2"), net("198.51.100.7"), net("2001:db8::1")}


def test_a_host_may_have_addresses_of_one_family_only_or_none_for_bgp() -> None:
    host = Host(CalcSettings(nat_excludes_hosts=True))
    host.pool("a", "10.0.0.0/16", nat_outgoing=True)
    host.node("only-v6", "", "2001:db8::1/64")
    host.node("only-v4", "192.0.2.1")
    host.node("none", "", "", "198.51.100.7", "2001:db8::7")
    assert host.members(ALL_HOSTS) == set(map(net, ("2001:db8::1", "192.0.2.1", "198.51.100.7", "2001:db8::7")))
    assert host.state.problems == {}
    key = host.node("wrong", "", "192.0.2.3")
    assert host.state.problems[key] == ("spec.bgp.ipv6Address: '192.0.2.3' is no IPv6 address",)


def test_the_sets_of_pools_and_hosts_have_ids_that_the_dataplane_knows() -> None:
    host = Host(CalcSettings(nat_excludes_hosts=True))
    host.pool("a", "10.0.0.0/16", nat_outgoing=True)
    assert set(host.state.ip_sets) == {"ipam-pools", "masq-pools", "all-hosts"}


def test_a_dscp_makes_the_pools_known_and_other_limits_do_not() -> None:
    host = Host()
    host.pool("a", "10.0.0.0/16")
    host.endpoint("w", "10.0.0.1", qos_controls=QoSControls(ingress_bandwidth=1000))
    assert host.state.ip_sets == {}
    host.endpoint("w", "10.0.0.1", qos_controls=QoSControls(dscp="DF"))
    assert host.members(IPAM_POOLS) == {net("10.0.0.0/16")}
    host.endpoint("w", "10.0.0.1")
    assert host.state.ip_sets == {}


def test_a_malformed_pool_is_left_out_and_named() -> None:
    host = Host()
    host.pool("a", "10.0.0.0/16", nat_outgoing=True)
    key = host.pool("b", "10.1.0.0/33", nat_outgoing=True)
    assert host.members(MASQ_POOLS) == {net("10.0.0.0/16")}
    assert host.state.problems == {key: ("spec.cidr: '10.1.0.0/33' is no network",)}


def test_a_malformed_address_of_a_node_is_left_out_and_named() -> None:
    host = Host(CalcSettings(nat_excludes_hosts=True))
    host.pool("a", "10.0.0.0/16", nat_outgoing=True)
    key = host.node("n", "2001:db8::1", "2001:db8::2", "here")
    assert host.members(ALL_HOSTS) == {net("2001:db8::2")}
    assert host.state.problems[key] == (
        "spec.bgp.ipv4Address: '2001:db8::1' is no IPv4 address",
        "spec.addresses[0].address: 'here' is no IP address",
    )


def test_a_floating_address_is_told_with_its_endpoint_and_makes_the_pools_known() -> None:
    host = Host(FLOATING)
    host.pool("a", "10.0.0.0/16")
    key = host.endpoint("w", "10.0.0.1 fd00::1", ("10.0.0.1", "192.0.2.9"), ("fd00::1", "2001:db8::9"))
    assert host.nats("w") == (nat("10.0.0.1", "192.0.2.9"), nat("fd00::1", "2001:db8::9"))
    assert set(host.state.ip_sets) == {IPAM_POOLS}
    host.remove(key)
    assert host.state.ip_sets == {}


def test_floating_addresses_are_not_told_unless_they_are_enabled() -> None:
    host = Host()
    host.endpoint("w", "10.0.0.1", ("10.0.0.1", "192.0.2.9"))
    assert host.nats("w") == ()
    assert host.state.ip_sets == {}


@pytest.mark.parametrize(
    ("own", "external", "field"),
    [
        ("10.0.0.2", "192.0.2.9", "internalIP"),
        ("", "192.0.2.9", "internalIP"),
        ("10.0.0.1", "nowhere", "externalIP"),
        ("10.0.0.1", "2001:db8::9", "externalIP"),
        ("10.0.0.1", "127.0.0.1", "externalIP"),
        ("10.0.0.1", "0.0.0.0", "externalIP"),
        ("10.0.0.1", "224.0.0.1", "externalIP"),
        ("10.0.0.1", "169.254.1.1", "externalIP"),
        ("10.0.0.1", "255.255.255.255", "externalIP"),
        ("fd00::1", "fe80::1%eth0", "externalIP"),
        ("fd00::1", "2001:db8::9%eth0", "externalIP"),
        ("fd00::1%eth0", "2001:db8::9", "internalIP"),
        ("10.0.0.1/32", "192.0.2.9", "internalIP"),
    ],
)
def test_a_malformed_nat_is_left_out_and_named_while_the_endpoint_stays(own: str, external: str, field: str) -> None:
    host = Host(FLOATING)
    key = host.endpoint("w", "10.0.0.1 fd00::1", (own, external), ("10.0.0.1", "192.0.2.10"))
    assert host.nats("w") == (nat("10.0.0.1", "192.0.2.10"),)
    (problem,) = host.state.problems[key]
    assert problem.startswith(f"spec.ipNATs[0].{field}: ")


def test_only_the_endpoints_own_host_names_a_malformed_nat() -> None:
    host = Host(FLOATING)
    host.endpoint("w", "10.0.0.1", ("10.0.0.2", "192.0.2.9"), node="there")
    assert host.state.problems == {}


def test_an_external_address_of_two_endpoints_is_the_firsts_by_key_whatever_came_first() -> None:
    host = Host(FLOATING)
    late = host.endpoint("b", "10.0.0.2", ("10.0.0.2", "192.0.2.9"), ("10.0.0.2", "192.0.2.8"))
    first = host.endpoint("a", "10.0.0.1", ("10.0.0.1", "192.0.2.9"))
    assert host.nats("a") == (nat("10.0.0.1", "192.0.2.9"),)
    assert host.nats("b") == (nat("10.0.0.2", "192.0.2.8"),)
    assert host.state.problems == {late: ("spec.ipNATs: 192.0.2.9 belongs to red/here-k8s-a-eth0",)}
    host.remove(first)
    assert host.nats("b") == (nat("10.0.0.2", "192.0.2.9"), nat("10.0.0.2", "192.0.2.8"))
    assert host.state.problems == {}


def test_an_external_address_of_two_own_addresses_is_the_first_ones() -> None:
    host = Host(FLOATING)
    key = host.endpoint("w", "10.0.0.1 10.0.0.2", ("10.0.0.2", "192.0.2.9"), ("10.0.0.1", "192.0.2.9"))
    assert host.nats("w") == (nat("10.0.0.2", "192.0.2.9"),)
    assert host.state.problems[key] == (
        "spec.ipNATs[1].externalIP: '192.0.2.9' is already the external address of 10.0.0.2",
    )


def test_the_own_address_of_an_endpoint_is_nobodys_external_one() -> None:
    host = Host(FLOATING)
    thief = host.endpoint("a", "10.0.0.1", ("10.0.0.1", "10.0.0.2"))
    assert host.nats("a") == (nat("10.0.0.1", "10.0.0.2"),)
    owner = host.endpoint("b", "10.0.0.2")
    assert host.nats("a") == ()
    assert host.state.problems == {
        thief: ("spec.ipNATs: 10.0.0.2 is an own address of red/here-k8s-b-eth0",),
    }
    host.remove(owner)
    assert host.nats("a") == (nat("10.0.0.1", "10.0.0.2"),)


def test_of_several_owners_of_an_address_the_first_by_key_is_named() -> None:
    host = Host(FLOATING)
    for pod in ("c", "b", "d"):
        host.endpoint(pod, "10.0.0.2")
    thief = host.endpoint("a", "10.0.0.1", ("10.0.0.1", "10.0.0.2"))
    assert host.state.problems == {thief: ("spec.ipNATs: 10.0.0.2 is an own address of red/here-k8s-b-eth0",)}


def test_addresses_of_endpoints_that_are_gone_are_forgotten() -> None:
    host = Host(FLOATING)
    host.remove(host.endpoint("a", "10.0.0.1 fd00::1", ("10.0.0.1", "192.0.2.9"), ("fd00::1", "2001:db8::9")))
    texts = ("10.0.0.1", "fd00::1", "192.0.2.9", "2001:db8::9")
    assert not retained(host.graph) & {addr_bytes(text) for text in texts}


def test_endpoints_of_other_hosts_claim_nothing_here() -> None:
    host = Host(FLOATING)
    host.endpoint("a", "10.0.0.1", ("10.0.0.1", "192.0.2.9"), node="elsewhere")
    host.endpoint("b", "10.0.0.2", ("10.0.0.2", "192.0.2.9"))
    assert host.nats("b") == (nat("10.0.0.2", "192.0.2.9"),)


def test_without_floating_addresses_no_claims_are_kept() -> None:
    host = Host()
    host.endpoint("p", "10.0.0.1", ("10.0.0.1", "192.0.2.1"))
    (endpoint,) = host.state.endpoints.values()
    assert endpoint.nats == ()
    assert retained(vars(host.graph)["_nats"]) == retained(NatClaims())
