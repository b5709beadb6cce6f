"""The ``calico`` command: which command lives in which module, and how errors reach a person.

A command's module is imported only when that command runs, so that each starts as fast as its own imports allow.
Exit codes: 0 done, 1 it failed (the message names the object and, where there is one, the fix), 2 wrong usage.
"""

from __future__ import annotations

import importlib
import sys

import click

from calico import __version__
from calico.errors import CalicoError

__all__ = ["cli", "main"]

# command -> (module, attribute, one line of help): the line stands here so that --help imports nothing else
COMMANDS: dict[str, tuple[str, str, str]] = {
    "apply": ("calico.cli.resources", "apply", "Create or replace resources from files."),
    "bgp": ("calico.cli.daemons", "bgp", "Run the BGP agent, or look at this host's sessions and routes."),
    "create": ("calico.cli.resources", "create", "Create resources from files."),
    "datastore": ("calico.cli.datastore", "datastore", "Initialise, lock, look at, copy and guard the datastore."),
    "delete": ("calico.cli.resources", "delete", "Delete resources by file or by name."),
    "etcd": ("calico.cli.etcd", "etcd", "Run the core cluster of etcd and look after its members."),
    "felix": ("calico.cli.daemons", "felix", "Run Felix: programs this host's routes and packet filters."),
    "get": ("calico.cli.resources", "get", "Show resources as a table, YAML or JSON."),
    "lab": ("calico.cli.lab", "lab", "Run many hosts in network namespaces on this machine."),
    "node": ("calico.cli.node", "node", "Look at this host: Felix, BIRD, sessions, endpoints; route reflectors."),
    "replace": ("calico.cli.resources", "replace", "Replace existing resources from files."),
    "trial": ("calico.cli.trial", "trial", "Confirm or undo what was written with --confirm-within."),
    "version": ("calico.cli.version", "version", "Show the versions of client and cluster."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        module, attribute, _ = entry
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][2]) for name in sorted(COMMANDS)])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="calico")
def cli() -> None:
    """Calico connects and secures workloads with plain IP routing and kernel packet filters."""


def main() -> None:
    """Entry point of the ``calico`` script."""
    try:
        cli(prog_name="calico")
    except CalicoError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
