"""``calico node uninstall``: take Calico off this host, and say by name what was taken away and what stays."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from calico.cli.options import config_option, data_output_option
from calico.cli.output.printing import print_data, print_table, safe

if TYPE_CHECKING:
    from calico.dataplane.removal import Item

__all__ = ["uninstall"]

_STAYS = (
    "interfaces of workloads and what is in their namespaces: whoever made them removes them",
    "/etc/calico, and the data of an etcd member on this host",
)


@click.command()
@click.option("--dry-run", is_flag=True, help="Only say what would be taken away.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--stop", is_flag=True, help="End Felix and the BGP agent first, if they run.")
@click.option("--datastore", is_flag=True, help="Also delete the Node with all that it owns, and its reports.")
@click.option("--node", envvar="NODENAME", help="Name of the Node, for --datastore. [default: this host's name]")
@click.option(
    "--run-dir", envvar="CALICO_RUN_DIR", default="/var/run/calico", show_default=True, help="Where the sockets are."
)
@click.option("--state-dir", default="/var/lib/calico", show_default=True, help="Records of the CNI plugin.")
@click.option(
    "--route-protocol",
    envvar="FELIX_DEVICEROUTEPROTOCOL",
    type=click.IntRange(4, 255),
    default=80,
    show_default=True,
    help="DeviceRouteProtocol, if it is another here.",
)
@click.option("--unit-dir", default="/etc/systemd/system", show_default=True, help="Where units were put by hand.")
@click.option(
    "--cni-bin-dir", multiple=True, default=("/opt/cni/bin", "/usr/lib/cni"), show_default=True, help="CNI plugins."
)
@click.option("--cni-conf-dir", default="/etc/cni/net.d", show_default=True, help="CNI networks.")
@config_option
@data_output_option
def uninstall(
    dry_run: bool,
    yes: bool,
    stop: bool,
    datastore: bool,
    node: str | None,
    run_dir: str,
    state_dir: str,
    route_protocol: int,
    unit_dir: str,
    cni_bin_dir: tuple[str, ...],
    cni_conf_dir: str,
    config: str | None,
    output: str,
) -> None:
    """Take Calico off this host: rules and boot guard, routes, neighbours, limits, settings of the kernel, BIRD and its
    routes, units, sockets, records, the CNI plugin.

    Afterwards no policy holds here any more. Calling it again finds nothing. Settings get back the values that they
    had before this boot's first Felix. Exit code 1 when something could not be taken away.
    """
    from calico.cli.node.leftovers import end_daemons, running, strangers
    from calico.errors import InvalidInput

    if os.geteuid() != 0:
        raise InvalidInput("needs root: it changes the kernel's state of this host")
    host = _Host(Path(run_dir), Path(state_dir), route_protocol, Path(unit_dir), cni_bin_dir, Path(cni_conf_dir))
    host.check(stop=stop or dry_run)
    if not dry_run and not yes:
        if output != "table":
            raise click.UsageError("with -o json or yaml nobody is asked: say --yes or --dry-run")
        _show(_collect(host, config, node, datastore=datastore, dry_run=True), "WOULD BE TAKEN AWAY", _STAYS)
        click.confirm("\nTake all this away? No policy holds on this host afterwards", abort=True)
    ended = [] if dry_run else [*host.stop_units(), *end_daemons(running(host.run_dir))]
    items = [*ended, *_collect(host, config, node, datastore=datastore, dry_run=dry_run)]
    stays = [*_STAYS, *([] if dry_run else strangers(host.run_dir, host.state_dir))]
    if output == "table":
        _show(items, "WOULD BE TAKEN AWAY" if dry_run else "TAKEN AWAY", stays)
    else:
        key = "would_remove" if dry_run else "removed"
        document = {
            key: [_plain(item) for item in items if not item.fault],
            "failed": [_plain(item) | {"fault": item.fault} for item in items if item.fault],
            "stays": stays,
        }
        print_data(document, output)
    if any(item.fault for item in items):
        raise click.exceptions.Exit(1)


def _plain(item: Item) -> dict[str, str]:
    return {"kind": item.kind, "name": item.name}


def _collect(host: _Host, config: str | None, node: str | None, *, datastore: bool, dry_run: bool) -> list[Item]:
    items = host.take_away(dry_run=dry_run)
    if datastore:
        items += asyncio.run(_delete_node(config, node, dry_run=dry_run))
    return items


async def _delete_node(config: str | None, node: str | None, *, dry_run: bool) -> list[Item]:
    from calico.cli.daemons import node_name
    from calico.cli.node.leftovers import remove_node
    from calico.cli.options import opened
    from calico.dataplane.removal import Item
    from calico.errors import CalicoError

    try:
        async with opened(config) as store:
            return await remove_node(store, node_name(node), dry_run=dry_run)
    except CalicoError as error:
        return [Item("object", f"Node {node_name(node)}", str(error))]


class _Host(msgspec.Struct, frozen=True):
    """Where things are on this host."""

    run_dir: Path
    state_dir: Path
    protocol: int
    unit_dir: Path
    cni_dirs: tuple[str, ...]
    cni_conf_dir: Path

    def check(self, *, stop: bool) -> None:
        """InvalidInput when somebody keeps this host as it is and is not to be stopped."""
        from calico.cli.node.leftovers import running
        from calico.dataplane.removal import table_owner
        from calico.errors import InvalidInput
        from calico.felix.host import TABLE

        pids = running(self.run_dir)
        if pids and not stop:
            names = ", ".join(f"{name} (process {pid})" for name, pid in pids.items())
            raise InvalidInput(f"{names} still runs and would put everything back: stop it, or say --stop")
        owner = table_owner(TABLE)
        if owner and "felix" not in pids:
            raise InvalidInput(
                f"somebody who does not answer in {self.run_dir} owns the table (netlink port {owner}): "
                "is that another --run-dir?"
            )

    def stop_units(self) -> list[Item]:
        """Units go before the processes, or systemd would start those again."""
        from calico.cli.node.leftovers import remove_units

        return remove_units(self.unit_dir, dry_run=False)

    def take_away(self, *, dry_run: bool) -> list[Item]:
        """Everything, in order: who writes routes first, what closes the host last, then the files."""
        from calico.cli.node.leftovers import end_bird, other_birds, remove_files, remove_units, running
        from calico.dataplane.removal import Item, KernelRemoval
        from calico.felix.daemon import SETTINGS_RECORD
        from calico.felix.host import TABLE

        items = [Item("process", f"calico {name} {pid}") for name, pid in running(self.run_dir).items()]
        items += remove_units(self.unit_dir, dry_run=dry_run)
        had_bird = (self.run_dir / "bird.conf").exists()
        items += end_bird(self.run_dir, dry_run=dry_run)
        removal = KernelRemoval(
            TABLE,
            self.run_dir / SETTINGS_RECORD,
            protocol=self.protocol,
            with_bird=had_bird and not other_birds(self.run_dir),
            dry_run=dry_run,
        )
        items += asyncio.run(removal.run())
        items += remove_files(
            self.run_dir, self.state_dir, map(Path, self.cni_dirs), self.cni_conf_dir, dry_run=dry_run
        )
        return items


def _show(items: list[Item], title: str, stays: Sequence[str]) -> None:
    if not items:
        click.echo("Nothing of Calico is on this host")
        return
    print_table(["KIND", title, "TROUBLE"], [[item.kind, item.name, item.fault] for item in items])
    click.echo("\nStays: " + "\n       ".join(map(safe, stays)))
