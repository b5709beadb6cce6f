"""``calico openstack instances``: what the agent of this host tells each instance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from calico.cli.output.printing import print_data, print_table

__all__ = ["instances_command"]


@click.command("instances")
@click.option(
    "--run-dir", envvar="CALICO_RUN_DIR", default="/var/run/calico", show_default=True, help="Where the socket is."
)
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", help="What to print.")
def instances_command(run_dir: str, output: str) -> None:
    """Show what the agent tells the instances of this host, and what it could not tell."""
    from calico.obs.statussocket import read_status

    status = read_status(Path(run_dir) / "openstack-agent.sock")
    problems = {c["object"]: c["message"] for c in status["conditions"] if c["code"] == "dhcp-incomplete"}
    rows = [{**one, "problems": problems.get(one["interface"], "")} for one in status["instances"]]
    if output == "json":
        print_data(rows, "json")
        return
    print_table(["INTERFACE", "MAC", "IPV4", "IPV6", "NAME", "MTU", "PROBLEMS"], [_row(one) for one in rows])


def _row(one: dict[str, Any]) -> list[str]:
    six = " ".join(f"{item['address']} ({item['mode']})" for item in one["ipv6"])
    name = f"{one['hostname']}.{one['domain']}" if one["domain"] else one["hostname"]
    return [one["interface"], one["mac"], one["ipv4"], six, name, str(one["mtu"] or ""), one["problems"]]
