"""``calico ipam check``: whether addresses, blocks, endpoints, routes and the kernel fit together."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from pathlib import Path
from typing import Any

import click

from calico.cli.ipam.thishost import read_kernel
from calico.cli.options import config_option, data_output_option, opened
from calico.cli.output.printing import json_text, print_data, print_table
from calico.cli.thisnode import this_node
from calico.datastore.sync.plausibility import CLUSTER_INFO_KEY, cluster_facts
from calico.datastore.typed.store import Store
from calico.errors import InvalidInput
from calico.ipam.audit.consistency import Finding, findings
from calico.ipam.audit.kernelview import KernelView, in_kernel, kernel_findings
from calico.ipam.audit.state import IPAMState, read_state
from calico.ipam.stored.block import address_at

__all__ = ["check_command", "cluster_guid", "document_of"]


@click.command("check")
@click.option("--node", help="The Node that is this host.  [default: its host name]")
@click.option("--no-kernel", is_flag=True, help="Do not compare with this host's routes and interfaces.")
@click.option("--show-all-ips", is_flag=True, help="Every address that is given out, and who uses it.")
@click.option("--report", type=click.Path(dir_okay=False), help="Write the report as JSON, for release --from-report.")
@data_output_option
@config_option
def check_command(
    node: str | None, no_kernel: bool, show_all_ips: bool, report: str | None, output: str, config: str | None
) -> None:
    """Check IPAM: blocks, affinities and handles against each other, addresses against endpoints and tunnels, and, of
    the endpoints of this host, routes and interfaces of the kernel.

    Everything is read at one revision. Each finding is explained, with what to do. Exit code 1 when there is any.
    """
    document = asyncio.run(_check(node, not no_kernel, config))
    if report:
        try:
            Path(report).write_text(json_text(document) + "\n", encoding="utf-8")
        except OSError as error:
            raise InvalidInput(f"cannot be written: {error}", subject=report) from error
    if output != "table":
        print_data(document, output)
    else:
        _print(document, with_all=show_all_ips)
    if document["findings"]:
        raise click.exceptions.Exit(1)


async def _check(node: str | None, with_kernel: bool, config: str | None) -> dict[str, Any]:
    async with opened(config) as store:
        state = await read_state(store.backend)
        guid = await cluster_guid(store)
    host = node or this_node()
    if node and node not in state.nodes:
        raise InvalidInput("there is no such Node", subject=f"--node {node}")
    kernel = read_kernel(host) if with_kernel and host in state.nodes else None
    return document_of(state, kernel, guid)


async def cluster_guid(store: Store) -> str:
    """Which cluster it is; empty when the datastore does not say."""
    kv = await store.backend.get(CLUSTER_INFO_KEY)
    facts = cluster_facts(kv.value) if kv is not None else None
    return facts.guid if facts is not None else ""


def document_of(state: IPAMState, kernel: KernelView | None, guid: str) -> dict[str, Any]:
    """The report."""
    found = list(findings(state))
    if kernel is not None:
        found += kernel_findings(state, kernel)
    return {
        "version": 1,
        "clusterGUID": guid,
        "revision": state.revision,
        "kernelOf": kernel.host if kernel is not None else "",
        "blocks": len(state.blocks),
        "handles": len(state.handles),
        "allocations": _allocations(state),
        "findings": [_finding(each, kernel) for each in found],
    }


def _allocations(state: IPAMState) -> list[dict[str, Any]]:
    users: dict[str, list[str]] = defaultdict(list)
    for user in state.users:
        users[user.address].append(user.who)
    found = []
    for cidr, block in state.blocks.items():
        for ordinal, attribute in block.held():
            address = str(address_at(block, ordinal))
            found.append({"ip": address, "block": cidr, "handle": attribute.handle or "", "usedBy": users[address]})
    return found


def _finding(found: Finding, kernel: KernelView | None) -> dict[str, Any]:
    document: dict[str, Any] = {
        "code": found.code,
        "subject": found.subject,
        "explanation": found.explanation,
        "proposal": found.proposal,
    }
    for name in ("address", "block", "handle", "sequence", "node"):
        if value := getattr(found, name):
            document[name] = value
    if found.code == "address-leaked" and (there := in_kernel(kernel, found.address)):
        document["inKernel"] = there
        document["proposal"] = f"find out what it is, for {there}; it is not released"
    return document


def _print(document: dict[str, Any], *, with_all: bool) -> None:
    if with_all:
        rows = [
            [each["ip"], each["block"], each["handle"], ", ".join(each["usedBy"])] for each in document["allocations"]
        ]
        print_table(["IP", "BLOCK", "HANDLE", "USED BY"], rows)
        click.echo()
    where = f", kernel of {document['kernelOf']}" if document["kernelOf"] else ""
    counts = f"{document['blocks']} blocks, {document['handles']} handles, {len(document['allocations'])} addresses"
    click.echo(f"Checked {counts} at revision {document['revision']}{where}")
    if not document["findings"]:
        click.echo("Everything fits together")
        return
    click.echo()
    rows = [[each["code"], each["subject"], each["explanation"], each["proposal"]] for each in document["findings"]]
    print_table(["FINDING", "OBJECT", "WHAT IS WRONG", "WHAT TO DO"], rows)
