"""``calico lab openstack``: instances of a lab's cloud, and its Neutron."""

from __future__ import annotations

import json

import click

__all__ = ["openstack"]

_LAB_OPTION = click.option("-l", "--lab", "lab_name", help="The lab; may be left out when there is only one.")


@click.group()
def openstack() -> None:
    """Do what Nova would in a lab with `openstack` in its topology, and call its Neutron."""


@openstack.command()
@_LAB_OPTION
@click.argument("method", type=click.Choice(["GET", "POST", "PUT", "DELETE"], case_sensitive=False))
@click.argument("path")
@click.argument("body", required=False)
def api(lab_name: str | None, method: str, path: str, body: str | None) -> None:
    """Call Neutron's API as an administrator: GET networks, POST networks '{"network": {"name": "blue"}}'."""
    from calico.errors import InvalidInput
    from calico.lab.addressing import plan_layout
    from calico.lab.execute import find_lab
    from calico.lab.openstack.api import open_api
    from calico.lab.state import load_state

    try:
        document = json.loads(body) if body else None
    except ValueError as error:
        raise InvalidInput(f"not JSON: {error}", field="BODY") from error
    layout = plan_layout(load_state(find_lab(lab_name)).topology)
    answer = open_api(layout).call(method.upper(), path.removeprefix("/v2.0/").lstrip("/"), document)
    if answer is not None:
        click.echo(json.dumps(answer, indent=2))


@openstack.command()
@_LAB_OPTION
@click.argument("name")
@click.option("--host", required=True, help="The compute host it runs on.")
@click.option("--port", default="", metavar="ID", help="The port it is to have.")
@click.option("--network", default="", metavar="ID", help="Make a port on this network instead.")
@click.option("--dhcp/--no-dhcp", default=True, show_default=True, help="Run a DHCP client in it.")
def boot(lab_name: str | None, name: str, host: str, port: str, network: str, dhcp: bool) -> None:
    """Start an instance: a namespace behind the tap of its port, configured by DHCP.

    Binds the port, plugs the tap and waits until Neutron tells Nova that it is plugged. Look inside with
    `calico lab exec NAME`.
    """
    from calico.lab.execute import find_lab
    from calico.lab.openstack.compute import boot as boot_instance

    if bool(port) == bool(network):
        raise click.UsageError("give one of --port and --network")
    made = boot_instance(find_lab(lab_name), name, host, port=port, network=network, dhcp=dhcp)
    click.echo(f"instance {made.name} is on {made.host}, port {made.port} on {made.tap}")


@openstack.command()
@_LAB_OPTION
@click.argument("name")
def delete(lab_name: str | None, name: str) -> None:
    """End an instance; its port is unbound, or deleted if `boot --network` made it."""
    from calico.lab.execute import find_lab
    from calico.lab.openstack.compute import delete as delete_instance

    delete_instance(find_lab(lab_name), name)
    click.echo(f"instance {name} is gone")


@openstack.command()
@_LAB_OPTION
@click.argument("name")
@click.option("--to", "target", required=True, metavar="HOST", help="The compute host it moves to.")
def migrate(lab_name: str | None, name: str, target: str) -> None:
    """Move a running instance to another host; what runs in it goes on."""
    from calico.lab.execute import find_lab
    from calico.lab.openstack.compute import migrate as migrate_instance

    moved = migrate_instance(find_lab(lab_name), name, target)
    click.echo(f"instance {name} is on {moved.host}, port {moved.port} on {moved.tap}")
