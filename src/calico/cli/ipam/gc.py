"""``calico ipam gc``: leaked addresses, marked first and released after a time of grace."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import click

from calico.cli.ipam.thishost import answering, read_kernel
from calico.cli.options import config_option, data_output_option, opened
from calico.cli.output.printing import print_data, print_table, safe
from calico.cli.thisnode import this_node
from calico.errors import InvalidInput
from calico.ipam.allocator import Allocator
from calico.ipam.audit.consistency import Finding, misuse
from calico.ipam.audit.garbage import GRACE_S, GarbagePlan, carry_out, plan_garbage, read_marks
from calico.ipam.audit.kernelview import KernelView, in_kernel
from calico.ipam.audit.state import IPAMState, read_state
from calico.ipam.stored.block import is_empty

__all__ = ["gc_command"]


@click.command("gc")
@click.option("--show", is_flag=True, help="Only show what is marked, since when, and on what evidence.")
@click.option("--grace", type=click.IntRange(0), default=GRACE_S, show_default=True, metavar="SECONDS",
              help="How long an address stays marked before it is released.")  # fmt: skip
@click.option("--node", help="The Node that is this host.  [default: its host name]")
@click.option("--all-hosts", is_flag=True, help="Release also what other hosts had, without a look at their kernels.")
@click.option("-n", "--dry-run", is_flag=True, help="Only say what would be done.")
@data_output_option
@config_option
def gc_command(
    show: bool, grace: int, node: str | None, all_hosts: bool, dry_run: bool, output: str, config: str | None
) -> None:
    """Mark addresses that are given out and used by nobody; release those that were marked before and still are.

    An address is released only by the host that it was given to (or by any, when that host's Node is gone, or with
    --all-hosts), never when it answers an echo request or is on an interface or in a route here, and only while it is
    held by the allocation that was marked. Empty blocks of this host, of pools that do not select it any more, are
    given up. Run it on every host, from time to time: `calico-ipam-gc.timer` does.
    """
    if show:
        asyncio.run(_show(output, config))
        return
    plan, released, blocks = asyncio.run(_collect(node, grace, all_hosts, dry_run, config))
    gone = [mark.address for mark in plan.release] if dry_run else list(released)
    document = {
        "marked": [mark.address for mark in plan.mark],
        "unmarked": plan.unmark,
        "waiting": plan.waiting,
        "released": gone,
        "blocks": list(blocks),
        "done": not dry_run,
    }
    if output != "table":
        print_data(document, output)
        return
    rows = [("marked", mark.address, mark.evidence) for mark in plan.mark]
    rows += [("unmarked", address, why) for address, why in plan.unmark.items()]
    rows += [("waiting", address, why) for address, why in plan.waiting.items() if address not in plan.unmark]
    rows += [("released", address, "") for address in gone]
    rows += [("given up", cidr, "its pool does not select this host") for cidr in blocks]
    print_table(["WHAT", "IP", "WHY"], rows)
    if dry_run:
        click.echo("Nothing was done")


async def _show(output: str, config: str | None) -> None:
    async with opened(config) as store:
        marks = await read_marks(store.backend)
    if output == "table":
        rows = [[mark.address, mark.since, mark.node, mark.by, mark.evidence] for mark in marks]
        print_table(["IP", "SINCE", "NODE", "MARKED BY", "EVIDENCE"], rows)
    else:
        print_data(marks, output)


async def _collect(
    node: str | None, grace: int, all_hosts: bool, dry_run: bool, config: str | None
) -> tuple[GarbagePlan, tuple[str, ...], tuple[str, ...]]:
    host = node or this_node()
    async with opened(config) as store:
        state = await read_state(store.backend)
        if node and node not in state.nodes:
            raise InvalidInput("there is no such Node", subject=f"--node {safe(node)}")
        leaks = [found for found in misuse(state) if found.code == "address-leaked"]
        plan = plan_garbage(
            leaks,
            await read_marks(store.backend),
            alive=await _alive(leaks, read_kernel(host)),
            unseen=_unsure(state, leaks) or ({} if all_hosts else _unseen(state, leaks, host)),
            now=datetime.now(UTC),
            by=host,
            grace_s=grace,
        )
        allocator = Allocator(store.backend, clock=lambda: datetime.now(UTC))
        released = () if dry_run else await carry_out(store.backend, allocator, plan)
        return plan, released, await _blocks(allocator, state, host, dry_run=dry_run)


async def _blocks(allocator: Allocator, state: IPAMState, host: str, *, dry_run: bool) -> tuple[str, ...]:
    """Blocks of this host that it is not meant for: those that were given up, or would be."""
    found = await allocator.unselected(host) if host in state.nodes else ()
    empty = [cidr for cidr in found if (block := state.blocks.get(cidr)) is not None and is_empty(block)]
    if dry_run:
        return tuple(empty)
    return tuple([cidr for cidr in empty if not await allocator.release_affinity(host, cidr, only_empty=True)])


async def _alive(leaks: list[Finding], kernel: KernelView) -> dict[str, str]:
    """Signs of life by address."""
    found = {leak.address: there for leak in leaks if (there := in_kernel(kernel, leak.address))}
    quiet = [leak.address for leak in leaks if leak.address not in found]
    answers = await asyncio.to_thread(answering, quiet) if quiet else frozenset[str]()
    return found | dict.fromkeys(answers, "it answers an echo request")


def _unsure(state: IPAMState, leaks: list[Finding]) -> dict[str, str]:
    """All of them, while there is an endpoint or node that cannot be read: any of them may be its."""
    if not state.unreadable:
        return {}
    return {leak.address: f"{state.unreadable[0]} cannot be read, and may have it" for leak in leaks}


def _unseen(state: IPAMState, leaks: list[Finding], host: str) -> dict[str, str]:
    """Addresses of other hosts that exist: only they can look into their kernels."""
    return {
        leak.address: f"{leak.node} must look whether it has it: run calico ipam gc there"
        for leak in leaks
        if leak.node in state.nodes and leak.node != host
    }
