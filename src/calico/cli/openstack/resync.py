"""``calico openstack resync``: etcd against Neutron's database, on a controller."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from calico.cli.options import data_output_option
from calico.cli.output.printing import print_data, print_table
from calico.errors import CalicoError, InvalidInput

__all__ = ["resync_command"]

_F = TypeVar("_F", bound=Callable[..., Any])
_FILES = ("/etc/neutron/neutron.conf", "/etc/neutron/plugins/ml2/ml2_conf.ini")
_FAILED = 3


def _scope(option: str, text: str) -> Callable[[_F], _F]:
    return click.option(f"--{option}", option.replace("-", "_"), multiple=True, metavar="ID", help=text)


@click.command("resync")
@click.option(
    "--config-file",
    "files",
    multiple=True,
    type=click.Path(dir_okay=False),
    help=f"Neutron's configuration; may be repeated.  [default: those that exist of {', '.join(_FILES)}]",
)
@click.option("--dry-run", is_flag=True, help="Only say what differs.")
@_scope("port", "Only this port; may be repeated, as the others.")
@_scope("security-group", "Only this security group.")
@_scope("address-group", "Only this address group.")
@_scope("subnet", "Only this subnet.")
@_scope("network", "Only the ports and subnets of this network.")
@data_output_option
def resync_command(files: tuple[str, ...], dry_run: bool, output: str, **scopes: tuple[str, ...]) -> None:
    """Compare etcd with Neutron's database, and mirror again what differs.

    Run it on a controller, as a user that may read Neutron's configuration; the service may run. What waits in the
    journal is on its way and does not count. Exit code 0: nothing differs, or all is mended; 1: something differs
    (with --dry-run), or could not be mended; 3: it cannot be told.
    """
    try:
        resync = _driver()
        given = list(files) or [name for name in _FILES if Path(name).exists()]
        document = asyncio.run(resync.resync(given, scopes, dry_run=dry_run))
    except CalicoError as error:
        click.echo(f"error: {error}", err=True)
        raise click.exceptions.Exit(_FAILED) from error
    if output == "table":
        _show(document)
    else:
        print_data(document, output)
    if document["failed"] or (dry_run and document["objects"]):
        raise click.exceptions.Exit(1)


def _driver() -> Any:
    try:
        from calico.orchestrators.openstack.driver import resync
    except ModuleNotFoundError as error:
        raise InvalidInput(
            f"{error.name} is not installed in this environment. Run the command of the environment of neutron-server; "
            "there: pip install 'calico-network[openstack]'"
        ) from error
    return resync


def _show(document: dict[str, Any]) -> None:
    rows = [
        [each["kind"], each["id"], change["verdict"], change["key"].rpartition("/")[2], ", ".join(change["fields"])]
        for each in document["objects"]
        for change in each["changes"]
    ]
    if rows:
        print_table(["KIND", "ID", "TO DO", "KEY", "FIELDS"], rows)
        click.echo()
    what = "differ" if document["dryRun"] else "were mirrored again"
    click.echo(f"{document['compared']} objects compared, {len(document['objects'])} {what}, {document['seconds']} s")
    for failed in document["failed"]:
        click.echo(f"{failed['kind']} {failed['id']}: {failed['reason']}", err=True)
