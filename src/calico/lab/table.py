"""Tables that a person likes to read: the state of a lab, and a matrix of what reaches what."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

__all__ = ["print_status"]


def print_status(document: dict[str, Any], console: Console | None = None) -> None:
    """Hosts, then workloads and externals, then what is wrong and where to read about it."""
    console = console or Console(highlight=False)
    fabric = document["fabric"]
    state = "ready" if document["ready"] else "not ready"
    console.print(f"lab {document['name']}: {state}, {fabric['type']} fabric, bgp by {fabric['bgp']}")
    console.print(_hosts(document))
    if document["workloads"] or document["externals"]:
        console.print(_machines(document))
    for host in document["hosts"]:
        for problem in host["problems"]:
            console.print(f"! {problem}", style="red", markup=False)
    for process in document["processes"]:
        if not process["running"]:
            console.print(f"! {process['name']} is not running; log: {process['log']}", style="red", markup=False)
    console.print(f"files: {document['directory']}", style="dim")


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
