"""What metrics count, read from what Felix holds."""

from __future__ import annotations

from collections import Counter

from calico.dataplane.nft.drops import read_drops
from calico.errors import CalicoError
from calico.felix.flows.service import FlowLogs
from calico.felix.host import TABLE, Host, Progress
from calico.felix.inputs import Inputs
from calico.felix.metrics import Counts
from calico.netlink.nftables.counters import Counted
from calico.obs.conditions import Conditions

__all__ = ["counts_now"]


def counts_now(
    node: str, inputs: Inputs, progress: Progress, host: Host, conditions: Conditions, flow_logs: FlowLogs | None
) -> Counts:
    """What metrics count, read from another thread: copies of names, and lengths."""
    sizes = [len(host.table.elements(name)) for name in list(host.table.sets)]
    return Counts(
        node=node,
        kinds=inputs.counts(),
        sync_status=inputs.status.value,
        resyncs=inputs.resyncs,
        updates=inputs.updates,
        endpoints=dict(Counter(list(host.endpoint_states.values()))),
        sets=len(sizes),
        elements=sum(sizes),
        largest_set=max(sizes, default=0),
        chains=len(host.table.chains),
        rules=sum(len(chain.rules) for chain in list(host.table.chains.values())),
        routes=host.route_count(),
        datastore_revision=inputs.revision,
        applied_revision=progress.applied_revision,
        failures=progress.failures,
        repairs=dict(host.drift.repairs),
        conflicts=host.conflicts,
        drops=_drops(),
        flow_logs=flow_logs.as_data() if flow_logs is not None else {},
        conditions=[(condition["code"], condition["severity"]) for condition in conditions.as_data()],
    )


def _drops() -> dict[str, Counted]:
    """Through a socket of its own: Felix's is used by its loop."""
    try:
        return read_drops(TABLE)
    except CalicoError:
        return {}
