"""``calico ipam``: the addresses that are given out to workloads and tunnels."""

from __future__ import annotations

import click

from calico.cli.lazygroup import lazy_group

__all__ = ["ipam"]

_COMMANDS = {  # command -> module: imported when it runs
    "check": "calico.cli.ipam.check",
    "configure": "calico.cli.ipam.configure",
    "gc": "calico.cli.ipam.gc",
    "migrate": "calico.cli.ipam.migrate",
    "release": "calico.cli.ipam.release",
    "show": "calico.cli.ipam.show",
    "split": "calico.cli.ipam.split",
}


@click.group(cls=lazy_group(_COMMANDS))
def ipam() -> None:
    """Look at the addresses that are given out, check them against who uses them, and put right what is wrong."""
