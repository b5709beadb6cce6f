"""``calico ipam configure``: how addresses are allocated in this cluster."""

from __future__ import annotations

import asyncio
from typing import Any

import click
from msgspec.structs import replace

from calico.cli.ipam.show import settings_document
from calico.cli.options import config_option, data_output_option, opened
from calico.cli.output.printing import print_data, print_table
from calico.ipam.stored.config import read_settings, write_settings

__all__ = ["configure_command"]


@click.command("configure")
@click.option("--strictaffinity", type=bool, help="Hosts take no addresses from blocks of others.")
@click.option("--auto-allocate-blocks", type=bool, help="Hosts claim blocks by themselves.")
@click.option("--max-blocks-per-host", type=click.IntRange(0), help="So many blocks at most; 0: the default, 20.")
@click.option("--kubevirt-ip-persistence", type=click.Choice(["Enabled", "Disabled"]), help="For KubeVirt's machines.")
@click.option("--ip-cooldown-seconds", type=click.IntRange(0), help="How long a released address is given to nobody.")
@data_output_option
@config_option
def configure_command(
    strictaffinity: bool | None,
    auto_allocate_blocks: bool | None,
    max_blocks_per_host: int | None,
    kubevirt_ip_persistence: str | None,
    ip_cooldown_seconds: int | None,
    output: str,
    config: str | None,
) -> None:
    """Change the settings of IPAM that are given, and show what holds. Without options they are only shown.

    Hosts follow with their next assignment. A limit of blocks needs strict affinity.
    """
    given = {
        "strict_affinity": strictaffinity,
        "auto_allocate_blocks": auto_allocate_blocks,
        "max_blocks_per_host": max_blocks_per_host,
        "kubevirt_persistence": kubevirt_ip_persistence,
        "cooldown_s": ip_cooldown_seconds,
    }
    document = asyncio.run(_configure({name: value for name, value in given.items() if value is not None}, config))
    if output == "table":
        print_table(["PROPERTY", "VALUE"], list(document.items()))
    else:
        print_data(document, output)


async def _configure(changes: dict[str, Any], config: str | None) -> dict[str, Any]:
    async with opened(config) as store:
        settings, stored = await read_settings(store.backend)
        if changes:
            settings = replace(settings, **changes)
            await write_settings(store.backend, settings, stored)
    return settings_document(settings)
