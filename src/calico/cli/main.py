"""The ``calico`` command: which command lives in which module, and how errors reach a person.

A command's module is imported only when that command runs, so that each starts as fast as its own imports allow.
Exit codes: 0 done, 1 it failed (the message names the object and, where there is one, the fix), 2 wrong usage.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING, NoReturn

import click

from calico import __version__
from calico.errors import CalicoError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

__all__ = ["cli", "main"]

# command -> (module, attribute, one line of help): the line stands here so that --help imports nothing else
COMMANDS: dict[str, tuple[str, str, str]] = {
    "apply": ("calico.cli.resources.write", "apply", "Create or replace resources from files."),
    "audit": ("calico.cli.audit.command", "audit", "Check this host's security properties by what its kernel has."),
    "bgp": ("calico.cli.daemons", "bgp", "Run the BGP agent, or look at this host's sessions and routes."),
    "cluster": ("calico.cli.cluster", "cluster", "Look at the whole cluster: versions, hosts, resources."),
    "cni": ("calico.cli.cni", "cni", "Attach containers: install the CNI plugin, call it by hand."),
    "cni-daemon": ("calico.cli.cni", "cni_daemon", "Attach containers for this host's CNI plugin."),
    "completion": ("calico.cli.completion", "completion", "Print the completion of a shell."),
    "convert": ("calico.cli.resources.convert", "convert", "Turn old and Kubernetes manifests into resources."),
    "create": ("calico.cli.resources.write", "create", "Create resources from files."),
    "datastore": (
        "calico.cli.datastore.group",
        "datastore",
        "Initialise, lock, copy and guard the datastore.",
    ),
    "delete": ("calico.cli.resources.write", "delete", "Delete resources by file or by name."),
    "diff": ("calico.cli.resources.diff", "diff", "Show what applying files would change, in meaning."),
    "endpoint": ("calico.cli.endpoint", "endpoint", "Connect namespaces and devices that no CNI runtime starts."),
    "explain": ("calico.cli.resources.explain", "explain_command", "Say what a kind or a field is for."),
    "etcd": ("calico.cli.etcd", "etcd", "Run the core cluster of etcd and look after its members."),
    "felix": ("calico.cli.daemons", "felix", "Run Felix on this host, or show the parameters it goes by."),
    "flows": ("calico.cli.flows", "flows", "Show which flows policy allowed and denied, past ones or as they come."),
    "get": ("calico.cli.resources.get", "get", "Show resources as a table, YAML or JSON, once or as they change."),
    "ipam": ("calico.cli.ipam.group", "ipam", "Look at the addresses that are given out, check, release, configure."),
    "kubernetes": (
        "calico.cli.kubernetes.group",
        "kubernetes",
        "Install Calico in a cluster of Kubernetes, run its controllers, look at both.",
    ),
    "label": ("calico.cli.resources.modify", "label", "Set or remove labels of a resource."),
    "lab": ("calico.cli.lab.group", "lab", "Run many hosts in network namespaces on this machine."),
    "node": ("calico.cli.node.group", "node", "Look at this host: Felix, BIRD, sessions, endpoints; route reflectors."),
    "openstack": (
        "calico.cli.openstack.group",
        "openstack",
        "Run the agent of an OpenStack compute host; compare etcd with Neutron's database.",
    ),
    "patch": ("calico.cli.resources.modify", "patch", "Change some fields of resources."),
    "replace": ("calico.cli.resources.write", "replace", "Replace existing resources from files."),
    "trial": ("calico.cli.resources.trial", "trial", "Confirm or undo what was written with --confirm-within."),
    "validate": ("calico.cli.resources.validate", "validate", "Check files without a datastore."),
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

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Names from the table; only options are left to click."""
        from click.shell_completion import CompletionItem

        names = [name for name in sorted(COMMANDS) if name.startswith(incomplete)]
        options = click.Command.shell_complete(self, ctx, incomplete) if incomplete.startswith("-") else []
        return [*(CompletionItem(name, help=COMMANDS[name][2]) for name in names), *options]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][2]) for name in sorted(COMMANDS)])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="calico")
def cli() -> None:
    """Calico connects and secures workloads with plain IP routing and kernel packet filters."""


def main() -> NoReturn:
    """Entry point of the ``calico`` script."""
    code = _run()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        code = code or 1  # the reader went away
    os._exit(code)  # taking the interpreter and gRPC apart costs more than many commands do


def _run() -> int:
    try:
        cli(prog_name="calico")
    except CalicoError as error:
        from calico.cli.output.printing import safe

        click.echo("error: " + "\n".join(map(safe, str(error).split("\n"))), err=True)
        return 1
    except KeyboardInterrupt:
        return 130
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0
