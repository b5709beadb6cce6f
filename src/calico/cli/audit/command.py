"""``calico audit``: read the datastore and the kernel once, judge, look again at what was found, and say what stays."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import msgspec

from calico.cli.audit.findings import PROPERTIES, Finding
from calico.cli.node.layout import ENVIRONMENT_FILE
from calico.cli.options import config_option, data_output_option
from calico.cli.output.printing import print_data, print_table, safe
from calico.errors import CalicoError

__all__ = ["audit"]

_INCOMPLETE = 2


@click.command()
@click.option("--node", envvar=["FELIX_FELIXHOSTNAME", "NODENAME", "HOSTNAME"], help="Name of this host's Node.")
@click.option("--felix-config-file", help="Parameters of this host's Felix. [default: /etc/calico/felix.cfg, if there]")
@click.option(
    "--environment-file",
    default=ENVIRONMENT_FILE,
    show_default=True,
    help="The environment of this host's daemons, if it is there: their parameters, and the name of the Node.",
)
@click.option(
    "--looks",
    type=click.IntRange(1),
    default=3,
    show_default=True,
    help="What is found is looked at so often, a second apart, and told if it was there each time.",
)
@data_output_option
@config_option
def audit(
    node: str | None,
    felix_config_file: str | None,
    environment_file: str,
    looks: int,
    output: str,
    config: str | None,
) -> None:
    """Check this host's security properties by what its kernel has, asking no daemon.

    The packet filter is read back and tried with hostile packets; settings, neighbours, routes and tunnels are compared
    with the datastore. Exit code 1 when a property does not hold, 2 when not all could be checked. Needs root.
    """
    from calico.cli.daemons import node_name
    from calico.cli.felix import parameters_of_file

    there = _variables(environment_file)
    host = node_name(node or there.get("NODENAME"))
    environment = {**there, **os.environ}
    _, file = parameters_of_file(felix_config_file)
    try:
        revision, findings = _look(host, file, environment, config)
        for _ in range(looks - 1):
            if not findings:
                break
            time.sleep(1.0)
            revision, again = _look(host, file, environment, config)
            findings = [finding for finding in findings if finding in again]
    except CalicoError as error:
        click.echo(f"error: the audit is not complete: {safe(str(error))}", err=True)
        raise click.exceptions.Exit(_INCOMPLETE) from error
    _show(host, revision, findings, output)
    if findings:
        raise click.exceptions.Exit(1)


def _variables(path: str) -> dict[str, str]:
    """The lines ``NAME=value`` of a file for systemd; nothing without one."""
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return {}
    pairs = (line.split("=", 1) for line in lines if "=" in line and not line.lstrip().startswith(("#", ";")))
    return {name.strip(): value.strip().strip("\"'") for name, value in pairs}


def _look(
    node: str, file: dict[str, str], environment: dict[str, str], config: str | None
) -> tuple[int, list[Finding]]:
    from calico.cli.audit.intent import read_intent
    from calico.cli.audit.kernel import read_kernel
    from calico.datastore.connection import load_connection, open_store
    from calico.felix.host import TABLE

    kernel = read_kernel(TABLE)

    async def intent() -> Any:
        async with open_store(load_connection(config)) as store:
            return await read_intent(store.backend, node, file, kernel.addresses, environment)

    read = asyncio.run(intent())
    return read.revision, sorted(set(_judge(kernel, read)))


def _judge(kernel: Any, intent: Any) -> Iterator[Finding]:
    from calico.cli.audit import host, packets
    from calico.cli.audit.kernel import read_sysctl
    from calico.dataplane.encap.tunnels import DEVICES

    if not kernel.status.exists:
        fix = "start calico-boot-guard and calico-felix"
        yield Finding("S1", "table inet calico", "it is not in the kernel: workload interfaces are open", fix)
        return
    yield from packets.judge_strangers(kernel.table, intent, kernel.links)
    for name, endpoint in intent.endpoints.items():
        if name in kernel.links:
            yield from packets.judge_endpoint(kernel.table, intent.rules, endpoint)
    has_tunnel = any(link.kind == "vxlan" and name in DEVICES.values() for name, link in kernel.links.items())
    yield from packets.judge_tunnel(kernel.table, intent.rules, has_tunnel)
    yield from host.check_settings(kernel, intent, read_sysctl)
    yield from host.check_neighbours(kernel, intent)
    yield from host.check_routes(kernel, intent)
    yield from host.check_addresses(intent)
    yield from host.check_tunnels(kernel, intent)
    yield from host.check_ownership(kernel, intent)


def _show(node: str, revision: int, findings: list[Finding], output: str) -> None:
    broken = {finding.property for finding in findings}
    if output != "table":
        document = {
            "node": node,
            "revision": revision,
            "properties": {number: {"holds": number not in broken, "text": t} for number, t in PROPERTIES.items()},
            "findings": [msgspec.to_builtins(finding) for finding in findings],
        }
        print_data(document, output)
        return
    rows = [(n, "BROKEN" if n in broken else "holds", text) for n, text in PROPERTIES.items()]
    print_table(["PROPERTY", "STATE", "MEANING"], rows)
    if findings:
        click.echo()
        print_table(
            ["PROPERTY", "OBJECT", "EVIDENCE", "FIX"], [(f.property, f.object, f.evidence, f.fix) for f in findings]
        )
