"""What ``nft list table`` shows: the names that the design notes use, of everything that can be in the table."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from calico.calc.messages import (
    ALL_HOSTS,
    IPAM_POOLS,
    MASQ_POOLS,
    ActiveRule,
    EndpointId,
    EndpointUpdate,
    IPSetUpdate,
    PolicyUpdate,
    QoS,
    TierPolicies,
)
from calico.lib.packed import addr_bytes, net
from calico.model.keys import ResourceKey

KEY = ResourceKey("GlobalNetworkPolicy", "", "p")
LIMITS = QoS(
    egress_packet_rate=1,
    egress_packet_burst=1,
    ingress_packet_rate=1,
    ingress_packet_burst=1,
    egress_max_connections=1,
    ingress_max_connections=1,
    dscp=46,
)


def tiers(**directions: Any) -> tuple[TierPolicies, ...]:
    return (TierPolicies(name="t", default_action="deny", **directions),)


@pytest.fixture
def host(make_host: Any) -> Any:
    """One of everything."""
    made = make_host(
        deny="reject",
        openstack=True,
        metadata_v4=addr_bytes("127.0.0.1"),
        nat_excludes_hosts=True,
        nat_ports=(1000, 2000),
    )
    members = frozenset(map(net, ("10.0.0.0/16", "10.1.0.1/32", "fd00::/64", "fd01::1/128")))
    for set_id in (ALL_HOSTS, IPAM_POOLS, MASQ_POOLS):
        made.say(IPSetUpdate(id=set_id, kind="nets", members=members))
    allow = (ActiveRule(action="allow"),)
    made.say(PolicyUpdate(key=KEY, tier="t", ingress=allow, egress=allow))
    both = tiers(ingress=(KEY,), egress=(KEY,))
    made.workload(1, *both, nats=(("10.0.0.1", "192.0.2.9"), ("fd00::1", "2001:db8::9")))
    made.say(
        EndpointUpdate(
            id=EndpointId("k8s", "ns/w2", "eth0"),
            key=ResourceKey("WorkloadEndpoint", "ns", "w2"),
            interface="cali2",
            nets=(net("10.0.0.2"),),
            qos=LIMITS,
        )
    )
    every = {"tiers": both, "forward_tiers": both, "untracked_tiers": both}
    made.endpoint("h", "eth0", pre_dnat_tiers=tiers(ingress=(KEY,)), **every)
    return made


def test_chains_have_the_names_of_the_documentation(host: Any) -> None:
    by_content = {name for name in host.state.chains if name.startswith(("gi-", "go-"))}
    assert host.state.chains.keys() - by_content == {
        # places on a packet's way
        "raw-prerouting", "from-workload", "to-workload", "input-policy", "input-action", "output",
        "raw-output", "pre-dnat", "host-postrouting",
        "nat-prerouting", "nat-output", "nat-postrouting",
        "limits-forward", "limits-connections", "marking",
        # what they lead to
        "layout", "antispoof", "ended-flows", "workload-guard", "host-policy", "host-services", "host-action",
        "host-to-workload", "host-translated", "nat-outgoing", "too-many-connections",
        "failsafe-in", "failsafe-out", "failsafe-raw-in", "failsafe-raw-out",
        # policies and profiles
        "pi-gnp/p", "po-gnp/p", "upi-gnp/p", "upo-gnp/p", "ppi-gnp/p", "tpo-gnp/p", "fi-open", "fo-open",
        # limits
        "rates-from-cali2", "rates-to-cali2", "connections-from-cali2", "connections-to-cali2", "dscp-46",
    }  # fmt: skip


def test_sets_and_maps_have_the_names_of_the_documentation(host: Any) -> None:
    clusters = {
        f"{kind}-{set_id}" for kind in ("h4", "h6", "n4", "n6") for set_id in (ALL_HOSTS, IPAM_POOLS, MASQ_POOLS)
    }
    assert host.state.sets.keys() - clusters == {
        "wl-from", "wl-to", "wl-interfaces", "wl-src4", "wl-src6", "wl-foreign-src",
        "ended-flows4", "ended-flows6",
        "fip-dnat4", "fip-dnat6", "fip-snat4", "fip-snat6", "fip-self4", "fip-self6",
        "fs-in", "fs-out",
        "hep-in", "hep-out", "hep-translated", "hep-fwd-from", "hep-fwd-to",
        "hep-raw-in", "hep-raw-out", "hep-pre-dnat",
        "rates-from", "rates-to", "connections-from", "connections-to", "marks",
    }  # fmt: skip
    assert clusters <= host.state.sets.keys()


DOCUMENTED = re.compile(r"^\| ((?:`[a-z-]+`(?:, )?)+) \| ([a-z, ]+) (−?\d+) \|", re.M)


def test_every_base_chain_is_where_the_way_of_a_packet_says(host: Any) -> None:
    text = Path(__file__).parents[3].joinpath("docs/design/packet-path.md").read_text()
    documented = {}
    for names, hooks, priority in DOCUMENTED.findall(text):
        for name, hook in zip(re.findall("[a-z-]+", names), hooks.split(", "), strict=True):
            documented[name] = (hook, int(priority.replace("−", "-")), "nat" if name.startswith("nat-") else "filter")
    found = {chain.name: chain.hook for chain in host.state.chains.values() if chain.hook}
    assert {name: (hook.hook, hook.priority, hook.type) for name, hook in found.items()} == documented
    assert {hook.policy for hook in found.values()} == {"accept"}


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("NetworkPolicy", "pi-np/ns/a"),
        ("StagedNetworkPolicy", "pi-snp/ns/a"),
        ("StagedKubernetesNetworkPolicy", "pi-sknp/ns/a"),
        ("StagedGlobalNetworkPolicy", "pi-sgnp/a"),
    ],
)
def test_the_chain_of_a_policy_tells_its_kind_namespace_and_name(make_host: Any, kind: Any, name: str) -> None:
    host = make_host()
    key = ResourceKey(kind, "" if "Global" in kind else "ns", "a")
    staged: Any = "staged" if kind.startswith("Staged") else "normal"
    host.say(PolicyUpdate(key=key, tier="t", kind=staged, ingress=(ActiveRule(action="deny"),), egress=()))
    host.workload(1, *tiers(ingress=(key,)))
    assert name in host.state.chains
