"""The agent's metrics, declared once."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec
from prometheus_client import CollectorRegistry, Counter, Histogram, PlatformCollector, ProcessCollector
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from calico.orchestrators.openstack.answers.outcome import Outcome

__all__ = ["Counts", "Metrics"]

_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """What there is now. ``conditions``: (code, severity) of each that holds."""

    instances: int
    endpoints: int
    subnets: int
    in_sync: bool
    datastore_revision: int
    metadata_connections: int
    conditions: list[tuple[str, str]]


class Metrics:
    """A registry of its own, for whoever serves it."""

    def __init__(self, counts: Callable[[], Counts], *, with_process: bool = True) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(_Gauges(counts))
        if with_process:
            PlatformCollector(registry=self.registry)
            ProcessCollector(registry=self.registry)
        self._requests = Counter(
            "openstack_agent_requests",
            "Requests of instances by protocol, what was asked (or why it was no request) and what was answered.",
            ("protocol", "asked", "answer"),
            registry=self.registry,
        )
        self._metadata = Counter(
            "openstack_agent_metadata_requests",
            "Requests to the metadata service by the status that the instance got.",
            ("status",),
            registry=self.registry,
        )
        self._took = Histogram(
            "openstack_agent_metadata_seconds",
            "Time until the instance got its answer from the metadata service.",
            registry=self.registry,
            buckets=_BUCKETS,
        )
        self._children: dict[tuple[str, str, str], Counter] = {}

    def on_outcome(self, outcome: Outcome) -> None:
        """A frame of an instance was dealt with."""
        key = (outcome.protocol, outcome.asked, outcome.answer)
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = self._requests.labels(*key)
        child.inc()

    def on_metadata(self, status: int, took_s: float) -> None:
        """A request to the metadata service was answered."""
        self._metadata.labels(str(status)).inc()
        self._took.observe(took_s)

    def requests(self) -> dict[str, int]:
        """Requests so far, by ``protocol asked answer``."""
        return {" ".join(filter(None, key)): int(child._value.get()) for key, child in sorted(self._children.items())}


class _Gauges(Collector):
    def __init__(self, counts: Callable[[], Counts]) -> None:
        self._counts = counts

    def collect(self) -> Iterator[Metric]:
        counts = self._counts()
        for name, text, value in (
            ("openstack_agent_instances", "Interfaces that are answered on.", counts.instances),
            ("openstack_agent_endpoints", "Endpoints of this host in the datastore.", counts.endpoints),
            ("openstack_agent_subnets", "Records of subnets in the datastore.", counts.subnets),
            ("openstack_agent_in_sync", "1 when the datastore was seen whole since the start.", int(counts.in_sync)),
            (
                "openstack_agent_datastore_revision",
                "Revision of the datastore that is known.",
                counts.datastore_revision,
            ),
            (
                "openstack_agent_metadata_connections",
                "Connections to the metadata service.",
                counts.metadata_connections,
            ),
        ):
            yield GaugeMetricFamily(name, text, value)
        family = GaugeMetricFamily("openstack_agent_conditions", "Conditions that hold.", labels=("code", "severity"))
        for code, severity in sorted(set(counts.conditions)):
            family.add_metric((code, severity), counts.conditions.count((code, severity)))
        yield family
