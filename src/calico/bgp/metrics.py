"""The BGP agent's metrics, declared once; read from its status document at each scrape, in the server's thread."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

__all__ = ["bgp_registry"]

_TRIES: Final = 5


def bgp_registry(document: Callable[[], dict[str, Any]], *, with_process: bool = True) -> CollectorRegistry:
    """A registry that asks for the status document at every scrape."""
    registry = CollectorRegistry()
    registry.register(_BGP(document))
    if with_process:
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
    return registry


class _BGP(Collector):
    def __init__(self, document: Callable[[], dict[str, Any]]) -> None:
        self._document = document

    def describe(self) -> Iterable[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        now = self._now()
        bird = now["bird"]
        for name, text, value in (
            ("calico_bgp_bird_up", "1: BIRD runs.", bird["state"] != "down"),
            ("calico_bgp_bird_recovering", "1: BIRD's graceful restart is not over.", bird["state"] == "recovering"),
            ("calico_bgp_ready", "1: BGP does its work on this host.", now["ready"]),
            ("calico_bgp_in_sync", "1: BIRD runs what the datastore says.", now["in_sync"]),
            ("calico_bgp_drained", "1: neighbours route around this host, by request.", now["drained"]),
            ("calico_bgp_config_revision", "Revision of the datastore that BIRD runs.", now["config_revision"]),
            ("calico_bgp_config_age_seconds", "Age of the last good configuration.", now["config_age_s"]),
        ):
            yield GaugeMetricFamily(name, text, float(value))
        yield CounterMetricFamily(
            "calico_bgp_bird_restarts", "Times BIRD ended unexpectedly and was started again.", bird["restarts"]
        )
        yield from _configurations(now["configurations"])
        yield from _sessions(now["sessions"])
        held = GaugeMetricFamily(
            "calico_bgp_conditions", "Conditions that hold, see the reference.", labels=["code", "severity"]
        )
        for (code, severity), count in sorted(Counter((c["code"], c["severity"]) for c in now["conditions"]).items()):
            held.add_metric([code, severity], count)
        yield held

    def _now(self) -> dict[str, Any]:
        """The document is made of what the agent's own thread is changing."""
        for _ in range(_TRIES):
            try:
                return self._document()
            except RuntimeError:
                continue
        return self._document()


def _configurations(counted: dict[str, int]) -> Iterator[Metric]:
    by_kind = CounterMetricFamily(
        "calico_bgp_configurations",
        "What became of new configurations: started, reconfigured, restarted (gracefully), postponed, refused, undone.",
        labels=["how"],
    )
    for how, count in sorted(counted.items()):
        by_kind.add_metric([how], count)
    yield by_kind
    yield CounterMetricFamily(
        "calico_bgp_graceful_restarts", "Times BIRD was restarted gracefully.", counted.get("restarted", 0)
    )


def _sessions(sessions: list[dict[str, Any]]) -> Iterator[Metric]:
    by_state = GaugeMetricFamily("calico_bgp_sessions", "Sessions by type and state.", labels=["type", "state"])
    for (kind, state), count in sorted(Counter((each["type"], each["state"]) for each in sessions).items()):
        by_state.add_metric([kind, state], count)
    yield by_state
    labels = ["peer", "type"]
    up = GaugeMetricFamily("calico_bgp_session_up", "1: the session is established.", labels=labels)
    imported = GaugeMetricFamily("calico_bgp_routes_imported", "Routes that the peer sent and we took.", labels=labels)
    exported = GaugeMetricFamily("calico_bgp_routes_exported", "Routes that the peer is sent.", labels=labels)
    for each in sessions:
        said = [each["peer_ip"] or each["name"], each["type"]]
        up.add_metric(said, each["state"] == "Established")
        imported.add_metric(said, each["imported"])
        exported.add_metric(said, each["exported"])
    yield from (up, imported, exported)
