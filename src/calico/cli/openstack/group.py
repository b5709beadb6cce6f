"""``calico openstack``: clouds of OpenStack."""

from __future__ import annotations

import click

from calico.cli.lazygroup import lazy_group

__all__ = ["openstack"]

_COMMANDS = {  # command -> module: imported when it runs
    "agent": "calico.cli.openstack.agent",
    "instances": "calico.cli.openstack.instances",
    "resync": "calico.cli.openstack.resync",
    "worker": "calico.cli.openstack.worker",
}


@click.group(cls=lazy_group(_COMMANDS))
def openstack() -> None:
    """Run the agent of a compute host; compare Neutron's database with what etcd has of it, and mend it."""
