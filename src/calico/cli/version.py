"""``calico version``."""

from __future__ import annotations

import asyncio

import click

from calico import __version__

__all__ = ["version"]


@click.command()
@click.option("--client", is_flag=True, help="Only the version of this client; asks no datastore.")
@click.option("-c", "--config", help="CalicoAPIConfig file. ETCD_... in the environment wins.")
def version(client: bool, config: str | None) -> None:
    """Show the versions of this client and of the cluster."""
    click.echo(f"Client Version:    {__version__}")
    if client:
        return
    from calico.datastore.connection import load_connection, open_store
    from calico.errors import NotFound
    from calico.model.meta import Resource

    async def read() -> Resource:
        async with open_store(load_connection(config)) as store:
            return await store.get("ClusterInformation", "default")

    try:
        spec = getattr(asyncio.run(read()), "spec", None)
    except NotFound:
        click.echo("Cluster Version:   (the datastore is not initialised)")
        return
    click.echo(f"Cluster Version:   {getattr(spec, 'calico_version', '') or '(unknown)'}")
    click.echo(f"Cluster Type:      {getattr(spec, 'cluster_type', '')}")
