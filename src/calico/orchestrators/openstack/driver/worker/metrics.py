"""The worker's metrics, declared once. What waits in the journal is asked of the database at each scrape."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, PlatformCollector, ProcessCollector
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

__all__ = ["WorkerMetrics"]

Waiting = Callable[[], tuple[int, float]]
"""Entries of the journal, and seconds since the oldest was written; raises when the database does not answer."""


class WorkerMetrics:
    """A registry of its own, for whoever serves it. Called in the loop's thread and in those that serve it."""

    def __init__(self, waiting: Waiting, *, with_process: bool = True) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(_Journal(waiting))
        if with_process:
            PlatformCollector(registry=self.registry)
            ProcessCollector(registry=self.registry)
        self._mirrored = self._counter("mirrored_objects", "Objects of the journal that are in etcd now.", "kind")
        self._failures = self._counter(
            "failures", "Objects that could not be mirrored; each is tried again, ever less often.", "kind"
        )
        self._not_followed = self._counter(
            "not_followed", "Times that something was mirrored which Calico does not carry out as it is said.", "code"
        )
        self._retries = self._counter(
            "journal_retries", "Times that nothing could be drained: etcd or the database did not answer."
        )
        self._audits = self._counter(
            "audits", "Comparisons of etcd with the database: clean, drift (something differed) or failed.", "result"
        )
        self._drift = self._counter("drift_objects", "Objects that audits found wrong in etcd.", "kind")
        self._audit_seconds = self._gauge("audit_seconds", "How long the last audit took.")
        self._audit_objects = self._gauge("audit_objects", "Objects that the last audit compared.")
        self._audit_time = self._gauge("last_audit_timestamp_seconds", "When the last audit ended, since the epoch.")
        self._leader = self._gauge("leader", "1: this worker leads its region.")

    def on_mirrored(self, kind: str) -> None:
        """An object is in etcd."""
        self._mirrored.labels(kind).inc()

    def on_failure(self, kind: str) -> None:
        """An object could not be mirrored."""
        self._failures.labels(kind).inc()

    def on_not_followed(self, code: str) -> None:
        """A problem was told."""
        self._not_followed.labels(code).inc()

    def on_retry(self) -> None:
        """The whole journal has to wait."""
        self._retries.inc()

    def on_audit(self, compared: int, drift: Mapping[str, int], took_s: float) -> None:
        """An audit ended. ``drift``: objects that differed, by kind."""
        self._audits.labels("drift" if drift else "clean").inc()
        for kind, count in drift.items():
            self._drift.labels(kind).inc(count)
        self._audit_seconds.set(took_s)
        self._audit_objects.set(compared)
        self._audit_time.set_to_current_time()

    def on_audit_failed(self) -> None:
        """An audit did not come to its end."""
        self._audits.labels("failed").inc()

    def on_leading(self, leads: bool) -> None:
        """A term began or ended."""
        self._leader.set(leads)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"calico_neutron_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(f"calico_neutron_{name}", text, registry=self.registry)


class _Journal(Collector):
    def __init__(self, waiting: Waiting) -> None:
        self._waiting = waiting

    def describe(self) -> Iterable[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        try:
            entries, oldest_s = self._waiting()
        except Exception:  # whatever a driver of a database raises: the rest is to be seen all the same
            yield GaugeMetricFamily(*_ANSWERS, 0)
            return
        yield GaugeMetricFamily(*_ANSWERS, 1)
        yield GaugeMetricFamily("calico_neutron_journal_entries", "Changes that wait to be mirrored.", entries)
        yield GaugeMetricFamily(
            "calico_neutron_journal_oldest_seconds", "How long the oldest of them has waited.", oldest_s
        )


_ANSWERS = ("calico_neutron_database_up", "1: the journal could be read; otherwise the next two are absent.")
