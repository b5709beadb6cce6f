"""``calico ipam show``: how much of the pools is in use, one address, what is borrowed, the settings."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import click

from calico.cli.options import config_option, data_output_option, opened
from calico.cli.output.printing import print_data, print_table, safe
from calico.datastore.api import Backend
from calico.ipam.allocator import Allocator
from calico.ipam.audit.state import IPAMState, read_state
from calico.ipam.audit.usage import Usage, borrowed, usage_of_pools
from calico.ipam.stored.config import IPAMSettings, read_settings

__all__ = ["settings_document", "show_command"]


@click.command("show")
@click.option("--ip", "address", help="Whether this address is given out, and to whom.")
@click.option("--show-blocks", is_flag=True, help="The blocks of each pool as well.")
@click.option("--show-borrowed", is_flag=True, help="Addresses that hosts have from blocks of others.")
@click.option("--show-configuration", is_flag=True, help="How addresses are allocated.")
@data_output_option
@config_option
def show_command(
    address: str | None,
    show_blocks: bool,
    show_borrowed: bool,
    show_configuration: bool,
    output: str,
    config: str | None,
) -> None:
    """Show how many addresses of each pool are given out and free.

    Free addresses may be reserved, or cool down after their release. Exit code 1 when --ip is not given out.
    """
    if sum((bool(address), show_blocks, show_borrowed, show_configuration)) > 1:
        raise click.UsageError("give one of --ip, --show-blocks, --show-borrowed and --show-configuration")
    asyncio.run(_show(address, show_blocks, show_borrowed, show_configuration, output, config))


async def _show(
    address: str | None, blocks: bool, borrowing: bool, configuration: bool, output: str, config: str | None
) -> None:
    async with opened(config) as store:
        if address:
            await _address(store.backend, address, output)
        elif configuration:
            settings, _ = await read_settings(store.backend)
            document = settings_document(settings)
            _print(["PROPERTY", "VALUE"], list(document.items()), document, output)
        elif borrowing:
            _borrowed(await read_state(store.backend), output)
        else:
            _usage(await read_state(store.backend), output, with_blocks=blocks)


async def _address(backend: Backend, address: str, output: str) -> None:
    found = await Allocator(backend, clock=lambda: datetime.now(UTC)).get_attributes(address)
    if output != "table":
        print_data({"ip": address, "inUse": found is not None, **({"allocation": found} if found else {})}, output)
    elif found is None:
        click.echo(f"{safe(address)} is not in use")
    else:
        click.echo(f"{safe(found.address)} is in use")
        rows = [("Block", found.block), ("Owner", found.owner or "nobody"), ("Handle", found.handle or "")]
        print_table(["ATTRIBUTE", "VALUE"], [*rows, *sorted(found.attrs.items())])
    if found is None:
        raise click.exceptions.Exit(1)


def _usage(state: IPAMState, output: str, *, with_blocks: bool) -> None:
    rows, document = [], []
    for pool, blocks in usage_of_pools(state):
        rows.append(_row(pool))
        entry = _figures(pool)
        if with_blocks:
            rows += [_row(block) for block in blocks]
            entry["blocks"] = [_figures(block) for block in blocks]
        document.append(entry)
    _print(["GROUPING", "CIDR", "IPS TOTAL", "IPS IN USE", "IPS FREE"], rows, document, output)
    for key, why in state.damaged.items():
        click.echo(f"warning: {safe(key)}: {safe(why)}", err=True)


def _row(usage: Usage) -> list[str]:
    shares = (usage.in_use, usage.free)
    return [usage.grouping, usage.cidr, _number(usage.total), *(_share(part, usage.total) for part in shares)]


def _number(count: int) -> str:
    return str(count) if count < 10**9 else f"{count:.4e}"


def _share(part: int, total: int) -> str:
    return f"{_number(part)} ({100 * part / total:.0f}%)" if total else _number(part)


def _figures(usage: Usage) -> dict[str, Any]:
    found = {
        "grouping": usage.grouping,
        "name": usage.name,
        "cidr": usage.cidr,
        "owner": usage.owner,
        "total": usage.total,
        "inUse": usage.in_use,
        "coolingDown": usage.cooling,
        "free": usage.free,
    }
    return {key: value for key, value in found.items() if value != ""}


def _borrowed(state: IPAMState, output: str) -> None:
    found = sorted(borrowed(state), key=lambda each: (each.node, each.address))
    titles = ["IP", "BORROWING-NODE", "BLOCK", "BLOCK OWNER", "TYPE", "ALLOCATED-TO"]
    rows = [[each.address, each.node, each.block, each.owner, each.kind, each.held_by] for each in found]
    _print(titles, rows, found, output)


def settings_document(settings: IPAMSettings) -> dict[str, Any]:
    """The settings by the names that calicoctl shows."""
    return {
        "StrictAffinity": settings.strict_affinity,
        "AutoAllocateBlocks": settings.auto_allocate_blocks,
        "MaxBlocksPerHost": settings.max_blocks_per_host,
        "KubeVirtVMAddressPersistence": settings.kubevirt_persistence or "Enabled",
        "IPCooldownSeconds": settings.cooldown_s,
    }


def _print(titles: list[str], rows: list[Any], document: object, output: str) -> None:
    if output == "table":
        print_table(titles, rows)
    else:
        print_data(document, output)
