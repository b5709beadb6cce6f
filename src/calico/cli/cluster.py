"""``calico cluster``: the whole cluster, as the datastore tells it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import click

from calico import __version__
from calico.cli.options import config_option, data_output_option, opened
from calico.cli.output.printing import print_data, print_table, safe

if TYPE_CHECKING:
    from calico.datastore.etcd.backend import EtcdBackend
    from calico.datastore.typed.store import Store

__all__ = ["cluster"]


@click.group()
def cluster() -> None:
    """Look at the whole cluster: versions, hosts, resources."""


@cluster.command()
@data_output_option
@config_option
def info(output: str, config: str | None) -> None:
    """Show versions, members of etcd, pools, Nodes with what their hosts report, and how many resources there are.

    A host reports every 30 s unless reportingInterval says otherwise. Exit code 1 when the datastore is not ready.
    """
    document = asyncio.run(_collect(config))
    if output == "table":
        _show(document)
    else:
        print_data(document, output)
    if not document["datastore"]["ready"]:
        raise click.exceptions.Exit(1)


async def _collect(config: str | None) -> dict[str, Any]:
    from calico.cli.hosts import status_reports
    from calico.model.keys import RESOURCE_PREFIX, parse_key
    from calico.model.kinds import KINDS

    async with opened(config) as store:
        counts = dict.fromkeys((kind.kind for kind in KINDS), 0)
        listing = await store.backend.list(RESOURCE_PREFIX)
        for item in listing.items:
            key = parse_key(item.key)
            if key is not None:
                counts[key.kind] += 1
        alive, last = await status_reports(store.backend)
        return {
            "client": __version__,
            "cluster": await _information(store),
            "datastore": {
                "revision": listing.revision,
                "ready": await _ready(store),
                "members": await _members(store.backend),
            },
            "pools": [
                {"name": pool.metadata.name, "cidr": pool.spec.cidr, "disabled": pool.spec.disabled}  # type: ignore[attr-defined]
                for pool in await store.list("IPPool")
            ],
            "hosts": [
                _host(node.metadata.name, alive, last)
                for node in sorted(await store.list("Node"), key=lambda node: node.metadata.name)
            ],
            "resources": {kind: count for kind, count in counts.items() if count},
        }


async def _information(store: Store) -> dict[str, Any]:
    from calico.errors import NotFound
    from calico.model.manifest import resource_to_data

    try:
        spec = resource_to_data(await store.get("ClusterInformation", "default")).get("spec", {})
    except NotFound:
        return {}
    return dict(spec)


async def _ready(store: Store) -> bool:
    return bool((await _information(store)).get("datastoreReady"))


async def _members(backend: Any) -> list[dict[str, Any]]:
    etcd: EtcdBackend = backend
    return [
        {"endpoint": member.endpoint, "version": member.version, "size": member.db_size, "error": member.error}
        for member in await etcd.members()
    ]


def _host(name: str, alive: dict[str, dict[str, Any]], last: dict[str, dict[str, Any]]) -> dict[str, Any]:
    report = alive.get(name) or last.get(name) or {}
    state = "reports" if name in alive else "silent" if name in last else "never reported"
    return {
        "name": name,
        "state": state,
        "lastReport": report.get("time", ""),
        "revision": report.get("revision", 0),
    }


def _show(document: dict[str, Any]) -> None:
    spec, store = document["cluster"], document["datastore"]
    ready = "ready" if store["ready"] else "NOT ready" if spec else "not initialised"
    click.echo(f"Client     version {document['client']}")
    click.echo(
        f"Cluster    {safe(spec.get('clusterGUID', '-'))}, type {safe(spec.get('clusterType') or '-')}, "
        f"version {safe(spec.get('calicoVersion') or '-')}"
    )
    click.echo(f"Datastore  {ready}, revision {store['revision']}")
    for member in store["members"]:
        what = f"does not answer: {member['error']}" if member["error"] else f"etcd {member['version']}"
        click.echo(f"Member     {safe(member['endpoint'])}  {safe(what)}")
    click.echo()
    hosts = document["hosts"]
    if hosts:
        print_table(
            ["HOST", "STATE", "LAST REPORT", "REVISION"],
            [[host["name"], host["state"], host["lastReport"] or "-", host["revision"] or "-"] for host in hosts],
        )
        click.echo()
    if document["pools"]:
        rows = [[pool["name"], pool["cidr"], "disabled" if pool["disabled"] else ""] for pool in document["pools"]]
        print_table(["POOL", "CIDR", ""], rows)
        click.echo()
    print_table(["KIND", "RESOURCES"], sorted(document["resources"].items()))
