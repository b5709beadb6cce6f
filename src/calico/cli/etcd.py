"""``calico etcd``: run a member of the core or a host's door to it, and look after the members."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import click

from calico.cli.output.printing import print_data, print_table
from calico.datastore.connection import DEFAULT_CONFIG, load_connection, proof_of
from calico.datastore.core.admin import CoreAdmin, Member
from calico.datastore.core.cluster import (
    DEFAULT_CORE_FILE,
    Core,
    core_warnings,
    gateway_argv,
    member_config,
    own_member,
    parse_core,
)
from calico.datastore.core.health import Finding, findings
from calico.datastore.etcd.backend import MemberStatus
from calico.datastore.etcd.server import etcd_argv, find_etcd
from calico.errors import InvalidInput, Transient

__all__ = ["etcd"]

T = TypeVar("T")

_file = click.option(
    "-f", "--file", "file", envvar="CALICO_ETCD_FILE", default=DEFAULT_CORE_FILE, show_default=True,
    help="The core: members, token, sizes, TLS files.",
)  # fmt: skip
_config = click.option("-c", "--config", help=f"CalicoAPIConfig file; default {DEFAULT_CONFIG}.")
_output = click.option("-o", "--output", type=click.Choice(["table", "json", "yaml"]), default="table")
_print_only = click.option("--print", "print_only", is_flag=True, help="Show the command line and run nothing.")
_COLORS = {"error": "red", "warning": "yellow", "note": None}


@click.group()
def etcd() -> None:
    """Run the core cluster of etcd and look after its members.

    All hosts of the core share one file (/etc/calico/etcd.yaml):

    \b
        members: {etcd1: 192.0.2.11, etcd2: 192.0.2.12, etcd3: 192.0.2.13}
        token: my-cluster
        tls: {ca: /etc/calico/etcd/ca.pem, cert: /etc/calico/etcd/cert.pem, key: /etc/calico/etcd/key.pem}
    """


# -- what units start -------------------------------------------------------------------------------------------------


@etcd.command()
@_file
@click.option("--name", help="Which member this is; default: the one with this host's name or address.")
@click.option(
    "--join", is_flag=True, help="Join a cluster that runs, after `calico etcd add`. Ignored once there is data."
)
@_print_only
def run(file: str, name: str | None, join: bool, print_only: bool) -> None:
    """Run this host's member of the core, until it is ended. Takes the place of this process."""
    core = _read(file)
    for text in core_warnings(core):
        click.echo(f"warning: {text}", err=True)
    config = member_config(core, name or own_member(core, _own_names(core)), join=join)
    _become(etcd_argv(config, find_etcd()), print_only, config.data_dir)


@etcd.command()
@_file
@click.option("--listen", default="127.0.0.1:2379", show_default=True, help="Where the daemons of this host find it.")
@_print_only
def gateway(file: str, listen: str, print_only: bool) -> None:
    """Run this host's door to the core: forwards connections to whichever member answers."""
    _become(gateway_argv(_read(file), listen, find_etcd()), print_only)


def _become(argv: list[str], print_only: bool, data_dir: Path | None = None) -> None:
    if print_only:
        click.echo(" \\\n  ".join(argv))
        return
    if data_dir is not None:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    sys.stdout.flush()
    os.execv(argv[0], argv)


# -- looking after ----------------------------------------------------------------------------------------------------


@etcd.command()
@click.option(
    "--quota", "quota_bytes", type=int, default=4 * 1024**3, show_default=True, help="quotaBytes of the core."
)
@_output
@_config
def status(quota_bytes: int, output: str, config: str | None) -> None:
    """Show every member, and what is wrong. Exit code 1 when the core is not, or soon not, available."""
    statuses = _with(config, lambda admin: admin.statuses())
    named = [(_label(member), found) for member, found in statuses]
    said = findings(named, quota_bytes)
    if output == "table":
        titles = ["MEMBER", "ADDRESS", "VERSION", "ROLE", "REVISION", "DATABASE", "IN USE"]
        print_table(titles, [_row(member, found) for member, found in statuses])
        for finding in said:
            about = f"{finding.about}: " if finding.about else ""
            click.secho(f"{finding.severity}: {about}{finding.text}", fg=_COLORS[finding.severity])
    else:
        print_data(_document(statuses, said), output)
    if any(finding.severity == "error" for finding in said):
        sys.exit(1)


