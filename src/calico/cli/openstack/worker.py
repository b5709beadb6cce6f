"""``calico openstack worker``: the driver's worker as a service of its own, on a controller."""

from __future__ import annotations

from pathlib import Path

import click

from calico.errors import InvalidInput

__all__ = ["worker_command"]

_FILES = ("/etc/neutron/neutron.conf", "/etc/neutron/plugins/ml2/ml2_conf.ini")


@click.command("worker")
@click.option(
    "--config-file",
    "files",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False),
    help=f"Neutron's configuration; may be repeated.  [default: those that exist of {', '.join(_FILES)}]",
)
def worker_command(files: tuple[str, ...]) -> None:
    """Run the worker that mirrors Neutron's database to etcd and reports hosts to Neutron.

    Neutron before 29 needs it beside its API: its neutron-periodic-workers starts no such processes. Later ones start
    the worker themselves; one more does no harm.
    """
    try:
        from calico.orchestrators.openstack.driver.worker import standalone
    except ModuleNotFoundError as error:
        raise InvalidInput(
            f"{error.name} is not installed in this environment. Run the command of the environment of Neutron; "
            "there: pip install 'calico-network[openstack]'"
        ) from error
    standalone.run(list(files) or [name for name in _FILES if Path(name).exists()])
