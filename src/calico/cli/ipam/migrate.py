"""``calico ipam migrate``: the workloads of one pool to another, as far as can be done without them."""

from __future__ import annotations

import asyncio

import click

from calico.cli.options import config_option, opened
from calico.cli.output.printing import safe
from calico.datastore.typed.store import Store
from calico.errors import InvalidInput
from calico.ipam.audit.state import read_state
from calico.ipam.choice.pools import pool_of
from calico.ipam.migration import Remaining, check_migration, remaining
from calico.ipam.splitting import find_pool
from calico.model.ippool import IPPool

__all__ = ["migrate_command"]


@click.command("migrate")
@click.argument("old")
@click.argument("new")
@click.option("-y", "--yes", is_flag=True, help="Do it; without, the steps are only shown.")
@config_option
def migrate_command(old: str, new: str, yes: bool, config: str | None) -> None:
    """Move from pool OLD to pool NEW: nothing more is given from OLD; once nobody has an address of it, it is deleted.

    A running workload keeps its address: start it anew, and it gets one of NEW. Call the command again until OLD is
    gone: it tells who is left. Exit code 1 while anybody is.
    """
    left = asyncio.run(_migrate(old, new, yes, config))
    if left.count and yes:
        raise click.exceptions.Exit(1)


async def _migrate(old: str, new: str, yes: bool, config: str | None) -> Remaining:
    async with opened(config) as store:
        before, after = await find_pool(store.backend, name=old), await find_pool(store.backend, name=new)
        check_migration(before, after)
        done = "" if yes else " (not done: --yes is not given)"
        if not before.spec.disabled:
            click.echo(f"Disable IPPool {safe(old)}: nothing more is given from it{done}")
            if yes:
                await _disable(store, old)
        left = remaining(await read_state(store.backend), pool_of(before))
        _tell(left)
        if not left.count:
            click.echo(f"Delete IPPool {safe(old)}, which nobody uses, with its blocks{done}")
            if yes:
                await store.delete("IPPool", old)
        return left


def _tell(left: Remaining) -> None:
    for node, users in left.by_node.items():
        click.echo(f"{len(users)} addresses are in use on {safe(node)}: start their workloads anew")
        for user in users:
            click.echo(f"  {safe(user)}")
    if left.leaked:
        click.echo(f"{len(left.leaked)} addresses are given out and used by nobody: see calico ipam gc")


async def _disable(store: Store, name: str) -> None:
    import msgspec

    pool = await store.get("IPPool", name)
    if not isinstance(pool, IPPool):
        raise InvalidInput("is no IPPool", subject=name)
    await store.update(msgspec.structs.replace(pool, spec=msgspec.structs.replace(pool.spec, disabled=True)))
