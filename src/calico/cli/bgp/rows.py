"""BIRD, sessions, routes and reasons as documents and tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from calico.cli.output.printing import print_data, print_table, safe

if TYPE_CHECKING:
    from calico.bgp.bird.control import BirdStatus, Session
    from calico.bgp.explain.inquiry import Facts
    from calico.bgp.explain.seen import SeenRoute
    from calico.bgp.explain.why import Step

__all__ = [
    "MARKS",
    "STAGES",
    "cell",
    "overview_document",
    "peer_row",
    "print_peers",
    "print_routes",
    "print_status",
    "print_steps",
    "route_row",
    "troubles",
]

STAGES = {
    "owner": "Whose it is",
    "agent": "Answer",
    "here": "On this host",
    "learned": "Learned",
    "session": "Session",
    "preferred": "Preferred",
    "told": "Told to",
    "kernel": "In the kernel",
}
MARKS = {True: "yes", False: "no", None: "-"}
_BAD = ("error", "critical")


def overview_document(bird: BirdStatus, sessions: Iterable[Session], agent: Mapping[str, Any] | None) -> dict[str, Any]:
    """BIRD, its sessions in numbers, and what the agent's status document says."""
    up = [session.established for session in sessions]
    return {
        "bird": {
            "version": bird.version,
            "state": "recovering" if bird.recovering else bird.state,
            "router_id": bird.router_id,
            "running_since": bird.last_reboot,
            "last_reconfiguration": bird.last_reconfiguration,
        },
        "sessions": {"up": sum(up), "total": len(up)},
        "agent": "running" if agent is not None else "does not answer",
        "ready": bool(agent and agent.get("ready")),
        "not_ready": "the agent does not answer" if agent is None else agent.get("not_ready", ""),
        "drained": bool(agent and agent.get("drained")),
        "conditions": [] if agent is None else agent["conditions"],
    }


def troubles(document: Mapping[str, Any]) -> bool:
    """Whether an overview shows something that somebody has to see to."""
    return not document["ready"] or any(item["severity"] in _BAD for item in document["conditions"])


def print_status(document: Mapping[str, Any]) -> None:
    """One host's overview, for people."""
    bird, sessions = document["bird"], document["sessions"]
    ready = "yes" if document["ready"] else f"no: {safe(document['not_ready'])}"
    click.echo(f"BIRD         {safe(bird['version'])}, {safe(bird['state'])}")
    click.echo(f"Router id    {safe(bird['router_id'])}")
    click.echo(f"Running      since {safe(bird['running_since'])}")
    click.echo(f"Reconfigured {safe(bird['last_reconfiguration'])}")
    click.echo(f"Sessions     {sessions['up']} of {sessions['total']} up")
    click.echo(f"Agent        {document['agent']}")
    click.echo(f"Ready        {ready}")
    click.echo(f"Drained      {MARKS[document['drained']]}")
    if document["conditions"]:
        click.echo()
        rows = [[c[key] for key in ("severity", "code", "object", "message")] for c in document["conditions"]]
        print_table(["SEVERITY", "CONDITION", "OBJECT", "WHAT IS WRONG"], rows)


def peer_row(session: Session, agent: Mapping[str, Any] | None) -> dict[str, object]:
    """A session, with what the agent says about why it is down."""
    told = {item["name"]: item for item in (agent or {}).get("sessions", [])}
    known: Mapping[str, Any] = told.get(session.name, {})
    info = known.get("info", "")
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
        "fault": known.get("fault", ""),
        "info": "" if info == session.info else info,
    }


_PEER_TITLES = {
    "host": "HOST",
    "name": "NAME",
    "peer_ip": "PEER ADDRESS",
    "as": "AS",
    "families": "FAMILY",
    "state": "STATE",
    "since": "SINCE",
    "imported": "IMPORTED",
    "filtered": "FILTERED",
    "exported": "EXPORTED",
    "last_error": "LAST ERROR",
    "info": "WHY DOWN",
}


def print_peers(rows: Sequence[Mapping[str, object]], output: str, *, with_host: bool = False) -> None:
    """The sessions."""
    if output != "table":
        print_data(rows, output)
        return
    names = [name for name in _PEER_TITLES if name != "host" or with_host]
    print_table([_PEER_TITLES[name] for name in names], [[cell(row[name]) for name in names] for row in rows])


def route_row(seen: SeenRoute) -> dict[str, object]:
    """A route."""
    route = seen.route
    return {
        "prefix": route.net,
        "next_hop": ", ".join(route.hops) or (f"{route.kind} {route.next_hop}".strip()),
        "from": route.protocol,
        "preferred": route.preferred,
        "exported_to": list(seen.told),
        "in_kernel": seen.in_kernel,
    }


def print_routes(rows: Sequence[Mapping[str, object]], output: str) -> None:
    """The routes."""
    if output != "table":
        print_data(rows, output)
        return
    titles = ["PREFIX", "NEXT HOP", "FROM", "PREFERRED", "EXPORTED TO", "IN KERNEL"]
    print_table(titles, [[cell(value) for value in row.values()] for row in rows])


def print_steps(facts: Facts, steps: Iterable[Step], output: str) -> None:
    """Why a prefix is on one host or is not."""
    if output != "table":
        told = [{"stage": step.stage, "holds": step.holds, "text": step.text} for step in steps]
        print_data({"prefix": facts.prefix, "route": facts.net or None, "steps": told}, output)
        return
    wider = "" if facts.net in ("", facts.prefix) else f" (by the route to {facts.net})"
    click.echo(f"{facts.prefix}{wider}")
    for step in steps:
        click.echo(f"  {STAGES[step.stage]:<14}{MARKS[step.holds]:<5}{safe(step.text)}")


def cell(value: object) -> str:
    """A value as text of a table."""
    if isinstance(value, bool):
        return MARKS[value]
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
