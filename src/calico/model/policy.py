"""Policy resources: rules, policies, tiers, profiles and network sets, as Calico v3 stores them."""

from __future__ import annotations

from msgspec import field

from calico.model.conditions import ConditionedStatus
from calico.model.meta import Model, Resource

__all__ = [
    "EntityRule",
    "GlobalNetworkPolicy",
    "GlobalNetworkPolicySpec",
    "GlobalNetworkSet",
    "HTTPMatch",
    "HTTPPath",
    "ICMPFields",
    "NetworkPolicy",
    "NetworkPolicySpec",
    "NetworkSet",
    "NetworkSetSpec",
    "Profile",
    "ProfileSpec",
    "Rule",
    "RuleMetadata",
    "ServiceAccountMatch",
    "ServiceMatch",
    "Tier",
    "TierSpec",
]


class ICMPFields(Model, frozen=True, kw_only=True):
    """ICMP type (0-254) and code (0-255)."""

    type: int | None = None
    code: int | None = None


class ServiceMatch(Model, frozen=True, kw_only=True):
    """A Kubernetes service by name."""

    name: str = ""
    namespace: str = ""


class ServiceAccountMatch(Model, frozen=True, kw_only=True):
    """Service accounts by name and/or by the labels of the account."""

    names: tuple[str, ...] = ()
    selector: str = ""


class EntityRule(Model, frozen=True, kw_only=True):
    """One side (source or destination) of a rule. All fields given must match.

    ``ports`` entries are a number, a ``"first:last"`` range or a port name, as in JSON.
    """

    nets: tuple[str, ...] = ()
    not_nets: tuple[str, ...] = ()
    selector: str = ""
    not_selector: str = ""
    namespace_selector: str = ""
    ports: tuple[int | str, ...] = ()
    not_ports: tuple[int | str, ...] = ()
    services: ServiceMatch | None = None
    service_accounts: ServiceAccountMatch | None = None


class HTTPPath(Model, frozen=True, kw_only=True):
    """An HTTP path, exact or by prefix."""

    exact: str = ""
    prefix: str = ""


class HTTPMatch(Model, frozen=True, kw_only=True):
    """HTTP methods and paths; not enforceable by a packet filter."""

    methods: tuple[str, ...] = ()
    paths: tuple[HTTPPath, ...] = ()


class RuleMetadata(Model, frozen=True, kw_only=True):
    """Annotations of a rule."""

    annotations: dict[str, str] = {}


class Rule(Model, frozen=True, kw_only=True):
    """One policy rule: ``action`` is Allow, Deny, Log or Pass; ``protocol`` a name or number, as in JSON."""

    action: str
    ip_version: int | None = field(default=None, name="ipVersion")
    protocol: int | str | None = None
    not_protocol: int | str | None = None
    icmp: ICMPFields | None = None
    not_icmp: ICMPFields | None = field(default=None, name="notICMP")
    source: EntityRule = EntityRule()
    destination: EntityRule = EntityRule()
    http: HTTPMatch | None = None
    metadata: RuleMetadata | None = None


class NetworkPolicySpec(Model, frozen=True, kw_only=True):
    """Policy for the workload endpoints of one namespace. ``types`` holds Ingress and/or Egress; empty means both."""

    tier: str = ""
    order: float | None = None
    selector: str = ""
    types: tuple[str, ...] = ()
    ingress: tuple[Rule, ...] = ()
    egress: tuple[Rule, ...] = ()
    service_account_selector: str = ""
    performance_hints: tuple[str, ...] = ()


class GlobalNetworkPolicySpec(NetworkPolicySpec, frozen=True, kw_only=True):
    """Policy for workload and host endpoints of the whole cluster."""

    namespace_selector: str = ""
    do_not_track: bool = False
    pre_dnat: bool = field(default=False, name="preDNAT")
    apply_on_forward: bool = False


class NetworkPolicy(Resource, frozen=True, kw_only=True):
    """Namespaced policy."""

    spec: NetworkPolicySpec = NetworkPolicySpec()


class GlobalNetworkPolicy(Resource, frozen=True, kw_only=True):
    """Cluster-wide policy."""

    spec: GlobalNetworkPolicySpec = GlobalNetworkPolicySpec()


class TierSpec(Model, frozen=True, kw_only=True):
    """Order of a tier (missing sorts last) and what happens at its end: Deny (also when missing) or Pass."""

    order: float | None = None
    default_action: str | None = None


class Tier(Resource, frozen=True, kw_only=True):
    """An ordered group of policies."""

    spec: TierSpec = TierSpec()
    status: ConditionedStatus | None = None


class ProfileSpec(Model, frozen=True, kw_only=True):
    """Rules tried after all tiers, and labels that endpoints naming the profile inherit."""

    ingress: tuple[Rule, ...] = ()
    egress: tuple[Rule, ...] = ()
    labels_to_apply: dict[str, str] = {}


class Profile(Resource, frozen=True, kw_only=True):
    """Default rules and inherited labels of endpoints."""

    spec: ProfileSpec = ProfileSpec()


class NetworkSetSpec(Model, frozen=True, kw_only=True):
    """Addresses or CIDRs, host bits allowed."""

    nets: tuple[str, ...] = ()


class NetworkSet(Resource, frozen=True, kw_only=True):
    """Labelled networks within a namespace."""

    spec: NetworkSetSpec = NetworkSetSpec()


class GlobalNetworkSet(Resource, frozen=True, kw_only=True):
    """Labelled networks for the whole cluster."""

    spec: NetworkSetSpec = NetworkSetSpec()
