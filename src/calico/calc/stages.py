"""Where in a packet's way a policy decides (datamodel §15.4), and flags that contradict one another.

Normal policies govern workload and host endpoints; those that apply on forward also govern what crosses a host
endpoint. Untracked and pre-DNAT policies govern host endpoints only. Such a policy whose flags contradict one another
is of unknown meaning: it stays where its flags put it (in both places, if it is both) and denies there.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

from calico.model.effective import NAMESPACE_LABEL
from calico.model.policy import GlobalNetworkPolicy, NetworkPolicy
from calico.model.selector import Selector, nodes, selector_of

__all__ = ["NORMAL", "Kind", "Stage", "contradictions", "kind_of", "only_hosts", "stages_of"]

Stage: TypeAlias = Literal["normal", "forward", "untracked", "pre-dnat"]
Kind: TypeAlias = Literal["normal", "untracked", "pre-dnat"]
Policy: TypeAlias = NetworkPolicy | GlobalNetworkPolicy

NORMAL: Final[frozenset[Stage]] = frozenset(("normal",))
_NORMAL_AND_FORWARD: Final[frozenset[Stage]] = frozenset(("normal", "forward"))
_UNTRACKED: Final[frozenset[Stage]] = frozenset(("untracked",))
_PRE_DNAT: Final[frozenset[Stage]] = frozenset(("pre-dnat",))
_UNTRACKED_AND_PRE_DNAT = _UNTRACKED | _PRE_DNAT


def stages_of(policy: Policy) -> frozenset[Stage]:
    """Where the policy decides."""
    if isinstance(policy, NetworkPolicy):
        return NORMAL
    spec = policy.spec
    if not (spec.do_not_track or spec.pre_dnat):
        return _NORMAL_AND_FORWARD if spec.apply_on_forward else NORMAL
    if spec.do_not_track and spec.pre_dnat:
        return _UNTRACKED_AND_PRE_DNAT
    return _UNTRACKED if spec.do_not_track else _PRE_DNAT


def kind_of(policy: Policy) -> Kind:
    """The kind that the host is told; of a policy that is untracked and pre-DNAT, untracked."""
    stages = stages_of(policy)
    if "untracked" in stages:
        return "untracked"
    return "pre-dnat" if "pre-dnat" in stages else "normal"


def contradictions(policy: Policy) -> tuple[str, ...]:
    """Which flags contradict one another; what the author meant is then unknown."""
    if isinstance(policy, NetworkPolicy):
        return ()
    spec = policy.spec
    found: list[str] = []
    if spec.do_not_track and spec.pre_dnat:
        found.append("spec.preDNAT: a policy cannot be preDNAT and doNotTrack; it denies everything")
    if (spec.do_not_track or spec.pre_dnat) and not spec.apply_on_forward:
        found.append("spec.applyOnForward: must be true with doNotTrack or preDNAT; the policy denies everything")
    if spec.pre_dnat and spec.egress:
        found.append("spec.egress: a preDNAT policy has no egress; it denies everything")
    if spec.pre_dnat and "Egress" in spec.types:
        found.append("spec.types: a preDNAT policy has no egress; it denies everything")
    return tuple(found)


def only_hosts(selector: Selector) -> Selector:
    """The selector without workload endpoints: they have the label of their namespace, host endpoints never do."""
    return selector_of(nodes.And((selector.root, nodes.Not(nodes.Has(NAMESPACE_LABEL)))))
