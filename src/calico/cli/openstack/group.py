"""``calico openstack``: clouds of OpenStack."""

from __future__ import annotations

import importlib

import click

__all__ = ["openstack"]

_COMMANDS = {  # command -> module: imported when it runs
    "agent": "calico.cli.openstack.agent",
    "instances": "calico.cli.openstack.instances",
    "resync": "calico.cli.openstack.resync",
    "worker": "calico.cli.openstack.worker",
}


class _Group(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        return getattr(importlib.import_module(_COMMANDS[cmd_name]), f"{cmd_name}_command", None)


@click.group(cls=_Group)
def openstack() -> None:
    """Run the agent of a compute host; compare Neutron's database with what etcd has of it, and mend it."""