@etcd.command()
@click.argument("peer_url", metavar="PEER_URL")
@_config
def add(peer_url: str, config: str | None) -> None:
    """Tell the core of a member to come, such as http://192.0.2.14:2380.

    Then add it to the file of all hosts, and start it with `calico etcd run --join`.
    """
    if not peer_url.startswith(("http://", "https://")):
        raise InvalidInput(f"{peer_url!r} is no URL such as http://192.0.2.14:2380", field="PEER_URL")
    _with(config, lambda admin: admin.add(peer_url))
    click.echo(f"The core waits for the member at {peer_url}. On its host: calico etcd run --join")


@etcd.command()
@click.argument("member", metavar="MEMBER")
@_config
def remove(member: str, config: str | None) -> None:
    """Remove a member by its name (or its peer URL, when it has never started)."""
    removed = _with(config, lambda admin: admin.remove(member))
    click.echo(f"Removed {_label(removed)}. Its data are of no use any more: delete them before it is added again.")


@etcd.command()
@click.argument("path", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False))
@_config
def backup(path: Path, config: str | None) -> None:
    """Write a checked backup of the datastore into FILE.

    To restore it: etcdctl snapshot restore with a new token, on every member; write that token into the core's file. A
    host that finds an older datastore goes on as before and says so (`calico node status`).
    """
    if path.exists():
        raise InvalidInput("exists already: name another file", subject=str(path))
    size = _with(config, lambda admin: admin.back_up(path, _progress()))
    click.echo(f"{path}: {size} bytes, checksum verified")


@etcd.command()
@_config
def compact(config: str | None) -> None:
    """Forget all history. Hosts that were away meanwhile read everything anew; done by itself every ten minutes."""
    revision = _with(config, lambda admin: admin.compact())
    click.echo(f"History before revision {revision} is gone; calico etcd defrag gives its space back")


@etcd.command()
@click.option("--lift-alarm", is_flag=True, help="Afterwards let a core that had no space left take writes again.")
@_config
def defrag(lift_alarm: bool, config: str | None) -> None:
    """Give back the space of deleted history: one member after the other, the leader last."""

    async def work(admin: CoreAdmin) -> None:
        await admin.defragment(
            lambda member, before, after: click.echo(f"{_label(member)}: {_size(before)} -> {_size(after)}")
        )
        if lift_alarm:
            await admin.lift_space_alarm()

    _with(config, work)


# -- helpers ----------------------------------------------------------------------------------------------------------


def _read(file: str) -> Core:
    try:
        return parse_core(Path(file).read_text(), file)
    except OSError as error:
        raise InvalidInput(f"cannot be read: {error.strerror}", subject=file) from None


def _own_names(core: Core) -> set[str]:
    """This host's name, and those addresses of members that a socket here can have."""
    return {socket.gethostname(), *(address for address in core.members.values() if _is_own(address))}


def _is_own(address: str) -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.bind((address, 0))
        return True
    return False


def _with(config: str | None, work: Callable[[CoreAdmin], Awaitable[T]]) -> T:
    connection = load_connection(config)
    tls, password = proof_of(connection)

    async def main() -> T:
        admin = CoreAdmin(connection.endpoints, tls, connection.username, password)
        try:
            return await work(admin)
        except Transient as error:
            raise Transient(f"{error} (ETCD_ENDPOINTS or {config or DEFAULT_CONFIG} say where the core is)") from None
        finally:
            await admin.close()

    return asyncio.run(main())


def _progress() -> Callable[[int, int], None]:
    def show(done: int, left: int) -> None:
        if sys.stderr.isatty():
            click.echo(f"\r{_size(done)} of {_size(done + left)}", nl=left == 0, err=True)

    return show


def _row(member: Member, found: MemberStatus) -> list[object]:
    url = member.client_urls[0] if member.client_urls else member.peer_urls[0]
    if found.error:
        return [_label(member), url, "", "away", "", "", ""]
    role = "leader" if found.leader == found.member_id else "follower"
    sizes = [_size(found.db_size), _size(found.db_size_in_use)]
    return [_label(member), url, found.version, role, found.revision, *sizes]


def _document(statuses: list[tuple[Member, MemberStatus]], said: list[Finding]) -> dict[str, object]:
    import msgspec

    members = [
        {
            "name": member.name,
            "peerURLs": list(member.peer_urls),
            "clientURLs": list(member.client_urls),
            **{
                name: value
                for name, value in msgspec.to_builtins(found).items()
                if name not in ("endpoint", "cluster_id", "member_id", "leader")
            },
            "leader": not found.error and found.leader == found.member_id,
        }
        for member, found in statuses
    ]
    return {"members": members, "findings": msgspec.to_builtins(said)}


def _label(member: Member) -> str:
    return member.name or member.peer_urls[0]


def _size(count: int) -> str:
    return f"{count / 1024**2:.1f} MiB"
