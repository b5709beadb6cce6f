"""``calico kubernetes``: clusters of Kubernetes."""

from __future__ import annotations

import click

from calico.cli.lazygroup import lazy_group

__all__ = ["kubernetes"]

_COMMANDS = {  # command -> module: imported when it runs
    "manifest": "calico.cli.kubernetes.manifest",
    "status": "calico.cli.kubernetes.status",
}


@click.group(cls=lazy_group(_COMMANDS))
def kubernetes() -> None:
    """Install Calico in a cluster of Kubernetes, and look at how it does there."""
