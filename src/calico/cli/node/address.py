"""``calico node address``: which address of this host others shall reach it at, and why; ``--write`` makes it so."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from calico.cli.node.registering import register
from calico.cli.options import config_option, data_output_option
from calico.cli.output.printing import print_data, print_table
from calico.datastore.connection import load_connection
from calico.errors import InvalidInput

__all__ = ["METHODS_HELP", "address"]

METHODS_HELP = (
    "datastore (where packets to it leave), first-found, can-reach=HOST, interface=REGEX, skip-interface=REGEX, "
    "cidr=NET."
)


@click.command()
@click.option("--name", envvar=["NODENAME", "HOSTNAME"], help="Name of this host's Node. [default: host name]")
@click.option("--ip", "ipv4", default="autodetect", show_default=True, help="IPv4 address, autodetect or none.")
@click.option("--ip6", "ipv6", default="none", show_default=True, help="IPv6 address, autodetect or none.")
@click.option("--ip-autodetection-method", default="first-found", show_default=True, help=METHODS_HELP)
@click.option("--ip6-autodetection-method", default="first-found", show_default=True, help="The same for IPv6.")
@click.option(
    "--kubernetes-node",
    envvar="CALICO_K8S_NODE_REF",
    help="With --write: what Kubernetes calls this host, if it is its node.",
)
@click.option("--write", is_flag=True, help="Write it into the Node, which is made if there is none.")
@data_output_option
@config_option
def address(
    name: str | None,
    ipv4: str,
    ipv6: str,
    ip_autodetection_method: str,
    ip6_autodetection_method: str,
    kubernetes_node: str | None,
    write: bool,
    output: str,
    config: str | None,
) -> None:
    """Show the address that a method chooses for this host, and why.

    Exit code 1 when no address is found. What is not asked for (none) is left in the Node as it is.
    """
    from calico.cli.node.autodetect import Found, detect, given

    endpoints = load_connection(config).endpoints
    found: dict[str, Found] = {}
    for version, wanted, method in ((4, ipv4, ip_autodetection_method), (6, ipv6, ip6_autodetection_method)):
        if wanted == "none":
            continue
        chosen = detect(method, version, endpoints) if wanted == "autodetect" else given(wanted, version)
        if chosen is None:
            option = "--ip" if version == 4 else "--ip6"
            message = f"no IPv{version} address was found by {method}: choose another method, give one, or none"
            raise InvalidInput(message, subject=option)
        found[f"ipv{version}Address"] = chosen
    if write:
        from calico.cli.daemons import node_name

        bgp = {field: chosen.address for field, chosen in found.items()}
        spec: dict[str, Any] = {"bgp": bgp} if bgp else {}
        if kubernetes_node:
            spec["orchRefs"] = [{"nodeName": kubernetes_node, "orchestrator": "k8s"}]
        asyncio.run(register(node_name(name), {"spec": spec} if spec else {}, config))
    if output != "table":
        print_data({field: {"address": each.address, "because": each.because} for field, each in found.items()}, output)
    else:
        rows = [(field.removesuffix("Address"), each.address, each.because) for field, each in found.items()]
        print_table(["FAMILY", "ADDRESS", "WHY"], rows)
