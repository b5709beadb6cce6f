"""``calico node tunnels``: give a host its addresses in tunnels, where its Felix has not the right to."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import click

from calico.cli.options import config_option, data_output_option, opened
from calico.cli.output.printing import print_data, print_table
from calico.errors import NotFound

__all__ = ["tunnels"]


@click.command()
@click.argument("name", required=False)
@data_output_option
@config_option
def tunnels(name: str | None, output: str, config: str | None) -> None:
    """Give Node NAME (this host's, if not said) an address in each tunnel (VXLAN, IP in IP) that IP pools ask for, and
    take back those that none asks for any more.

    Felix does that by itself unless etcd has users, of whom Felix's may not. Exit code 1 when an address is missing.
    """
    from calico.cli.daemons import node_name
    from calico.ipam.tunnels import Settled, settle_tunnels, tunnel_name

    node = node_name(name)

    async def settle() -> Settled:
        from calico.ipam.allocator import Allocator
        from calico.model.ippool import IPPool

        async with opened(config) as store:
            pools = [pool for pool in await store.list("IPPool") if isinstance(pool, IPPool)]
            allocator = Allocator(store.backend, clock=lambda: datetime.now(UTC))
            return await settle_tunnels(store, allocator, node, pools)

    try:
        settled = asyncio.run(settle())
    except NotFound as error:
        raise NotFound(f"{error}; register the host by `calico node address --write`") from error
    given = ((tunnel_name(t), a, "new" if t in settled.changed else "") for t, a in settled.addresses.items())
    rows = [*sorted(given), *sorted((tunnel_name(tunnel), "", fault) for tunnel, fault in settled.faults.items())]
    if output != "table":
        print_data({"node": node, "tunnels": [{"family": f, "address": a, "remark": r} for f, a, r in rows]}, output)
    else:
        print_table(["FAMILY", "ADDRESS", "REMARK"], rows)
    if settled.faults:
        raise click.exceptions.Exit(1)
