"""Felix's metrics, declared once. Names are those of Calico's Felix where the meaning is the same.

Counts are read from what Felix holds when somebody asks, from the server's thread: lengths only, and copies of names.
Durations are observed as they happen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from calico.calc.messages import (
    IPSetRemove,
    IPSetUpdate,
    Message,
    PolicyRemove,
    PolicyUpdate,
    ProfileRemove,
    ProfileUpdate,
)
from calico.dataplane.drift import KINDS, Kind
from calico.netlink.nftables.counters import Counted

__all__ = ["Counts", "Metrics"]

_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

_CLUSTER = {
    "felix_cluster_num_hosts": (("Node",), "Nodes of the cluster."),
    "felix_cluster_num_host_endpoints": (("HostEndpoint",), "Host endpoints of the cluster."),
    "felix_cluster_num_workload_endpoints": (("WorkloadEndpoint",), "Workload endpoints of the cluster."),
    "felix_cluster_num_policies": (("NetworkPolicy", "GlobalNetworkPolicy"), "Policies of the cluster."),
    "felix_cluster_num_profiles": (("Profile",), "Profiles of the cluster."),
    "felix_cluster_num_tiers": (("Tier",), "Tiers of the cluster."),
}


class Counts(msgspec.Struct, kw_only=True):
    """What there is now. ``kinds``: resources by kind; ``conditions``: (code, severity) of each that holds;
    ``drops``: by reason, empty when the kernel cannot tell."""

    node: str
    kinds: dict[str, int]
    sync_status: str
    resyncs: int
    updates: int
    endpoints: dict[str, int]
    sets: int
    elements: int
    largest_set: int
    chains: int
    rules: int
    routes: int
    datastore_revision: int
    applied_revision: int
    failures: int
    repairs: dict[Kind, int]
    conflicts: int
    conditions: list[tuple[str, str]]
    drops: dict[str, Counted]
    flow_logs: dict[str, Any]


_RESYNC_STATES = {"wait-for-datastore": 1, "resync-in-progress": 2, "in-sync": 3, "locked": 1, "held": 1}


class Metrics:
    """The registry and what is observed. ``counts`` is asked at every scrape."""

    def __init__(self, counts: Callable[[], Counts], *, with_process: Callable[[], bool]) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(_Counted(counts))
        self.registry.register(_Process(with_process))
        own: dict[str, Any] = {"registry": self.registry}
        self.apply_time = Histogram(
            "felix_int_dataplane_apply_time_seconds", "How long programming the host took.", buckets=_BUCKETS, **own
        )
        self.calculation_time = Histogram(
            "felix_calc_graph_update_time_seconds", "How long a flush of the calculation took.", buckets=_BUCKETS, **own
        )
        self.latency = Histogram(
            "calico_felix_programming_latency_seconds",
            "From a change's arrival from the datastore until it is in the kernel.",
            buckets=_BUCKETS,
            **own,
        )
        self.messages = Counter(
            "felix_int_dataplane_messages", "Messages of the calculation to the host.", ["type"], **own
        )

        self._active: dict[str, set[object]] = {"policies": set(), "profiles": set(), "sets": set()}
        active = {
            "policies": Gauge("felix_active_local_policies", "Policies that apply to an endpoint here.", **own),
            "profiles": Gauge("calico_felix_active_local_profiles", "Profiles of endpoints here.", **own),
            "sets": Gauge("felix_ipsets_calico", "Sets of addresses that rules here refer to.", **own),
        }
        for what, gauge in active.items():
            gauge.set_function(self._active[what].__len__)

    def on_messages(self, messages: Iterable[Message]) -> None:
        """What the calculation told the host."""
        active = self._active
        for message in messages:
            self.messages.labels(type(message).__name__).inc()
            match message:
                case PolicyUpdate(key=key):
                    active["policies"].add(key)
                case PolicyRemove(key=key):
                    active["policies"].discard(key)
                case ProfileUpdate(name=name):
                    active["profiles"].add(name)
                case ProfileRemove(name=name):
                    active["profiles"].discard(name)
                case IPSetUpdate(id=set_id):
                    active["sets"].add(set_id)
                case IPSetRemove(id=set_id):
                    active["sets"].discard(set_id)
                case _:
                    pass


class _Counted(Collector):
    def __init__(self, counts: Callable[[], Counts]) -> None:
        self._counts = counts

    def describe(self) -> Iterable[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        now = self._counts()
        yield _labelled("felix_host", "The name of this host's Node.", "host", {now.node: 1})
        yield GaugeMetricFamily(
            "felix_resync_state", "1 waiting (or held), 2 listing, 3 in sync.", _RESYNC_STATES.get(now.sync_status, 0)
        )
        yield CounterMetricFamily("felix_resyncs_started", "Times the view was made anew.", now.resyncs)
        yield CounterMetricFamily("felix_calc_graph_updates_processed", "Changes from the datastore.", now.updates)
        yield CounterMetricFamily("felix_int_dataplane_failures", "Applies that failed.", now.failures)
        for name, (kinds, text) in _CLUSTER.items():
            yield GaugeMetricFamily(name, text, sum(now.kinds.get(kind, 0) for kind in kinds))
        for name, text, value in (
            ("felix_active_local_endpoints", "Endpoints of this host.", sum(now.endpoints.values())),
            ("felix_nft_sets", "Sets and maps of our table.", now.sets),
            ("calico_felix_set_elements", "Elements of all of them.", now.elements),
            ("calico_felix_set_elements_largest", "Elements of the largest of them.", now.largest_set),
            ("felix_nft_chains", "Chains of our table.", now.chains),
            ("felix_nft_rules", "Rules of our table.", now.rules),
            ("felix_route_table_num_routes", "Routes to workloads.", now.routes),
            ("calico_felix_datastore_revision", "Revision that the calculation has seen.", now.datastore_revision),
            ("calico_felix_applied_revision", "Revision that is in the kernel.", now.applied_revision),
            ("calico_felix_revision_lag", "Revisions seen and not in the kernel yet.", _lag(now)),
        ):
            yield GaugeMetricFamily(name, text, value)
        repairs = CounterMetricFamily(
            "calico_felix_drift_repairs", "Things of ours that others changed and Felix put right.", labels=["kind"]
        )
        for kind in KINDS:
            repairs.add_metric([kind], now.repairs.get(kind, 0))
        yield repairs
        yield CounterMetricFamily(
            "calico_felix_generation_conflicts",
            "Transactions planned again because somebody else wrote nftables meanwhile.",
            now.conflicts,
        )
        yield _labelled("calico_felix_endpoints", "Endpoints of this host by status.", "status", now.endpoints)
        held = GaugeMetricFamily(
            "calico_felix_conditions", "Conditions that hold, see the reference.", labels=["code", "severity"]
        )
        for code, severity in sorted(set(now.conditions)):
            held.add_metric([code, severity], now.conditions.count((code, severity)))
        yield held
        yield from _dropped(now.drops)
        yield from _flow_logs(now.flow_logs)


class _Process(Collector):
    """CPU, memory and descriptors of the process, and the interpreter, unless the settings say no."""

    def __init__(self, wanted: Callable[[], bool]) -> None:
        self._wanted = wanted
        apart = CollectorRegistry()
        self._collectors: list[Any] = [ProcessCollector(registry=apart), PlatformCollector(registry=apart)]

    def describe(self) -> Iterable[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        if self._wanted():
            for collector in self._collectors:
                yield from collector.collect()


def _lag(now: Counts) -> int:
    return max(0, now.datastore_revision - now.applied_revision)


def _dropped(drops: dict[str, Counted]) -> Iterator[CounterMetricFamily]:
    packets = CounterMetricFamily(
        "calico_felix_dropped_packets", "Packets that the ruleset dropped or rejected, see drops.", labels=["reason"]
    )
    size = CounterMetricFamily("calico_felix_dropped_bytes", "Bytes of them.", labels=["reason"])
    for reason, counted in drops.items():
        packets.add_metric([reason], counted.packets)
        size.add_metric([reason], counted.bytes)
    yield packets
    yield size


def _flow_logs(told: dict[str, Any]) -> Iterator[Metric]:
    yield GaugeMetricFamily("calico_felix_flow_log_flows", "Flows that flow logs follow now.", told.get("flows", 0))
    yield CounterMetricFamily(
        "calico_felix_flow_log_packets", "Decisions that rules told flow logs.", told.get("packets", 0)
    )
    yield CounterMetricFamily("calico_felix_flow_log_records", "Records of flow logs.", told.get("records", 0))
    lost = CounterMetricFamily(
        "calico_felix_flow_log_lost",
        "What flow logs lost: decisions (kernel), times that ends were (ends), flows without room, records to slow "
        "clients or not written (file), messages not understood (unknown).",
        labels=["where"],
    )
    for where, count in told.get("lost", {}).items():
        lost.add_metric([where], count)
    yield lost


def _labelled(name: str, text: str, label: str, values: dict[str, int]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=[label])
    for key, value in sorted(values.items()):
        family.add_metric([key], value)
    return family
