"""Which policies govern which local endpoints, and in which order. Endpoints of other hosts play no part here."""

from __future__ import annotations

from collections.abc import Iterable

from calico.calc.endpoints import Endpoint
from calico.calc.host_endpoints import HostEndpointFacts, HostTiers
from calico.calc.labels import LabelGroup, LabelInheritance
from calico.calc.messages import TierPolicies
from calico.calc.policies import governed, is_preloaded, place_of
from calico.calc.policy_order import PolicyPlace, order_policies, without_egress
from calico.calc.selector_index import SelectorIndex
from calico.calc.staged import AnyPolicy, Form
from calico.calc.stages import Stage
from calico.errors import InvalidInput
from calico.model.keys import ResourceKey
from calico.model.policy import TierSpec

__all__ = ["PolicyIndex"]


class PolicyIndex:
    """Always true: ``changed_policies`` and ``changed_endpoints`` hold whatever may differ since they were taken."""

    def __init__(self) -> None:
        self.changed_policies: set[ResourceKey] = set()
        self.changed_endpoints: set[ResourceKey] = set()
        self._policies: dict[ResourceKey, AnyPolicy] = {}
        self._places: dict[ResourceKey, PolicyPlace] = {}
        self._problems: dict[ResourceKey, tuple[str, ...]] = {}
        self._tiers: dict[str, TierSpec] = {}
        self._groups: dict[ResourceKey, LabelGroup[ResourceKey, ResourceKey]] = {}
        self._selectors: SelectorIndex[ResourceKey, ResourceKey] = SelectorIndex(self)
        self._labels: LabelInheritance[ResourceKey, ResourceKey] = LabelInheritance(self._selectors)

    def on_policy(self, key: ResourceKey, form: Form) -> None:
        """A policy is new or changed, or absent. One whose selector does not parse governs nothing."""
        self.changed_policies.add(key)
        self._touch(self._selectors.groups_of(key))
        self._policies.pop(key, None)
        self._places.pop(key, None)
        self._problems.pop(key, None)
        policy, selector = form.policy, None
        if form.problems:
            self._problems[key] = form.problems
        if policy is not None:
            try:
                selector = governed(key, policy)
            except InvalidInput as error:
                self._problems[key] = (f"{error.field}: {error.message}",)
            else:
                self._policies[key] = policy
                self._places[key] = place_of(policy)
        self._selectors.on_selector(key, selector)

    def on_tier(self, name: str, tier: TierSpec | None) -> None:
        """A tier is new or changed; None: absent."""
        if self._tiers.get(name) == tier:
            return
        if tier is None:
            del self._tiers[name]
        else:
            self._tiers[name] = tier
        self.changed_endpoints.update(self._groups)

    def on_profile_labels(self, name: str, labels: dict[str, str] | None) -> None:
        """The labels a profile lends to endpoints."""
        self._labels.on_parent(name, labels)

    def on_endpoint(self, key: ResourceKey, endpoint: Endpoint | HostEndpointFacts | None) -> None:
        """A local workload or host endpoint is new or changed; None: absent."""
        self.changed_endpoints.add(key)
        old = self._groups.pop(key, None)
        if endpoint is not None:
            # Join before leaving: policies that govern both before and after stay in use throughout.
            self._groups[key] = self._labels.join(key, endpoint.labels, endpoint.profiles, ())
        if old is not None and old is not self._groups.get(key):
            self._labels.leave(key, old)

    def on_match(self, selector_id: ResourceKey, group: LabelGroup[ResourceKey, ResourceKey], matched: bool) -> None:
        """See ``MatchSink``."""
        self.changed_policies.add(selector_id)
        self._touch((group,))

    def active(self, key: ResourceKey) -> AnyPolicy | None:
        """The policy, if it governs a local endpoint or is kept ready for one."""
        policy = self._policies.get(key)
        return policy if policy is not None and (self._selectors.groups_of(key) or is_preloaded(policy)) else None

    def problems(self, key: ResourceKey) -> tuple[str, ...]:
        """Why a policy governs nothing, or what was left out of it before it was compiled."""
        return self._problems.get(key, ())

    def tiers_of(self, key: ResourceKey) -> tuple[TierPolicies, ...]:
        """The ordered tiers and policies of a local workload endpoint."""
        return self._tiers_at("normal", key)

    def host_tiers_of(self, key: ResourceKey) -> HostTiers:
        """The ordered tiers and policies of a local host endpoint."""
        return HostTiers(
            normal=self._tiers_at("normal", key),
            forward=self._tiers_at("forward", key),
            untracked=self._tiers_at("untracked", key),
            pre_dnat=without_egress(self._tiers_at("pre-dnat", key)),
        )

    def _tiers_at(self, stage: Stage, key: ResourceKey) -> tuple[TierPolicies, ...]:
        places = ((policy, self._places[policy]) for policy in self._groups[key].matches)
        return order_policies(((policy, place) for policy, place in places if stage in place.stages), self._tiers)

    def _touch(self, groups: Iterable[LabelGroup[ResourceKey, ResourceKey]]) -> None:
        for group in groups:
            self.changed_endpoints.update(group.items)
