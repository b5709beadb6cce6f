"""``calico ipam``: the addresses that are given out to workloads and tunnels."""

from __future__ import annotations

import importlib

import click

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


class _Group(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        return getattr(importlib.import_module(_COMMANDS[cmd_name]), f"{cmd_name}_command", None)


@click.group(cls=_Group)
def ipam() -> None:
    """Look at the addresses that are given out, check them against who uses them, and put right what is wrong."""
