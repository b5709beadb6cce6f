"""Tables that a person likes to read: the state of a lab, and a matrix of what reaches what."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from calico.lab.probe.matrix import Row

__all__ = ["print_matrix", "print_status"]


def print_status(document: dict[str, Any], console: Console | None = None) -> None:
    """Hosts, then workloads and externals, then what is wrong and where to read about it."""
    console = console or Console(highlight=False)
    fabric = document["fabric"]
    state = "ready" if document["ready"] else "not ready"
    console.print(f"lab {document['name']}: {state}, {fabric['type']} fabric, bgp by {fabric['bgp']}")
    console.print(_members(document))
    console.print(_hosts(document))
    if document["workloads"] or document["externals"]:
        console.print(_machines(document))
    if document["instances"]:
        console.print(_instances(document))
    for host in document["hosts"]:
        for problem in host["problems"]:
            console.print(f"! {problem}", style="red", markup=False)
    for member in document["etcd"]:
        if member["cut_off_from"]:
            whom = "everybody" if member["cut_off_from"] == "all" else "the other members"
            heal = f"calico lab etcd heal -l {document['name']} {member['name']}"
            console.print(f"! {member['name']} is cut off from {whom}; {heal}", style="red", markup=False)
    for process in document["processes"]:
        if not process["running"]:
            console.print(f"! {process['name']} is not running; log: {process['log']}", style="red", markup=False)
    console.print(f"files: {document['directory']}", style="dim")


def _members(document: dict[str, Any]) -> Table:
    table = Table("etcd", "address", "state", box=None, header_style="bold", pad_edge=False)
    for member in document["etcd"]:
        good = member["raft"] in ("leader", "follower") and not member["cut_off_from"]
        cut = ", cut off" if member["cut_off_from"] else ""
        state = Text(f"{member['raft']}{cut}", style="green" if good else "red")
        table.add_row(member["name"], member["address"], state)
    return table


def _hosts(document: dict[str, Any]) -> Table:
    table = Table("host", "addresses", "AS", "role", "in sync", "bgp", box=None, header_style="bold", pad_edge=False)
    for host in document["hosts"]:
        role = "reflector" if host["reflector"] else f"rack {host['rack']}" if host["rack"] else "host"
        sync = Text("yes", style="green") if host["in_sync"] else Text("no", style="red")
        sessions = f"{host['sessions_up']}/{host['sessions']}"
        table.add_row(host["name"], "\n".join(host["addresses"]), str(host["as"]), role, sync, sessions)
    return table


def _machines(document: dict[str, Any]) -> Table:
    columns = ("workload", "host", "namespace", "labels", "addresses", "status")
    table = Table(*columns, box=None, header_style="bold", pad_edge=False)
    for workload in document["workloads"]:
        labels = ",".join(f"{key}={value}" for key, value in workload["labels"].items())
        style = "green" if workload["status"] == "up" else "red"
        addresses = "\n".join(workload["addresses"])
        where = (workload["name"], workload["host"], workload["namespace"], labels, addresses)
        table.add_row(*where, Text(workload["status"], style=style))
    for external in document["externals"]:
        table.add_row(external["name"], "(external)", "", "", "\n".join(external["addresses"]), "")
    return table


def _instances(document: dict[str, Any]) -> Table:
    table = Table("instance", "host", "interface", "port", box=None, header_style="bold", pad_edge=False)
    for one in document["instances"]:
        table.add_row(one["name"], one["host"], one["interface"], one["port"])
    return table


def print_matrix(rows: Iterable[Row], console: Console | None = None, *, changed: Collection[Row] = ()) -> None:
    """One table for every protocol and port: from (down) to (across).

    A cell says ``yes`` or ``no``, or ``4`` or ``6`` when only that family passes; ``*`` marks a cell with a row of
    ``changed``. Words as well as colours, so that nobody depends on either.
    """
    console = console or Console(highlight=False)
    services: dict[tuple[str, int | None], dict[tuple[str, str], list[Row]]] = {}
    for row in rows:
        services.setdefault((row.protocol, row.port), {}).setdefault((row.src, row.dst), []).append(row)
    marked = {(row.protocol, row.port, row.src, row.dst) for row in changed}
    for (protocol, port), cells in services.items():
        sources = list(dict.fromkeys(src for src, _ in cells))
        targets = list(dict.fromkeys([*(s for s in sources if any(d == s for _, d in cells)), *(d for _, d in cells)]))
        table = Table(box=None, header_style="bold", pad_edge=False, title_justify="left", title_style="bold")
        table.title = f"{protocol} {port}" if port is not None else f"{protocol} echo"
        table.add_column("from \\ to", style="bold")
        for target in targets:
            table.add_column(target, justify="center")
        for source in sources:
            texts = [
                _cell(cells.get((source, target), []), (protocol, port, source, target) in marked) for target in targets
            ]
            table.add_row(source, *texts)
        console.print(table)
        console.print()


def _cell(rows: list[Row], marked: bool) -> Text:
    star = "*" if marked else ""
    if not rows:
        return Text("·", style="dim")
    passed = [row.family for row in rows if row.reachable]
    if len(passed) == len(rows):
        return Text(f"yes{star}", style="green")
    if not passed:
        return Text(f"no{star}", style="red")
    return Text(f"{passed[0]} only{star}", style="yellow")
