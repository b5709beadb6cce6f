"""``calico bgp status|peers|routes|why``: this host's BGP, asked of BIRD, or other hosts', of their agents."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from calico.cli.bgp.rows import (
    overview_document,
    peer_row,
    print_peers,
    print_routes,
    print_status,
    print_steps,
    route_row,
    troubles,
)
from calico.cli.output.printing import print_data
from calico.datastore.connection import DEFAULT_CONFIG
from calico.errors import InvalidInput

if TYPE_CHECKING:
    from calico.bgp.explain.looking import Looker

__all__ = ["peers", "routes", "status", "why"]

_F = TypeVar("_F", bound=Callable[..., Any])


class _Prefix(click.ParamType[str]):
    """A prefix in canonical form; an address stands for itself alone."""

    name = "PREFIX"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from calico.bgp.explain.inquiry import canonical

        try:
            return canonical(value)
        except InvalidInput as error:
            self.fail(error.message, param, ctx)


def _looking(function: _F) -> _F:
    """The options that all of them have."""
    for option in (
        click.option(
            "-o", "--output", type=click.Choice(["table", "json", "yaml"]), default="table", help="What to print."
        ),
        click.option("--run-dir", help="Where this host's sockets are. [default: as of calico bgp]"),
        click.option(
            "-c",
            "--config",
            help=f"CalicoAPIConfig file, to ask others; default {DEFAULT_CONFIG}. ETCD_... in the environment wins.",
        ),
        click.option(
            "--timeout", type=click.FloatRange(0.1, 300), default=5.0, show_default=True, metavar="SECONDS",
            help="How long other hosts may take to answer.",
        ),
    ):  # fmt: skip
        function = option(function)
    return function


def _some_hosts(function: _F) -> _F:
    """Other hosts than this one."""
    everywhere = click.option("--all", "everywhere", is_flag=True, help="All hosts whose Node has BGP.")
    return click.argument("hosts", nargs=-1, metavar="[HOST]...")(everywhere(function))


@click.command()
@_some_hosts
@_looking
@click.pass_context
def status(
    context: click.Context,
    hosts: tuple[str, ...],
    everywhere: bool,
    run_dir: str | None,
    output: str,
    config: str | None,
    timeout: float,
) -> None:
    """Show this host's BIRD, how many sessions are up, and what is wrong; or that of HOSTs, or of all, one a line.

    Exit code 1 when BIRD or an agent does not answer, is not ready, or an error or critical condition holds.
    """
    if hosts or everywhere:
        from calico.cli.bgp.cluster import show_status

        show_status(hosts, config, timeout, output)
        return
    looker = _looker(context, run_dir)
    bird, sessions = asyncio.run(looker.overview())
    document = overview_document(bird, sessions.values(), looker.agent_document())
    if output == "table":
        print_status(document)
    else:
        print_data(document, output)
    if troubles(document):
        raise click.exceptions.Exit(1)


@click.command()
@_some_hosts
@click.option("--down", is_flag=True, help="Only sessions that are not up.")
@_looking
@click.pass_context
def peers(
    context: click.Context,
    hosts: tuple[str, ...],
    everywhere: bool,
    down: bool,
    run_dir: str | None,
    output: str,
    config: str | None,
    timeout: float,
) -> None:
    """Show the sessions of this host, of HOSTs or of all: state, routes imported, filtered and exported, why down."""
    if hosts or everywhere:
        from calico.cli.bgp.cluster import show_peers

        show_peers(hosts, config, timeout, output, down=down)
        return
    looker = _looker(context, run_dir)
    _, sessions = asyncio.run(looker.overview())
    agent = looker.agent_document()
    found = [session for _, session in sorted(sessions.items()) if not (down and session.established)]
    print_peers([peer_row(session, agent) for session in found], output)


@click.command()
@click.argument("prefix", type=_Prefix(), required=False)
@click.option("--host", help="Another host than this one.")
@_looking
@click.pass_context
def routes(
    context: click.Context,
    prefix: str | None,
    host: str | None,
    run_dir: str | None,
    output: str,
    config: str | None,
    timeout: float,
) -> None:
    """Show the routes that BIRD knows, all or those within PREFIX, whom it tells them to, and what the kernel has.

    Each session is asked about all routes shown: with many of both, name a PREFIX.
    """
    if host:
        from calico.cli.bgp.cluster import routes_of

        seen = routes_of(host, prefix or "", config, timeout)
    else:
        seen = asyncio.run(_looker(context, run_dir).routes(prefix or ""))
    print_routes([route_row(item) for item in seen], output)


@click.command()
@click.argument("prefix", type=_Prefix())
@click.argument("host", required=False)
@_looking
@click.pass_context
def why(
    context: click.Context,
    prefix: str,
    host: str | None,
    run_dir: str | None,
    output: str,
    config: str | None,
    timeout: float,
) -> None:
    """Say why PREFIX is on this host or is not, step by step from where it comes from to the kernel and the peers.

    With HOST, the answer follows the whole way to that host: whose PREFIX is, the kernel and BIRD there, what its
    export filter and session do, a reflector in between, the import filter and the kernel of HOST. It can be asked
    anywhere.

    PREFIX may be an address. When BIRD has a wider route for it, the answer is about that one.
    """
    if host:
        from calico.cli.bgp.cluster import show_way

        show_way(prefix, host, config, timeout, output)
        return
    from calico.bgp.explain.why import explain

    facts = asyncio.run(_looker(context, run_dir).inquire(prefix))
    print_steps(facts, explain(facts), output)


def _looker(context: click.Context, run_dir: str | None) -> Looker:
    from calico.bgp.explain.looking import Looker

    inherited = context.parent.params["run_dir"] if context.parent is not None else ""
    return Looker(Path(run_dir or inherited))
