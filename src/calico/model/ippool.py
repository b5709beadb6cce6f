"""IPPool: a range of workload addresses and how it is routed."""

from __future__ import annotations

from msgspec import field

from calico.model.conditions import ConditionedStatus
from calico.model.meta import Model, Resource

__all__ = ["IPPool", "IPPoolSpec"]


class IPPoolSpec(Model, frozen=True, kw_only=True):
    """A pool. Modes are Never, Always or CrossSubnet."""

    cidr: str = ""
    vxlan_mode: str = ""
    ipip_mode: str = ""
    nat_outgoing: bool = False
    disabled: bool = False
    disable_bgp_export: bool = field(default=False, name="disableBGPExport")
    block_size: int = 0
    node_selector: str = ""
    namespace_selector: str = ""
    allowed_uses: tuple[str, ...] = ()
    assignment_mode: str | None = None


class IPPool(Resource, frozen=True, kw_only=True):
    """A range of workload addresses."""

    spec: IPPoolSpec = IPPoolSpec()
    status: ConditionedStatus | None = None
