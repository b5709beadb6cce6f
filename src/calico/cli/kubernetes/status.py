"""``calico kubernetes status``: whether the API server, the datastore, the controllers and the nodes agree."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import click

from calico.cli.kubernetes.standing import Line, judge_lease, judge_nodes, judge_pods, judge_policies
from calico.cli.options import config_option, data_output_option, opened
from calico.cli.output.printing import print_data, print_table

if TYPE_CHECKING:
    from calico.datastore.typed.store import Store
    from calico.orchestrators.kubernetes.api.client import Client

__all__ = ["status_command"]


@click.command("status")
@click.option("--kubeconfig", envvar="KUBECONFIG", default="", help="How the API is reached. [default: as this pod]")
@click.option("--lease-namespace", envvar="CALICO_LEASE_NAMESPACE", default="kube-system", show_default=True)
@click.option("--lease-name", envvar="CALICO_LEASE_NAME", default="calico-kube-controllers", show_default=True)
@config_option
@data_output_option
def status_command(kubeconfig: str, lease_namespace: str, lease_name: str, config: str | None, output: str) -> None:
    """Show how Calico does in a cluster: who leads, each node, and whether policies, pods and services are told.

    Exit code 1 when something is not as it should be. What changes at this moment may be seen half done.
    """
    lines = asyncio.run(_look(kubeconfig, f"{lease_namespace}/leases/{lease_name}", config))
    if output == "table":
        print_table(["WHAT", "STATE", "SAID"], [(line.what, _state(line), line.said) for line in lines])
    else:
        rows = [{"what": line.what, "good": line.good, "said": line.said} for line in lines]
        print_data({"good": all(line.good for line in lines), "lines": rows}, output)
    if not all(line.good for line in lines):
        raise click.exceptions.Exit(1)


def _state(line: Line) -> str:
    return "ok" if line.good else "WRONG"


async def _look(kubeconfig: str, lease: str, config: str | None) -> list[Line]:
    from calico.orchestrators.kubernetes.api.client import Client
    from calico.orchestrators.kubernetes.api.connection import load_api_connection

    async with Client(load_api_connection(kubeconfig)) as client, opened(config) as store:
        return [*await _answers(client, store), *await _contents(client, store, lease)]


async def _answers(client: Client, store: Store) -> list[Line]:
    from calico.datastore.typed.ready import require_ready
    from calico.errors import CalicoError

    version = await client.get("/version")
    lines = [Line("API server", True, str(version.get("gitVersion") or ""))]
    try:
        await require_ready(store.backend)
        lines.append(Line("datastore", True, "ready"))
    except CalicoError as error:
        lines.append(Line("datastore", False, str(error)))
    return lines


async def _contents(client: Client, store: Store, lease: str) -> list[Line]:
    from calico.datastore.typed.store import key_of
    from calico.errors import NotFound
    from calico.model.kubernetes.services import SOURCE_KEY
    from calico.model.workload import WorkloadEndpoint

    found: dict[str, Any] | None
    try:
        found = await client.get(f"/apis/coordination.k8s.io/v1/namespaces/{lease}")
    except NotFound:
        found = None
    nodes, _ = await client.list("/api/v1/nodes")
    policies, _ = await client.list("/apis/networking.k8s.io/v1/networkpolicies")
    pods, _ = await client.list("/api/v1/pods")
    known = [node.metadata.name for node in await store.list("Node")]
    copies = [(key.namespace, key.name) for key in map(key_of, await store.list("NetworkPolicy"))]
    endpoints = [
        (endpoint.metadata.namespace, endpoint.spec.pod)
        for endpoint in await store.list("WorkloadEndpoint")
        if isinstance(endpoint, WorkloadEndpoint) and endpoint.spec.orchestrator == "k8s"
    ]
    told = await store.backend.get(SOURCE_KEY) is not None
    names = [(item["metadata"]["namespace"], item["metadata"]["name"]) for item in policies]
    return [
        judge_lease(found, time.time()),
        Line("services", told, "told" if told else "nobody has told the services of this cluster yet"),
        judge_policies(names, copies),
        judge_pods(pods, endpoints),
        *judge_nodes(nodes, known),
    ]
