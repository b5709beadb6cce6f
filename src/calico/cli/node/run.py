"""``calico node run``: register this host and run its agents in the foreground, as the calico/node container does."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from typing import Any

import click

from calico.cli.node.address import METHODS_HELP
from calico.cli.node.registering import register
from calico.cli.options import config_option
from calico.cli.output.printing import safe
from calico.datastore.connection import DEFAULT_CONFIG, Connection, load_connection
from calico.errors import InvalidInput

__all__ = ["run"]

_RESTART_S = 1.0


@click.command()
@click.option("--name", envvar=["NODENAME", "HOSTNAME"], help="Name of this host's Node. [default: host name]")
@click.option("--ip", "ipv4", help="IPv4 address for others, or none. [default: detected]")
@click.option("--ip6", "ipv6", default="none", show_default=True, help="IPv6 address, autodetect or none.")
@click.option("--as", "as_number", help="AS number of this node. [default: that of BGPConfiguration]")
@click.option(
    "--ip-autodetection-method",
    default="datastore",
    show_default=True,
    help=METHODS_HELP,
)
@click.option("--ip6-autodetection-method", default="datastore", show_default=True, help="The same for IPv6.")
@click.option("--backend", type=click.Choice(["bird", "none"]), default="bird", show_default=True, help="Who routes.")
@click.option("--run-dir", envvar="CALICO_RUN_DIR", default="/var/run/calico", show_default=True, help="For sockets.")
@click.option(
    "--kubernetes-node", envvar="CALICO_K8S_NODE_REF", help="What Kubernetes calls this host, if it is its node."
)
@click.option("--dryrun", "--dry-run", is_flag=True, help="Only show the Node and the commands.")
@config_option
def run(
    name: str | None,
    ipv4: str | None,
    ipv6: str,
    as_number: str | None,
    ip_autodetection_method: str,
    ip6_autodetection_method: str,
    backend: str,
    run_dir: str,
    kubernetes_node: str | None,
    dryrun: bool,
    config: str | None,
) -> None:
    """Register this host as a Node and run Felix and the BGP agent until told to stop.

    For containers and trials; on a host the units of `calico node install` do the same with less rights. An agent that
    ends is started again. No pool is made. Ruleset, routes and BIRD stay when this ends.
    """
    node = name or socket.gethostname().lower()
    connection = load_connection(config)
    addresses = {
        "ipv4Address": _address(ipv4 or "autodetect", 4, ip_autodetection_method, connection),
        "ipv6Address": _address(ipv6, 6, ip6_autodetection_method, connection),
    }
    bgp = {key: value for key, value in {**addresses, "asNumber": as_number}.items() if value}
    spec: dict[str, Any] = {"bgp": bgp} if bgp else {}
    if kubernetes_node:
        spec["orchRefs"] = [{"nodeName": kubernetes_node, "orchestrator": "k8s"}]
    patch: dict[str, Any] = {"spec": spec} if spec else {}
    commands = _commands(node, backend, run_dir, config)
    if dryrun:
        click.echo(f"Node {safe(node)}: {patch.get('spec', {})}")
        for command in commands:
            click.echo(" ".join(command))
        return
    asyncio.run(register(node, patch, config))
    asyncio.run(_supervise(commands))


def _address(wanted: str, version: int, method: str, connection: Connection) -> str:
    from calico.cli.node.autodetect import detect, given

    if wanted == "none":
        return ""
    found = detect(method, version, connection.endpoints) if wanted == "autodetect" else given(wanted, version)
    if found is None:
        option = "--ip" if version == 4 else "--ip6"
        message = f"no IPv{version} address was found by {method}: give one, or none"
        raise InvalidInput(message, subject=option)
    click.echo(f"IPv{version} address {found.address}: {found.because}", err=True)
    return found.address


def _commands(node: str, backend: str, run_dir: str, config: str | None) -> list[list[str]]:
    """The agents find the datastore by the same environment, and the same file."""
    common = ["--node", node, "--run-dir", run_dir]
    file = config or (DEFAULT_CONFIG if os.path.exists(DEFAULT_CONFIG) else "")
    common += ["--config", os.path.abspath(file)] if file else []
    names = ["felix", "bgp"] if backend == "bird" else ["felix"]
    return [[sys.executable, "-m", "calico", each, *common] for each in names]


async def _supervise(commands: list[list[str]]) -> None:
    async with asyncio.TaskGroup() as tasks:
        keepers = [tasks.create_task(_keep(command)) for command in commands]
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, lambda: [keeper.cancel() for keeper in keepers])


async def _keep(command: list[str]) -> None:
    """Run a command for ever; on cancellation it is told to end, and waited for."""
    with contextlib.suppress(asyncio.CancelledError):
        while True:
            process = await asyncio.create_subprocess_exec(*command, start_new_session=True)
            try:
                code = await process.wait()
            finally:
                if process.returncode is None:
                    process.terminate()
                    await process.wait()
            click.echo(f"{command[3]} ended with {code} and is started again", err=True)
            await asyncio.sleep(_RESTART_S)
