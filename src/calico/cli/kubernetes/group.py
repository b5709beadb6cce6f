"""``calico kubernetes``: clusters of Kubernetes."""

from __future__ import annotations

import click

from calico.cli.lazygroup import lazy_group

__all__ = ["kubernetes"]

_COMMANDS = {  # command -> module: imported when it runs
    "controllers": "calico.cli.kubernetes.controllers",
}


@click.group(cls=lazy_group(_COMMANDS))
def kubernetes() -> None:
    """Run what makes Calico's datastore follow a Kubernetes cluster."""
