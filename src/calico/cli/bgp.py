"""``calico bgp status|peers|routes|why``: this host's BGP, asked of BIRD itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from calico.cli.printing import print_data, print_table, safe
from calico.errors import InvalidInput

if TYPE_CHECKING:
    from calico.bgp.bird.control import Session
    from calico.bgp.explain.looking import Looker, SeenRoute

__all__ = ["peers", "routes", "status", "why"]

_F = TypeVar("_F", bound=Callable[..., Any])
_STAGES = {
    "here": "On this host",
    "learned": "Learned",
    "preferred": "Preferred",
    "told": "Told to",
    "kernel": "In the kernel",
}
_MARKS = {True: "yes", False: "no", None: "-"}


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
    output = click.option(
        "-o", "--output", type=click.Choice(["table", "json", "yaml"]), default="table", help="What to print."
    )
    run_dir = click.option("--run-dir", help="Where the sockets are. [default: as of calico bgp]")
    return run_dir(output(function))


@click.command()
@_looking
@click.pass_context
def status(context: click.Context, run_dir: str | None, output: str) -> None:
    """Show this host's BIRD, how many sessions are up, and what is wrong.

    Exit code 1 when BIRD does not answer.
    """
    looker = _looker(context, run_dir)
    bird, sessions = asyncio.run(looker.overview())
    agent = looker.agent_document()
    up = sum(1 for session in sessions.values() if session.established)
    document = {
        "bird": {
            "version": bird.version,
            "state": "recovering" if bird.recovering else bird.state,
            "router_id": bird.router_id,
            "running_since": bird.last_reboot,
            "last_reconfiguration": bird.last_reconfiguration,
        },
        "sessions": {"up": up, "total": len(sessions)},
        "agent": "running" if agent is not None else "does not answer",
        "conditions": [] if agent is None else agent["conditions"],
    }
    if output == "table":
        _show_status(document)
    else:
        print_data(document, output)


def _show_status(document: Mapping[str, Any]) -> None:
    bird, sessions = document["bird"], document["sessions"]
    click.echo(f"BIRD         {safe(bird['version'])}, {safe(bird['state'])}")
    click.echo(f"Router id    {safe(bird['router_id'])}")
    click.echo(f"Running      since {safe(bird['running_since'])}")
    click.echo(f"Reconfigured {safe(bird['last_reconfiguration'])}")
    click.echo(f"Sessions     {sessions['up']} of {sessions['total']} up")
    click.echo(f"Agent        {document['agent']}")
    if document["conditions"]:
        click.echo()
        rows = [[c[key] for key in ("severity", "code", "object", "message")] for c in document["conditions"]]
        print_table(["SEVERITY", "CONDITION", "OBJECT", "WHAT IS WRONG"], rows)


@click.command()
@_looking
@click.pass_context
def peers(context: click.Context, run_dir: str | None, output: str) -> None:
    """Show the sessions: state, routes imported, filtered and exported, the last error, and what the agent suspects."""
    looker = _looker(context, run_dir)
    _, sessions = asyncio.run(looker.overview())
    known = {item["name"]: item["info"] for item in (looker.agent_document() or {}).get("sessions", [])}
    rows = [_peer(session, known.get(name, "")) for name, session in sorted(sessions.items())]
    if output != "table":
        print_data(rows, output)
        return
    counts = ("IMPORTED", "FILTERED", "EXPORTED")
    titles = ["NAME", "PEER ADDRESS", "AS", "FAMILY", "STATE", "SINCE", *counts, "LAST ERROR", "INFO"]
    print_table(titles, [[_cell(value) for value in row.values()] for row in rows])


def _peer(session: Session, info: str) -> dict[str, object]:
    """A row; ``info`` is what the agent adds to what BIRD says."""
    return {
        "name": session.name,
        "peer_ip": session.peer_ip,
        "as": session.remote_as,
        "families": list(session.families),
        "state": session.state,
        "since": session.since,
        "imported": session.imported,
        "filtered": session.filtered,
        "exported": session.exported,
        "last_error": session.info,
        "info": "" if info == session.info else info,
    }


@click.command()
@click.argument("prefix", type=_Prefix(), required=False)
@_looking
@click.pass_context
def routes(context: click.Context, prefix: str | None, run_dir: str | None, output: str) -> None:
    """Show the routes that BIRD knows, all or those within PREFIX, whom it tells them to, and what the kernel has.

    Each session is asked about all routes shown: with many of both, name a PREFIX.
    """
    seen = asyncio.run(_looker(context, run_dir).routes(prefix or ""))
    rows = [_route(item) for item in seen]
    if output != "table":
        print_data(rows, output)
        return
    titles = ["PREFIX", "NEXT HOP", "FROM", "PREFERRED", "EXPORTED TO", "IN KERNEL"]
    print_table(titles, [[_cell(value) for value in row.values()] for row in rows])


def _route(seen: SeenRoute) -> dict[str, object]:
    route = seen.route
    return {
        "prefix": route.net,
        "next_hop": ", ".join(route.hops) or (f"{route.kind} {route.next_hop}".strip()),
        "from": route.protocol,
        "preferred": route.preferred,
        "exported_to": list(seen.told),
        "in_kernel": seen.in_kernel,
    }


@click.command()
@click.argument("prefix", type=_Prefix())
@_looking
@click.pass_context
def why(context: click.Context, prefix: str, run_dir: str | None, output: str) -> None:
    """Say why PREFIX is on this host or is not, step by step from where it comes from to the kernel and the peers.

    PREFIX may be an address. When BIRD has a wider route for it, the answer is about that one.
    """
    from calico.bgp.explain.why import explain

    facts = asyncio.run(_looker(context, run_dir).inquire(prefix))
    steps = explain(facts)
    if output != "table":
        told = [{"stage": step.stage, "holds": step.holds, "text": step.text} for step in steps]
        print_data({"prefix": facts.prefix, "route": facts.net or None, "steps": told}, output)
        return
    wider = "" if facts.net in ("", facts.prefix) else f" (by the route to {facts.net})"
    click.echo(f"{facts.prefix}{wider}")
    for step in steps:
        click.echo(f"  {_STAGES[step.stage]:<14}{_MARKS[step.holds]:<5}{safe(step.text)}")


def _looker(context: click.Context, run_dir: str | None) -> Looker:
    from calico.bgp.explain.looking import Looker

    inherited = context.parent.params["run_dir"] if context.parent is not None else ""
    return Looker(Path(run_dir or inherited))


def _cell(value: object) -> str:
    """A value as text of a table."""
    if isinstance(value, bool):
        return _MARKS[value]
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
