"""Who may talk to whom at all, before security groups are asked: policies of one tier, by the labels of endpoints.

Calico routes all networks in one address space. Who is kept apart is denied by one policy of the region; each network
or project has one before it that lets its peers pass, so that what is not yet known, or not understood, is kept apart.

With isolation ``project`` endpoints are reached by endpoints of their
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
_PEERS, _OTHERS = 10.0, 20.0
"""Orders of the policies in the tier."""


def convert_isolation_tier(options: Options) -> Converted:
    """The tier of all these policies, which all regions share, and the region's policy that denies."""
    if options.isolation == "none":
        return Converted()
    tier_key = naming.TIER_KEY
    tier = Tier(metadata=Metadata(name=tier_key.name), spec=TierSpec(order=_TIER_ORDER, default_action="Pass"))
    key = naming.isolation_key(options.region, "others", "")
    everybody = f"has({naming.NETWORK_ID_LABEL})"
    deny = Rule(action="Deny", source=EntityRule(selector=everybody))
    policy = _policy(key, 0, _OTHERS, everybody, (deny, Rule(action="Pass")))
    return finished([(tier_key, tier, {}), (key, policy, {})], (), revision=0, subject=("isolation", "others"))


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
    let_pass = Rule(action="Pass", source=EntityRule(selector=f"{naming.NETWORK_ID_LABEL} in {{{peers}}}"))
    own = f"{naming.NETWORK_ID_LABEL} == '{network.id}'"
    policy = _policy(key, network.revision_number, _PEERS, own, (let_pass,))
    return finished([(key, policy, {})], (), revision=network.revision_number, subject=("network", network.id))


def convert_project_isolation(project_id: str, options: Options) -> Converted:
    """The policy of a project."""
    if options.isolation != "project":
        return Converted()
    key = naming.isolation_key(options.region, "project", project_id)
    own = f"{naming.PROJECT_ID_LABEL} == '{naming.label_text(project_id)}'"
    policy = _policy(key, 0, _PEERS, own, (Rule(action="Pass", source=EntityRule(selector=own)),))
    return finished([(key, policy, {})], (), revision=0, subject=("project", project_id))


def _policy(key: ResourceKey, revision: int, order: float, selector: str, ingress: tuple[Rule, ...]) -> NetworkPolicy:
    spec = NetworkPolicySpec(
        tier=naming.ISOLATION_TIER, order=order, selector=selector, types=("Ingress",), ingress=ingress
    )
    return NetworkPolicy(metadata=metadata_of(key, revision, {}, {}), spec=spec)
