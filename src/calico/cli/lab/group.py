"""``calico lab``: many hosts on one machine. Progress goes to standard error, answers to standard output."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from calico.cli.lab.etcd import etcd
from calico.cli.lab.openstack import openstack

__all__ = ["lab"]

_LAB_OPTION = click.option("-l", "--lab", "lab_name", help="The lab; may be left out when there is only one.")
_SECONDS = click.FloatRange(min=0, min_open=True)
_OUTPUT = click.option("-o", "--output", type=click.Choice(["json"]), help="Print JSON instead of a table.")


@click.group()
def lab() -> None:
    """Run many hosts in network namespaces on this machine, with real etcd, BIRD and Felix."""


lab.add_command(etcd)
lab.add_command(openstack)


@lab.command()
@click.argument("topology", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--name", help="Name of the lab, instead of the file's.")
@click.option("--wait/--no-wait", default=False, help="Return when every host is in sync and every route is there.")
@click.option(
    "--timeout", default=60.0, type=_SECONDS, show_default=True, metavar="SECONDS", help="How long --wait waits."
)
def up(topology: Path, name: str | None, wait: bool, timeout: float) -> None:
    """Bring up the lab that TOPOLOGY (a YAML file) describes.

    A lab of that name that is incomplete or has lost a process is made anew, without what was added to it since.
    """
    from calico.errors import InvalidInput
    from calico.lab.progress import shown_progress
    from calico.lab.topology import parse_topology
    from calico.lab.up import bring_up
    from calico.lab.wait import wait_ready

    try:
        wanted = parse_topology(topology.read_bytes(), name=name)
    except InvalidInput as error:
        raise InvalidInput(error.message, subject=str(topology), field=error.field) from error
    with shown_progress() as progress:
        state, made = bring_up(wanted, progress)
        if wait:
            wait_ready(state, progress, timeout)
    count = f"{len(wanted.hosts)} hosts, {len(wanted.workloads)} workloads"
    click.echo(f"lab {wanted.name} is {'up' if made else 'up already'}: {count}")
    click.echo(f"next: calico lab status -l {wanted.name}    calico lab probe -l {wanted.name}")


@lab.command()
@click.argument("name", required=False)
@click.option("--all", "everything", is_flag=True, help="Every lab there is, whole or broken.")
def down(name: str | None, everything: bool) -> None:
    """End a lab and remove every trace of it, also after a crash."""
    from calico.lab.down import known_labs, take_down
    from calico.lab.execute import find_lab
    from calico.lab.topology import LAB_NAME

    if name is not None and not LAB_NAME.fullmatch(name):
        raise click.UsageError(f"{name!r} is not the name of a lab")
    labs = known_labs() if everything else [find_lab(name)]
    for each in labs:
        found = take_down(each)
        click.echo(f"lab {each} is down" if found else f"lab {each}: there was nothing of it")


@lab.command()
@_LAB_OPTION
@_OUTPUT
def status(lab_name: str | None, output: str | None) -> None:
    """Show hosts, workloads, addresses, processes and log files."""
    from calico.lab.execute import find_lab
    from calico.lab.state import load_state
    from calico.lab.status import lab_status

    document = lab_status(load_state(find_lab(lab_name)))
    if output == "json":
        _print_json(document)
        return
    from calico.lab.table import print_status

    print_status(document)


@lab.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@_LAB_OPTION
@click.argument("name")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def exec(lab_name: str | None, name: str, command: tuple[str, ...]) -> None:  # noqa: A001 - the command's name
    """Run COMMAND in the host, workload, external or router NAME: calico lab exec host1 -- calico get nodes."""
    from calico.lab.execute import find_lab, replace_process

    sys.stdout.flush()
    replace_process(find_lab(lab_name), name, command[1:] if command[0] == "--" else command)


@lab.command()
@_LAB_OPTION
@_OUTPUT
@click.option(
    "--service", "services", multiple=True, metavar="PROTOCOL:PORT", help="Like tcp:80, udp:53, sctp:9, icmp."
)
@click.option("--family", "families", multiple=True, type=click.Choice(["4", "6"]), help="Only this IP family.")
@click.option("--from", "sources", multiple=True, metavar="NAME", help="Only from these machines.")
@click.option("--to", "destinations", multiple=True, metavar="NAME", help="Only to these machines.")
@click.option(
    "--timeout", default=1.2, type=_SECONDS, show_default=True, metavar="SECONDS", help="How long silence means no."
)
def probe(
    lab_name: str | None,
    output: str | None,
    services: tuple[str, ...],
    families: tuple[str, ...],
    sources: tuple[str, ...],
    destinations: tuple[str, ...],
    timeout: float,
) -> None:
    """Measure with real packets what reaches what: workloads, hosts and externals."""
    import msgspec

    from calico.lab.addressing import plan_layout
    from calico.lab.execute import find_lab, machine_netns
    from calico.lab.probe.engine import measure
    from calico.lab.probe.matrix import lab_targets, parse_service, plan_probes
    from calico.lab.state import load_state

    layout = plan_layout(load_state(find_lab(lab_name)).topology)
    for name in (*sources, *destinations):
        machine_netns(layout, name)
    targets = lab_targets(layout)
    asked = [parse_service(text) for text in services or ("tcp:80", "udp:80", "sctp:80", "icmp")]
    probes = plan_probes(
        targets, asked, [int(f) for f in families] or (4, 6), sources=sources, destinations=destinations
    )
    rows = measure(targets, probes, timeout)
    if output == "json":
        _print_json(msgspec.to_builtins(rows))
        return
    from calico.lab.table import print_matrix

    print_matrix(rows)


@lab.command()
@click.option("--name", default="demo", show_default=True, help="Name of the lab; one of that name is ended first.")
@click.option("--reflectors/--mesh", default=False, help="Two route reflectors instead of a full mesh.")
@click.option("--keep/--no-keep", default=None, help="Leave the lab up afterwards; the default on a terminal.")
def demo(name: str, reflectors: bool, keep: bool | None) -> None:
    """Show routing and policy on three hosts with real packets; fails when anything is not as shown."""
    from rich.console import Console

    from calico.lab.demo import Demo
    from calico.lab.down import take_down
    from calico.lab.progress import shown_progress

    console = Console(highlight=False)
    stays = keep if keep is not None else console.is_terminal
    with shown_progress() as progress:
        run = Demo(name, console, progress, reflectors=reflectors)
        try:
            good = run.run()
        except BaseException:
            click.echo(f"the demo stopped; the lab is left as it is: calico lab status -l {name}", err=True)
            raise
    if stays:
        console.print(_TRY_NEXT.format(name=name), markup=False)
    else:
        take_down(name)
        console.print(f"lab {name} is down again; `calico lab demo --keep` leaves it up to try more", markup=False)
    if not good:
        sys.exit(1)


_TRY_NEXT = """
The lab is still up. Try next:
  calico lab status -l {name}                              every host, workload and log file
  calico lab exec -l {name} client1 -- ping -c1 10.65.0.1  a command inside a workload
  calico lab exec -l {name} host1 -- calico get gnp        the datastore, from a host
  calico lab add-workload -l {name} web3 --host host3 --label app=web --wait
  calico lab probe -l {name} --service tcp:80 --from client1
  calico lab down {name}                                   ends it without trace"""


@lab.command("add-workload")
@_LAB_OPTION
@click.argument("name")
@click.option("--host", required=True, help="The host it runs on.")
@click.option("--namespace", default="default", show_default=True)
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE")
@click.option("--address", "addresses", multiple=True, help="IPv4 or IPv6; automatic when left out.")
@click.option("--profile", "profiles", multiple=True, help="Profiles, in order; lab-open when left out.")
@click.option("--port", "ports", multiple=True, metavar="NAME:PROTOCOL:PORT", help="A named port.")
@click.option("--wait/--no-wait", default=False, help="Return when it is programmed and every route is there.")
@click.option("--timeout", default=30.0, type=_SECONDS, show_default=True, metavar="SECONDS")
def add_workload(lab_name: str | None, name: str, wait: bool, timeout: float, **fields: Any) -> None:
    """Add a workload to a running lab."""
    from calico.lab.change import add_workload as add
    from calico.lab.execute import find_lab
    from calico.lab.progress import shown_progress
    from calico.lab.wait import wait_ready

    state = add(find_lab(lab_name), _workload(name, fields))
    if wait:
        with shown_progress() as progress:
            wait_ready(state, progress, timeout)
    added = state.topology.workloads[-1]
    click.echo(f"workload {name} is on {added.host} with {', '.join(added.addresses)}")


@lab.command("remove-workload")
@_LAB_OPTION
@click.argument("name")
def remove_workload(lab_name: str | None, name: str) -> None:
    """Remove a workload from a running lab."""
    from calico.lab.change import remove_workload as remove
    from calico.lab.execute import find_lab

    remove(find_lab(lab_name), name)
    click.echo(f"workload {name} is gone")


def _workload(name: str, fields: dict[str, Any]) -> Any:
    import msgspec

    from calico.lab.topology import Workload

    ports = []
    for text in fields["ports"]:
        parts = text.split(":")
        if len(parts) != 3 or not parts[2].isdigit():
            raise click.UsageError(f"--port {text!r} must be NAME:PROTOCOL:PORT, for example http:TCP:80")
        ports.append({"name": parts[0], "protocol": parts[1].upper(), "port": int(parts[2])})
    labels = {}
    for text in fields["labels"]:
        key, equals, value = text.partition("=")
        if not equals:
            raise click.UsageError(f"--label {text!r} must be KEY=VALUE")
        labels[key] = value
    document = {
        "name": name,
        "host": fields["host"],
        "namespace": fields["namespace"],
        "labels": labels,
        "addresses": list(fields["addresses"]),
        "ports": ports,
    }
    if fields["profiles"]:
        document["profiles"] = list(fields["profiles"])
    try:
        return msgspec.convert(document, Workload)
    except msgspec.ValidationError as error:
        raise click.UsageError(str(error)) from error


def _print_json(document: Any) -> None:
    click.echo(json.dumps(document, indent=2))
