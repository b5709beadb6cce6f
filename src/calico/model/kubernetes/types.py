"""Parts of a Kubernetes NetworkPolicy (networking/v1), as its JSON has them."""

from __future__ import annotations

from msgspec import field

from calico.model.meta import Model

__all__ = [
    "IPBlock",
    "LabelSelector",
    "LabelSelectorRequirement",
    "PolicyEgressRule",
    "PolicyIngressRule",
    "PolicyPeer",
    "PolicyPort",
]


class LabelSelectorRequirement(Model, frozen=True, kw_only=True):
    """One expression: ``operator`` is In, NotIn, Exists or DoesNotExist."""

    key: str = ""
    operator: str = ""
    values: tuple[str, ...] = ()


class LabelSelector(Model, frozen=True, kw_only=True):
    """All labels and all expressions must match; an empty one matches everything."""

    match_labels: dict[str, str] = {}
    match_expressions: tuple[LabelSelectorRequirement, ...] = ()


class IPBlock(Model, frozen=True, kw_only=True):
    """A CIDR, without some of its parts."""

    cidr: str = ""
    except_: tuple[str, ...] = field(default=(), name="except")


class PolicyPeer(Model, frozen=True, kw_only=True):
    """Who is at the other end. A selector that is absent is not the same as an empty one."""

    pod_selector: LabelSelector | None = None
    namespace_selector: LabelSelector | None = None
    ip_block: IPBlock | None = field(default=None, name="ipBlock")


class PolicyPort(Model, frozen=True, kw_only=True):
    """A port by number, range (with ``end_port``) or name; the protocol is TCP when absent."""

    protocol: str = ""
    port: int | str | None = None
    end_port: int | None = None


class PolicyIngressRule(Model, frozen=True, kw_only=True):
    """Allows from any of the peers to any of the ports; an empty list is no restriction."""

    ports: tuple[PolicyPort, ...] = ()
    from_: tuple[PolicyPeer, ...] = field(default=(), name="from")


class PolicyEgressRule(Model, frozen=True, kw_only=True):
    """Allows to any of the peers on any of the ports; an empty list is no restriction."""

    ports: tuple[PolicyPort, ...] = ()
    to: tuple[PolicyPeer, ...] = ()
