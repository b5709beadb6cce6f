"""Where the BGP agent is asked for its health and its metrics: options, then the environment. Off unless given."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from calico.obs.listeners import HealthWanted, MetricsWanted

__all__ = ["listen_options", "take_listen"]

_F = TypeVar("_F", bound=Callable[..., Any])

_PORT = click.IntRange(0, 65535)
_OPTIONS = (
    ("health_port", "--health-port", _PORT, 0, "Answer /liveness and /readiness over HTTP on this port; 0: do not."),
    ("health_host", "--health-host", str, "localhost", "The address for that."),
    ("metrics_port", "--metrics-port", _PORT, 0, "Offer metrics to Prometheus on this port; 0: do not."),
    ("metrics_host", "--metrics-host", str, "", "The address for that; empty: every one."),
    ("metrics_cert", "--metrics-cert-file", str, "", "Serve metrics over TLS with this certificate, PEM."),
    ("metrics_key", "--metrics-key-file", str, "", "Its private key, PEM."),
    ("metrics_ca", "--metrics-ca-file", str, "", "Only clients with a certificate of this CA may read metrics, PEM."),
)


def listen_options(function: _F) -> _F:
    """The options; ``take_listen`` reads them."""
    for name, option, kind, default, text in reversed(_OPTIONS):
        function = click.option(
            option, name, type=kind, default=default, show_default=True, envvar=f"CALICO_BGP_{name.upper()}", help=text
        )(function)
    return function


def take_listen(options: dict[str, Any]) -> tuple[HealthWanted | MetricsWanted, ...]:
    """Take what the options of ``listen_options`` say out of all that were given."""
    from calico.obs.listeners import HealthWanted, MetricsWanted

    said = {name: options.pop(name) for name, *_ in _OPTIONS}
    wanted: list[HealthWanted | MetricsWanted] = []
    if said["health_port"]:
        wanted.append(HealthWanted(said["health_host"], said["health_port"]))
    if said["metrics_port"]:
        tls = (said["metrics_cert"], said["metrics_key"], said["metrics_ca"], bool(said["metrics_ca"]))
        wanted.append(MetricsWanted(said["metrics_host"], said["metrics_port"], *tls))
    return tuple(wanted)
