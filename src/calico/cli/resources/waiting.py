"""``--wait``: until every host has what was written in its kernel, with what each took, or who lags and why."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from calico.cli.output.printing import safe

if TYPE_CHECKING:
    from calico.datastore.barrier import Realisation
    from calico.datastore.typed.store import Store

__all__ = ["wait_in_kernels"]

_SHOWN = 20


async def wait_in_kernels(store: Store, revision: int, timeout_s: float) -> bool:
    """Wait, telling progress on standard error; whether all hosts have the revision."""
    from calico.datastore.barrier import wait_for_hosts

    hosts = [node.metadata.name for node in await store.list("Node")]
    if not hosts:
        click.echo("There is no Node, so there is no host to wait for", err=True)
        return True
    line = _ProgressLine(len(hosts))
    line.show(0)
    result = await wait_for_hosts(
        store.backend, revision, hosts, timeout_s, lambda state: line.show(len(state.reached))
    )
    line.clear()
    _report(result, timeout_s)
    if not result.complete:
        await _tell_lagging(store, result.lagging)
    return result.complete


class _ProgressLine:
    """One line on a terminal, rewritten; nothing elsewhere."""

    def __init__(self, total: int) -> None:
        self._total, self._shown = total, sys.stderr.isatty()

    def show(self, reached: int) -> None:
        if self._shown:
            click.echo(f"\rIn the kernel of {reached} of {self._total} hosts", nl=False, err=True)

    def clear(self) -> None:
        if self._shown:
            click.echo("\r\x1b[K", nl=False, err=True)


def _report(result: Realisation, timeout_s: float) -> None:
    total = len(result.reached) + len(result.lagging)
    slowest = sorted(result.reached.items(), key=lambda item: (-item[1], item[0]))
    within = f" within {_ms(slowest[0][1])}" if slowest and result.complete else f" after {timeout_s:g} s"
    click.echo(f"Revision {result.revision} is in the kernel of {len(slowest)} of {total} hosts{within}", err=True)
    for host, took_s in slowest[:_SHOWN]:
        click.echo(f"  {safe(host)}  {_ms(took_s)}", err=True)
    if len(slowest) > _SHOWN:
        click.echo(f"  and {len(slowest) - _SHOWN} faster ones", err=True)


async def _tell_lagging(store: Store, lagging: Mapping[str, str]) -> None:
    from calico.cli.hosts import last_reports

    last = await last_reports(store.backend)
    for host, why in sorted(lagging.items()):
        seen = f"; its last report is of {last[host]}" if host in last else "; it has never reported"
        click.echo(f"error: {safe(host)}: {safe(why)}{safe(seen) if 'does not answer' in why else ''}", err=True)


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"
