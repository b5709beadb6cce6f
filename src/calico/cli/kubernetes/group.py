"""``calico kubernetes``: clusters of Kubernetes."""

from __future__ import annotations

import click

from calico.cli.lazygroup import lazy_group

__all__ = ["kubernetes"]

_COMMANDS = {  # command -> module: imported when it runs
    "controllers": "calico.cli.kubernetes.controllers",
    "kubeconfig": "calico.cli.kubernetes.kubeconfig",
    "manifest": "calico.cli.kubernetes.manifest",
    "status": "calico.cli.kubernetes.status",
}


@click.group(cls=lazy_group(_COMMANDS))
def kubernetes() -> None:
    """Install Calico in a cluster of Kubernetes, run its controllers, and look at how it does there."""
