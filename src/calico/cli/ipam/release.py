"""``calico ipam release``: addresses, handles, and the blocks of hosts that are gone."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import msgspec

from calico.cli.ipam.check import cluster_guid
from calico.cli.ipam.thishost import answering, read_kernel
from calico.cli.options import config_option, opened
from calico.cli.output.printing import safe
from calico.cli.thisnode import this_node
from calico.datastore.typed.store import Store
from calico.errors import InvalidInput
from calico.ipam.allocator import Allocator
from calico.ipam.audit.kernelview import in_kernel
from calico.ipam.audit.state import read_state
from calico.ipam.cascade import IPAMCascade
from calico.ipam.requests import ReleaseRequest
from calico.ipam.stored.keys import parse_address

__all__ = ["release_command"]


class _Finding(msgspec.Struct):
    code: str
    address: str = ""
    handle: str = ""
    sequence: int = 0


class _Report(msgspec.Struct):
    cluster: str = msgspec.field(name="clusterGUID")
    findings: list[_Finding]


@click.command("release")
@click.option("--ip", "addresses", multiple=True, help="Release this address.")
@click.option("--handle", "handles", multiple=True, help="Release all addresses of this handle.")
@click.option("--node", help="Give up all blocks of a host whose Node is gone.")
@click.option(
    "--from-report",
    "reports",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False),
    help="Release what calico ipam check --report found to be leaked, if it still is.",
)
@click.option("--force", is_flag=True, help="Also what is in use: its workload keeps it, and another may get it.")
@config_option
def release_command(
    addresses: tuple[str, ...],
    handles: tuple[str, ...],
    node: str | None,
    reports: tuple[str, ...],
    force: bool,
    config: str | None,
) -> None:
    """Release addresses that nothing uses.

    What an endpoint or tunnel has, what is in the kernel of this host, and what answers is refused, unless --force is
    given. Of reports only those allocations are released that were there when the report was made. Exit code 1 when
    anything was refused or was not given out.
    """
    if not (addresses or handles or node or reports):
        raise click.UsageError("give --ip, --handle, --node or --from-report")
    requests = [ReleaseRequest(address=str(parse_address(address))) for address in addresses]
    read = [_read(path) for path in reports]
    if not asyncio.run(_release(requests, handles, node, read, force, config)):
        raise click.exceptions.Exit(1)


def _read(path: str) -> _Report:
    try:
        return msgspec.json.decode(Path(path).read_bytes(), type=_Report)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"is no report of calico ipam check: {error}", subject=path) from error


async def _release(
    requests: list[ReleaseRequest],
    handles: tuple[str, ...],
    node: str | None,
    reports: list[_Report],
    force: bool,
    config: str | None,
) -> bool:
    async with opened(config) as store:
        guid = await cluster_guid(store)
        for report in reports:
            if report.cluster != guid and not force:
                raise InvalidInput(f"the report is of cluster {report.cluster!r}, this is {guid!r}")
            requests += _requests(report)
        allocator = Allocator(store.backend, clock=lambda: datetime.now(UTC))
        by_handle = {handle: await allocator.ips_by_handle(handle) for handle in handles}
        wanted = [*(request.address for request in requests), *(ip for ips in by_handle.values() for ip in ips)]
        refused = {} if force else await _in_use(store, wanted)
        going = [request for request in requests if request.address not in refused]
        answer = await allocator.release_ips(going)
        released = list(answer.released)
        for handle, held in by_handle.items():
            if not any(address in refused for address in held):
                released += await allocator.release_by_handle(handle)
        refused |= {address: str(why) for address, why in answer.refused.items()}
        refused |= dict.fromkeys(answer.unallocated, "it is not given out")
        if node:
            await _give_up(store, node)
    for address in released:
        click.echo(f"Released {address}")
    for address, why in refused.items():
        click.echo(f"not released: {safe(address)}: {safe(why)}", err=True)
    return not refused


def _requests(report: _Report) -> list[ReleaseRequest]:
    return [
        ReleaseRequest(address=each.address, handle=each.handle or None, sequence=each.sequence or None)
        for each in report.findings
        if each.code == "address-leaked" and each.address
    ]


async def _in_use(store: Store, addresses: list[str]) -> dict[str, str]:
    """Those with any sign of life, and which."""
    state = await read_state(store.backend)
    kernel = read_kernel(this_node())
    found = {user.address: f"{user.who} has it" for user in state.users if user.address in set(addresses)}
    for address in addresses if state.unreadable else ():
        found.setdefault(address, f"{state.unreadable[0]} cannot be read, and may have it")
    for address in addresses:
        if there := in_kernel(kernel, address):
            found.setdefault(address, there)
    quiet = [address for address in addresses if address not in found]
    answers = await asyncio.to_thread(answering, quiet) if quiet else frozenset[str]()
    return found | dict.fromkeys(answers, "it answers an echo request")


async def _give_up(store: Store, node: str) -> None:
    state: Any = await read_state(store.backend)
    if node in state.nodes:
        raise InvalidInput("exists: its blocks go when it is deleted", subject=f"Node {node}")
    await IPAMCascade().release_host(store.backend, node)
    click.echo(f"Gave up the blocks of {safe(node)}")
