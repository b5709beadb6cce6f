"""``calico node``: how this host is doing, read from the daemons' status sockets; ``rr`` is in its own module."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from calico.cli.node.address import address
from calico.cli.node.checksystem import checksystem
from calico.cli.node.diags import diags
from calico.cli.node.drops import drops
from calico.cli.node.install import install
from calico.cli.node.reflectors import rr
from calico.cli.node.run import run
from calico.cli.node.tunnels import tunnels
from calico.cli.node.uninstall import uninstall
from calico.cli.output.printing import print_data, print_table, safe
from calico.errors import Transient
from calico.obs.statussocket import read_status

__all__ = ["node"]


@click.group()
def node() -> None:
    """Look at this host: Felix, BIRD, sessions, endpoints; and move the cluster between mesh and reflectors."""


node.add_command(rr)


for command in (address, checksystem, diags, drops, install, run, tunnels, uninstall):
    node.add_command(command)


@node.command()
@click.option(
    "--run-dir", envvar="CALICO_RUN_DIR", default="/var/run/calico", show_default=True, help="Where the sockets are."
)
@click.option("--without-bgp", is_flag=True, help="This host speaks no BGP: its agent is not looked for.")
@click.option("-o", "--output", type=click.Choice(["table", "json", "yaml"]), default="table", help="What to print.")
def status(run_dir: str, without_bgp: bool, output: str) -> None:
    """Show Felix, BIRD, BGP sessions, endpoints, and what is wrong.

    Exit code 1 when a daemon does not answer, is not in sync or not ready, or an error or critical condition holds.
    """
    names = ("felix",) if without_bgp else ("felix", "bgp")
    documents = {name: _read(Path(run_dir) / f"{name}.sock") for name in names}
    if output == "table":
        _show_felix(documents["felix"])
        if "bgp" in documents:
            _show_bgp(documents["bgp"])
        _show_conditions([each for document in documents.values() for each in document.get("conditions", [])])
    else:
        print_data(documents, output)
    if not _healthy(documents):
        raise click.exceptions.Exit(1)


def _read(path: Path) -> dict[str, Any]:
    try:
        return read_status(path)
    except Transient as error:
        return {"error": str(error)}


def _healthy(documents: dict[str, dict[str, Any]]) -> bool:
    conditions = [item for document in documents.values() for item in document.get("conditions", [])]
    return all(map(_works, documents.values())) and not any(
        item.get("severity") in ("error", "critical") for item in conditions
    )


def _works(document: dict[str, Any]) -> bool:
    return "error" not in document and bool(document.get("in_sync")) and bool(document.get("ready", True))


def _show_felix(felix: dict[str, Any]) -> None:
    if "error" in felix:
        click.echo(f"Felix       not running: {felix['error']}")
        return
    datastore = felix["datastore"]
    reason = f" ({safe(datastore['reason'])})" if datastore.get("reason") else ""
    click.echo(f"Node        {safe(felix['node'])}")
    click.echo(f"Felix       running, pid {felix['pid']}, version {felix['version']}")
    click.echo(f"Datastore   {datastore['status']}{reason}, revision {datastore['revision']}")
    click.echo(f"In sync     {'yes' if felix['in_sync'] else 'no'}, kernel at revision {felix['applied_revision']}")
    endpoints = felix["endpoints"]
    up = sum(1 for state in endpoints.values() if state == "up")
    click.echo(f"Endpoints   {len(endpoints)}, {up} up")
    _show_tunnels(felix.get("tunnels", {}))
    if endpoints:
        click.echo()
        print_table(["ENDPOINT", "STATUS"], sorted(endpoints.items()))
    hosts = felix.get("host_endpoints", {})
    if hosts:
        click.echo()
        print_table(
            ["HOST ENDPOINT", "STATUS", "INTERFACES", "REASON"],
            [[name, s["status"], ", ".join(s["interfaces"]), s.get("reason", "")] for name, s in sorted(hosts.items())],
        )
    _show_staged(felix.get("staged_policies", []))


def _show_tunnels(tunnels: dict[str, Any]) -> None:
    """The networks that this host reaches others by, and how long packets of workloads may be for it."""
    for device, network in sorted(tunnels.get("networks", {}).items()):
        state = "up" if network["up"] else "down"
        click.echo(f"Tunnel      {device} {state}, {network['address']}, {network['hosts']} other hosts")
    if tunnels.get("networks"):
        click.echo(f"MTU         {tunnels['mtu']} for workloads")


def _show_staged(counted: list[dict[str, Any]]) -> None:
    """What staged policies would have done with packets of new connections."""
    if counted:
        names = ("policy", "direction", "allow", "deny", "pass", "undecided")
        titles = ["STAGED POLICY", *(name.upper() for name in names[1:])]
        click.echo()
        print_table(titles, [[line[name] for name in names] for line in counted])


def _show_bgp(bgp: dict[str, Any]) -> None:
    click.echo()
    if "error" in bgp:
        click.echo(f"BGP         not running: {bgp['error']}")
        return
    bird = bgp.get("bird") or {}
    click.echo(f"BGP         running, pid {bgp['pid']}, configuration of revision {bgp['config_revision']}")
    click.echo(f"BIRD        {safe(bird.get('state', 'unknown'))} {safe(bird.get('version', ''))}")
    click.echo(f"Ready       {'yes' if bgp.get('ready') else 'no: ' + safe(bgp.get('not_ready', 'unknown'))}")
    sessions = bgp.get("sessions", [])
    if sessions:
        click.echo()
        print_table(
            ["PEER ADDRESS", "PEER TYPE", "STATE", "SINCE", "INFO"],
            [[s.get(key, "") for key in ("peer_ip", "type", "state", "since", "info")] for s in sessions],
        )


def _show_conditions(conditions: list[dict[str, str]]) -> None:
    if conditions:
        click.echo()
        print_table(
            ["SEVERITY", "CONDITION", "OBJECT", "WHAT IS WRONG"],
            [[c.get(key, "") for key in ("severity", "code", "object", "message")] for c in conditions],
        )
