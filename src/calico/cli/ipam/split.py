"""``calico ipam split``: a pool cut into equal parts."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import click

from calico.cli.options import config_option, opened
from calico.cli.output.printing import safe
from calico.datastore.sync.plausibility import CLUSTER_INFO_KEY, cluster_facts, not_ready
from calico.datastore.typed.store import Store
from calico.errors import InvalidInput
from calico.ipam.splitting import find_pool, split_pool

__all__ = ["split_command"]


@click.command("split")
@click.argument("number", type=click.IntRange(2))
@click.option("--cidr", default="", help="The pool of this CIDR.")
@click.option("--name", default="", help="The pool of this name.")
@config_option
def split_command(number: int, cidr: str, name: str, config: str | None) -> None:
    """Replace a pool by NUMBER pools (a power of two) that are parts of it; blocks and addresses stay as they are.

    The datastore must be locked (`calico datastore lock`), so that nobody assigns by what they know of the old pool.
    """
    if bool(cidr) == bool(name):
        raise click.UsageError("give either --cidr or --name")

    async def run() -> None:
        async with opened(config) as store:
            await _require_lock(store)
            pool = await find_pool(store.backend, name=name, cidr=cidr)
            parts = await split_pool(store.backend, pool, number, datetime.now(UTC))
        click.echo(f"Split IPPool {safe(pool.metadata.name)} ({pool.spec.cidr}) into:")
        for part in parts:
            click.echo(f"  {safe(part.metadata.name)} ({part.spec.cidr})")

    asyncio.run(run())


async def _require_lock(store: Store) -> None:
    kv = await store.backend.get(CLUSTER_INFO_KEY)
    if not not_ready(cluster_facts(kv.value) if kv is not None else None):
        raise InvalidInput("the datastore must be locked while a pool is split: calico datastore lock")
