"""``calico node rr show|plan|add|remove|migrate``: route reflectors, and the move from the mesh to them and back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from calico.cli.output.printing import print_data, print_table, safe

if TYPE_CHECKING:
    from calico.bgp.reflectors.advice import Advice
    from calico.bgp.reflectors.fleet import Fleet
    from calico.bgp.reflectors.mover import Mover
    from calico.bgp.reflectors.steps import Step

__all__ = ["rr"]

_F = TypeVar("_F", bound=Callable[..., Any])
_config = click.option(
    "-c",
    "--config",
    help="CalicoAPIConfig file; default /etc/calico/calicoctl.cfg. ETCD_... in the environment wins.",
)
_output = click.option(
    "-o", "--output", type=click.Choice(["table", "json", "yaml"]), default="table", help="What to print."
)


@click.group()
def rr() -> None:
    """Route reflectors: show, plan, add, remove, and move from the mesh to them and back.

    add, remove and migrate only show their steps unless --yes is given. What was interrupted goes on when called again.
    """


def _moving(function: _F) -> _F:
    """The options of the commands that change something."""
    for option in (
        _output,
        click.option(
            "--run-dir",
            "run_dirs",
            multiple=True,
            help="Read agents' status sockets here ({node}: a node's name) instead of asking by the datastore.",
        ),
        click.option(
            "--ignore", "ignored", multiple=True, metavar="NODE", help="Do not wait for this node: it is down."
        ),
        click.option(
            "--patience",
            type=click.FloatRange(min=0),
            default=300.0,
            show_default=True,
            metavar="SECONDS",
            help="How long to wait until a step is safe.",
        ),
        click.option("--yes", is_flag=True, help="Do it; else the steps are shown only."),
        _config,
    ):
        function = option(function)
    return function


@rr.command()
@_config
@_output
def show(config: str | None, output: str) -> None:
    """Show the clusters of reflectors, their nodes and clients, and whether there is a mesh."""
    document = _fleet_document(asyncio.run(_read_fleet(config)))
    if output != "table":
        print_data(document, output)
        return
    click.echo(f"Mesh      {'on' if document['mesh'] else 'off'}, {document['nodes']} nodes")
    if document["clusters"]:
        click.echo()
        rows = [
            [c["cluster_id"], ", ".join(c["reflectors"]), ", ".join(c["joined"]), c["clients"], c["client_nodes"]]
            for c in document["clusters"]
        ]
        print_table(["CLUSTER ID", "REFLECTORS", "JOINED ONLY", "CLIENTS", "NODES"], rows)
    for name, cluster_id in document["foreign"].items():
        click.echo(f"Node {safe(name)} is a reflector of cluster {safe(cluster_id)} that somebody else made")


@rr.command()
@click.option("--rack-label", default="", metavar="LABEL", help="Label that tells a node's rack.")
@click.option("--per-rack", is_flag=True, help="A cluster of reflectors in each rack.")
@click.option("--nodes", type=click.IntRange(min=1), help="Plan for this many nodes instead of those there are.")
@_config
@_output
def plan(rack_label: str, per_rack: bool, nodes: int | None, config: str | None, output: str) -> None:
    """Say what the mesh costs, what reflectors would cost instead, and which nodes could be reflectors."""
    from calico.bgp.reflectors.advice import advise

    if per_rack and not rack_label:
        raise click.UsageError("--per-rack needs --rack-label")
    advice = advise(asyncio.run(_read_fleet(config)), rack_label=rack_label, per_rack=per_rack, nodes=nodes)
    if output == "table":
        _show_advice(advice)
    else:
        import msgspec

        print_data({**msgspec.to_builtins(advice), "commands": _commands(advice)}, output)


def _show_advice(advice: Advice) -> None:
    families = " with two address families" if advice.families > 1 else ""
    click.echo(f"Nodes        {advice.nodes}{families}")
    click.echo(f"Runs         {advice.runs}")
    click.echo(f"Recommended  {advice.recommended}")
    click.echo()
    rows = [
        [title, *(getattr(cost, field) for field in cost.__struct_fields__)]
        for title, cost in (("mesh", advice.mesh), ("reflectors", advice.reflectors))
    ]
    titles = ["PER FAMILY", "SESSIONS", "PER HOST", "AT MOST", "MB/HOST", "MB AT MOST", "MB TOTAL", "CPU S TO COME UP"]
    print_table(titles, rows)
    click.echo()
    for sentence in advice.why:
        click.echo(f"* {safe(sentence)}")
    if advice.recommended == "reflectors":
        click.echo()
        for command in _commands(advice):
            click.echo(safe(command))


def _commands(advice: Advice) -> list[str]:
    """What to call, in order, to get to the proposal."""
    import shlex

    adding = [
        f"calico node rr add {shlex.join(wanted.nodes)} --cluster-id {wanted.cluster_id}"
        + ("" if wanted.clients == "all()" else f" --clients {shlex.quote(wanted.clients or '')}")
        for wanted in advice.proposal
    ]
    return [f"{command} --yes" for command in [*adding, "calico node rr migrate"]]


@rr.command()
@click.argument("nodes", nargs=-1, required=True, metavar="NODE...")
@click.option("--cluster-id", help="The cluster that they reflect for. [default: 244.0.0.1]")
@click.option("--clients", metavar="SELECTOR", help="The nodes that peer with them. [default: all()]")
@_moving
def add(nodes: tuple[str, ...], cluster_id: str | None, clients: str | None, **options: Any) -> None:
    """Make NODES route reflectors, one after the other. The mesh, if it is on, stays on."""
    from calico.bgp.reflectors.fleet import DEFAULT_CLUSTER_ID
    from calico.bgp.reflectors.steps import Wanted, steps_to_add

    wanted = Wanted(nodes=nodes, cluster_id=cluster_id or DEFAULT_CLUSTER_ID, clients=clients)
    _move(lambda fleet: steps_to_add(fleet, wanted), **options)


@rr.command()
@click.argument("nodes", nargs=-1, required=True, metavar="NODE...")
@_moving
def remove(nodes: tuple[str, ...], **options: Any) -> None:
    """Let NODES be route reflectors no longer, one after the other, once the others have taken over.

    Refused when clients would be left without reflectors while there is no mesh.
    """
    from calico.bgp.reflectors.steps import steps_to_remove

    _move(lambda fleet: steps_to_remove(fleet, nodes), **options)


@rr.command()
@click.option("--to", "target", type=click.Choice(["reflectors", "mesh"]), default="reflectors", show_default=True)
@click.option("--alone", is_flag=True, help="One reflector a cluster is enough.")
@_moving
def migrate(target: str, alone: bool, **options: Any) -> None:
    """Move from the mesh to the reflectors that were added, or back to the mesh.

    The mesh ends only when every host has its sessions with its reflectors and has learned all routes from them.
    """
    from calico.bgp.reflectors.steps import steps_to_mesh, steps_to_reflectors

    _move(
        (lambda fleet: steps_to_reflectors(fleet, alone=alone)) if target == "reflectors" else steps_to_mesh, **options
    )


def _move(
    derive: Callable[[Fleet], list[Step]],
    *,
    config: str | None,
    run_dirs: tuple[str, ...],
    ignored: tuple[str, ...],
    patience: float,
    yes: bool,
    output: str,
) -> None:
    """Show the steps, or take them."""
    from calico.bgp.reflectors.evidence import AskedAgents, StatusSockets
    from calico.bgp.reflectors.mover import Mover
    from calico.datastore.connection import load_connection, open_store

    async def run() -> tuple[list[Step], list[str]]:
        async with open_store(load_connection(config)) as store:
            mover = Mover(
                store,
                StatusSockets(run_dirs) if run_dirs else AskedAgents(store.backend),
                ignored=frozenset(ignored),
                patience_s=patience,
                tell=lambda what: click.echo(what, err=True),
            )
            if yes:
                return await mover.run(derive), []
            steps = derive(await mover.fleet())
            return steps, await _obstacles(mover, steps)

    steps, obstacles = asyncio.run(run())
    if output == "table":
        _show_steps(steps, obstacles, done=yes)
    else:
        print_data({"done": yes, "steps": [_step(step) for step in steps], "obstacles": obstacles}, output)


async def _obstacles(mover: Mover, steps: Sequence[Step]) -> list[str]:
    """What stands against the first step that changes sessions."""
    fleet = await mover.fleet()
    for step in steps:
        if found := await mover.obstacles(fleet, step):
            return found
        if step.changes_sessions:
            break
    return []


def _show_steps(steps: Sequence[Step], obstacles: Sequence[str], *, done: bool) -> None:
    if not steps:
        click.echo("nothing to do")
        return
    rows = [[number, step.what, step.cost, step.undo] for number, step in enumerate(steps, 1)]
    print_table(["", "DONE" if done else "STEP", "COST", "UNDONE BY"], rows)
    if not done:
        for sentence in obstacles[:20]:
            click.echo(f"waits for: {safe(sentence)}", err=True)
        if len(obstacles) > 20:
            click.echo(f"and {len(obstacles) - 20} more", err=True)
        click.echo("nothing was changed; --yes does it", err=True)


def _step(step: Step) -> dict[str, str]:
    return {field: getattr(step, field) for field in ("kind", "node", "cluster_id", "what", "cost", "undo")}


async def _read_fleet(config: str | None) -> Fleet:
    from calico.bgp.reflectors.fleet import read_fleet
    from calico.bgp.reflectors.mover import read_snapshot
    from calico.datastore.connection import load_connection, open_store

    async with open_store(load_connection(config)) as store:
        return read_fleet(await read_snapshot(store.backend))


def _fleet_document(fleet: Fleet) -> dict[str, Any]:
    return {
        "mesh": fleet.mesh,
        "nodes": len(fleet.hosts),
        "clusters": [
            {
                "cluster_id": cluster.cluster_id,
                "reflectors": list(cluster.reflectors),
                "joined": list(cluster.joined),
                "clients": cluster.clients.canonical,
                "client_nodes": len(fleet.clients_of(cluster)),
            }
            for cluster in fleet.clusters.values()
        ],
        "foreign": dict(fleet.foreign),
    }
