"""``calico endpoint``: plug network namespaces and devices of this host into the network, and take them out again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import click

from calico.cli.cni import agent_options, settings_of
from calico.cli.options import config_option, data_output_option
from calico.cli.output.printing import print_data, print_table
from calico.datastore.connection import load_connection, open_store
from calico.errors import InvalidInput
from calico.model.workload import WorkloadEndpoint
from calico.orchestrators.cni.commands.agent import Agent, Settings
from calico.orchestrators.cni.protocol.result import Result

__all__ = ["endpoint"]


@click.group()
def endpoint() -> None:
    """Connect what no CNI runtime starts: LXC, libvirt, systemd-nspawn, plain namespaces."""


@endpoint.command()
@click.argument("name")
@click.option("--netns", metavar="NAME|PATH|pid:N", help="The network namespace to connect.")
@click.option(
    "--tap", metavar="DEVICE", help="A device of this host to connect; what is behind it has its own addresses."
)
@click.option("--interface", default="eth0", show_default=True, help="Name inside the namespace, and of the endpoint.")
@click.option("--network", default="default", show_default=True, help="Its profile lets members reach one another.")
@click.option("--ip", "ips", multiple=True, help="This very address, instead of one from a pool.")
@click.option("--pool", "pools", multiple=True, help="IPPools, as CIDRs, to take addresses from.")
@click.option("--ipv4/--no-ipv4", default=True, help="An IPv4 address.  [default: ipv4]")
@click.option("--ipv6/--no-ipv6", default=False, help="An IPv6 address.  [default: no-ipv6]")
@click.option("--mac", default="", help="MAC of the workload; of a tap's guest, to pin it.")
@click.option("--mtu", type=int, default=0, help="MTU of the cable.")
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="Labels for policies to select.")
@agent_options
@config_option
@data_output_option
def add(
    name: str,
    netns: str | None,
    tap: str | None,
    interface: str,
    network: str,
    ips: tuple[str, ...],
    pools: tuple[str, ...],
    ipv4: bool,
    ipv6: bool,
    mac: str,
    mtu: int,
    labels: tuple[str, ...],
    config: str | None,
    output: str,
    **options: Any,
) -> None:
    """Connect a namespace or a device as NAME, and return when its policy is in the kernel.

    NAME has letters, digits and dashes. A namespace gets a cable, addresses and routes; behind a tap the guest must
    set what is printed.
    """
    from calico.orchestrators.cni.commands.manual import Plug, netns_path, plug

    if bool(netns) == bool(tap):
        raise click.UsageError("give either --netns or --tap")
    asked = Plug(
        name=name,
        netns=netns_path(netns) if netns else "",
        tap=tap or "",
        interface=interface,
        network=network,
        ips=ips,
        pools=pools,
        ipv4=ipv4,
        ipv6=ipv6,
        mac=mac,
        mtu=mtu,
        labels=dict(_pair(text) for text in labels),
    )

    async def run() -> Result:
        async with _agent(settings_of(**options), config) as agent:
            return await plug(agent, asked)

    _print_result(name, asyncio.run(run()), output)


@endpoint.command()
@click.argument("name")
@click.option("--interface", default="eth0", show_default=True, help="Which of its interfaces.")
@agent_options
@config_option
def remove(name: str, interface: str, config: str | None, **options: Any) -> None:
    """Take NAME out of the network: its endpoint, cable and addresses go; a tap device stays."""
    from calico.orchestrators.cni.commands.manual import unplug

    async def run() -> None:
        async with _agent(settings_of(**options), config) as agent:
            await unplug(agent, name, interface)

    asyncio.run(run())
    click.echo(f"removed {name}")


@endpoint.command("list")
@agent_options
@config_option
@data_output_option
def list_command(config: str | None, output: str, **options: Any) -> None:
    """Show what is connected on this host, apart from pods."""
    from calico.orchestrators.cni.commands.manual import list_plugged

    async def run() -> list[WorkloadEndpoint]:
        async with _agent(settings_of(**options), config) as agent:
            return await list_plugged(agent)

    found = asyncio.run(run())
    if output != "table":
        rows = [
            {
                "name": one.spec.container_id,
                "interface": one.spec.endpoint,
                "hostInterface": one.spec.interface_name,
                "addresses": [net.partition("/")[0] for net in one.spec.ip_networks],
                "profiles": list(one.spec.profiles),
                "labels": one.metadata.labels,
            }
            for one in found
        ]
        print_data(rows, output)
        return
    print_table(
        ["NAME", "INTERFACE", "HOST INTERFACE", "ADDRESSES", "PROFILES"],
        [
            [
                one.spec.container_id,
                one.spec.endpoint,
                one.spec.interface_name,
                ",".join(net.partition("/")[0] for net in one.spec.ip_networks),
                ",".join(one.spec.profiles),
            ]
            for one in found
        ],
    )


@asynccontextmanager
async def _agent(settings: Settings, config: str | None) -> AsyncIterator[Agent]:
    from calico.ipam.allocator import Allocator
    from calico.orchestrators.cni.serving.daemon import utc_now

    async with open_store(load_connection(config)) as store:
        yield Agent(settings, store, Allocator(store.backend, clock=utc_now))


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise InvalidInput(f"{text!r} is not KEY=VALUE", field="--label")
    return key, value


def _print_result(name: str, result: Result, output: str) -> None:
    addresses = [ip.address for ip in result.ips]
    gateways = {(6 if ":" in route.dst else 4): route.gw for route in result.routes}
    host = result.interfaces[0]
    if output != "table":
        document = {
            "name": name,
            "hostInterface": host.name,
            "mac": result.interfaces[-1].mac,
            "addresses": addresses,
            "gateways": [gateway for gateway in gateways.values() if gateway],
        }
        print_data(document, output)
        return
    rows = [[name, host.name, address, gateways.get(6 if ":" in address else 4, "")] for address in addresses]
    print_table(["NAME", "HOST INTERFACE", "ADDRESS", "GATEWAY"], rows)
