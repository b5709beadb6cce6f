"""Who may talk to whom at all, before security groups are asked: policies of one tier, by the labels of endpoints.

Calico routes all networks in one address space. With isolation ``project`` endpoints are reached by endpoints of their
own project only; with ``network+router`` by endpoints of their own network, of networks that a router joins to it, and,
on an external network, of networks whose router has its gateway there. What is no endpoint of the region (the fabric,
hosts, other orchestrators) is not judged here. What is let pass here still needs a security group that allows it.
"""

from __future__ import annotations

from collections.abc import Iterable

from calico.model.keys import ResourceKey
from calico.model.meta import Metadata
from calico.model.policy import EntityRule, NetworkPolicy, NetworkPolicySpec, Rule, Tier, TierSpec
from calico.orchestrators.openstack import naming
from calico.orchestrators.openstack.convert.documents import Converted, Options, finished, metadata_of
from calico.orchestrators.openstack.facts import Network, Router

__all__ = ["convert_isolation_tier", "convert_network_isolation", "convert_project_isolation", "joined_networks"]

_TIER_ORDER = 100.0


def convert_isolation_tier(options: Options) -> Converted:
    """The tier of the policies below, before the default tier; all regions share it."""
    if options.isolation == "none":
        return Converted()
    key = ResourceKey("Tier", "", naming.ISOLATION_TIER)
    tier = Tier(metadata=Metadata(name=key.name), spec=TierSpec(order=_TIER_ORDER, default_action="Pass"))
    return finished([(key, tier, {})], (), revision=0, subject=("tier", key.name))


def joined_networks(network_id: str, routers: Iterable[Router]) -> tuple[str, ...]:
    """The networks whose endpoints may reach those of a network, itself among them."""
    found = {network_id}
    for router in routers:
        if network_id in router.network_ids or network_id == router.gateway_network_id:
            found.update(router.network_ids)
    return tuple(sorted(found))


def convert_network_isolation(network: Network, routers: Iterable[Router], options: Options) -> Converted:
    """The policy of a network. ``routers`` are those with an interface or their gateway in it."""
    if options.isolation != "network+router":
        return Converted()
    peers = ", ".join(f"'{peer}'" for peer in joined_networks(network.id, routers))
    key = naming.isolation_key(options.region, "network", network.id)
    policy = _policy(
        key,
        network.revision_number,
        naming.NETWORK_ID_LABEL,
        network.id,
        f"{naming.NETWORK_ID_LABEL} in {{{peers}}}",
    )
    return finished([(key, policy, {})], (), revision=network.revision_number, subject=("network", network.id))


def convert_project_isolation(project_id: str, options: Options) -> Converted:
    """The policy of a project."""
    if options.isolation != "project":
        return Converted()
    key = naming.isolation_key(options.region, "project", project_id)
    value = naming.label_text(project_id)
    own = f"{naming.PROJECT_ID_LABEL} == '{value}'"
    policy = _policy(key, 0, naming.PROJECT_ID_LABEL, value, own)
    return finished([(key, policy, {})], (), revision=0, subject=("project", project_id))


def _policy(key: ResourceKey, revision: int, label: str, value: str, peers: str) -> NetworkPolicy:
    """Peers go on to the next tier, other endpoints are denied, the rest of the world goes on, too."""
    ingress = (
        Rule(action="Pass", source=EntityRule(selector=peers)),
        Rule(action="Deny", source=EntityRule(selector=f"has({label})")),
        Rule(action="Pass"),
    )
    spec = NetworkPolicySpec(
        tier=naming.ISOLATION_TIER, selector=f"{label} == '{value}'", types=("Ingress",), ingress=ingress
    )
    return NetworkPolicy(metadata=metadata_of(key, revision, {}, {}), spec=spec)
