"""``calico datastore``: what an operator does to the datastore as a whole."""

from __future__ import annotations

import asyncio
import importlib
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import click

from calico import __version__
from calico.cli.output.printing import print_data, print_table
from calico.datastore.connection import DEFAULT_CONFIG, load_connection, open_store
from calico.datastore.typed.store import Store
from calico.model.node import ClusterInformationSpec

__all__ = ["config_option", "datastore", "with_store"]

T = TypeVar("T")

_ELSEWHERE = {  # command -> module: imported when it runs
    "export": "calico.cli.datastore.transfer",
    "import": "calico.cli.datastore.transfer",
    "migrate": "calico.cli.datastore.transfer",
    "migrate-policy-names": "calico.cli.datastore.policy_names",
    "roles": "calico.cli.datastore.roles",
    "status": "calico.cli.datastore.status",
}

config_option = click.option(
    "-c", "--config", help=f"CalicoAPIConfig file; default {DEFAULT_CONFIG}. ETCD_... in the environment wins."
)


def with_store(config: str | None, work: Callable[[Store], Awaitable[T]]) -> T:
    """Run ``work`` on the datastore of the environment or the file."""

    async def run() -> T:
        async with open_store(load_connection(config)) as store:
            return await work(store)

    return asyncio.run(run())


class _Group(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*self.commands, *_ELSEWHERE])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in _ELSEWHERE:
            return getattr(importlib.import_module(_ELSEWHERE[cmd_name]), f"{cmd_name.replace('-', '_')}_command", None)
        return super().get_command(ctx, cmd_name)


@click.group(cls=_Group)
def datastore() -> None:
    """Initialise, lock, look at, copy and guard the datastore."""


@datastore.command()
@click.option("--cluster-type", default="", help="Comma list of what runs this cluster, added to what is recorded.")
@click.option("--defaults", is_flag=True, help="Also the default configurations of Felix, BGP and IPAM.")
@click.option("--ipv4-pool", metavar="CIDR", help="Also this pool, natOutgoing, unless there is an IPv4 pool.")
@click.option("--ipv6-pool", metavar="CIDR", help="Also this pool, unless there is an IPv6 pool.")
@click.option("-o", "--output", type=click.Choice(["text", "json", "yaml"]), default="text", help="What to print.")
@config_option
def init(
    cluster_type: str,
    defaults: bool,
    ipv4_pool: str | None,
    ipv6_pool: str | None,
    output: str,
    config: str | None,
) -> None:
    """Create ClusterInformation and the built-in tiers where they are missing.

    Can be repeated: what is there stays, and a datastore that is locked stays locked. The options add what a
    calico/node container makes at its start for the whole cluster.
    """
    from calico.datastore.typed.initialise import initialise, initialise_defaults

    pools = [_network(cidr, version) for cidr, version in ((ipv4_pool, 4), (ipv6_pool, 6)) if cidr]

    async def work(store: Store) -> tuple[ClusterInformationSpec, list[str]]:
        info = await initialise(store, __version__, cluster_type)
        return info.spec, await initialise_defaults(store, pools, configurations=defaults)

    spec, made = with_store(config, work)
    data = {
        "clusterGUID": spec.cluster_guid,
        "datastoreReady": spec.datastore_ready,
        "clusterType": spec.cluster_type,
        "created": made,
    }
    for name in made if output == "text" else ():
        click.echo(f"{name} is created")
    if output != "text":
        print_data(data, output)
    elif spec.datastore_ready:
        click.echo(f"The datastore is initialised, cluster {spec.cluster_guid}")
    else:
        click.echo(f"The datastore is initialised and locked, cluster {spec.cluster_guid}")


def _network(cidr: str, version: int) -> str:
    import ipaddress

    try:
        network = ipaddress.ip_network(cidr)
    except ValueError as error:
        raise click.UsageError(f"--ipv{version}-pool: {error}") from None
    if network.version != version:
        raise click.UsageError(f"--ipv{version}-pool: {cidr} is of the other family")
    return str(network)


@datastore.command()
@config_option
def lock(config: str | None) -> None:
    """Say that the datastore must not be used: agents keep what they have, plugins have their callers wait."""
    _set_ready(config, False)


@datastore.command()
@config_option
def unlock(config: str | None) -> None:
    """Say that the datastore may be used."""
    _set_ready(config, True)


def _set_ready(config: str | None, ready: bool) -> None:
    from calico.datastore.typed.ready import set_ready

    changed = with_store(config, lambda store: set_ready(store, ready))
    click.echo(f"The datastore {'is' if changed else 'was already'} {'unlocked' if ready else 'locked'}")


@datastore.command()
@click.option("--host", default="", help="Only this host follows the store.")
@click.option("--all-hosts", is_flag=True, help="Every host follows it.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@config_option
def accept(host: str, all_hosts: bool, yes: bool, config: str | None) -> None:
    """Say that the store is right although hosts hold back what they see of it (condition datastore-held).

    Hosts that hold it now follow it within seconds and remove what it lacks. A host that begins to hold it later needs
    another word, so that a backup cannot bring an old one back.
    """
    if bool(host) == all_hosts:
        raise click.UsageError("give either --host NAME or --all-hosts")
    from calico.cli.resources.trial import author
    from calico.datastore.sync.acceptance import write_acceptance

    who = f"host {host}" if host else "all hosts"
    if not yes:
        click.echo(f"This store holds {with_store(config, _summary)}.")
        click.confirm(f"Let {who} remove what it lacks?", abort=True)
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    word = with_store(config, lambda store: write_acceptance(store.backend, host, by=author(), time=now))
    click.echo(f"Accepted for {who}: cluster {word.cluster_guid}, etcd {word.cluster_id}")


async def _summary(store: Store) -> str:
    kinds = {"Node": "nodes", "WorkloadEndpoint": "workload endpoints", "GlobalNetworkPolicy": "global policies"}
    counts = [f"{len(await store.list(kind))} {name}" for kind, name in kinds.items()]
    revision, _ = await store.backend.revision()
    return f"{', '.join(counts)} at revision {revision}"


def show(titles: tuple[str, ...], rows: list[list[Any]]) -> None:
    """A table after an empty line."""
    click.echo()
    print_table(titles, rows)
