"""``calico datastore roles``: users and roles of etcd for each component, with no more rights than it needs."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from calico.cli.datastore.group import config_option, with_store
from calico.cli.output.printing import print_data, safe
from calico.datastore.access.plan import Step, plan_roles
from calico.datastore.access.roles import COMPONENTS, PER_HOST, Account, accounts
from calico.datastore.etcd.auth import ROOT_USER, EtcdAuth
from calico.datastore.etcd.backend import EtcdBackend
from calico.datastore.typed.store import Store
from calico.errors import InvalidInput

__all__ = ["roles_command"]


class _Wish(msgspec.Struct, frozen=True):
    components: tuple[str, ...]
    hosts: tuple[str, ...]
    all_nodes: bool
    region: str
    passwords: Path | None
    new_passwords: bool
    prune: bool
    enable: bool
    dry_run: bool


class _Done(msgspec.Struct, frozen=True):
    steps: tuple[Step, ...]
    wanted: tuple[Account, ...]
    renewed: tuple[str, ...]
    was_enabled: bool


@click.command("roles")
@click.argument("components", nargs=-1, type=click.Choice(COMPONENTS))
@click.option(
    "--host", "hosts", multiple=True, help="A host whose felix, bgp and cni get users of their own; repeat it."
)
@click.option("--all-nodes", is_flag=True, help="Every host that has a Node.")
@click.option("--region", default="", help="OpenstackRegion, where there is one.")
@click.option(
    "--passwords",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="New users get passwords, written to DIR/USER; without it certificates with their name as CN are needed.",
)
@click.option("--new-passwords", is_flag=True, help="Also give the users that exist new passwords.")
@click.option("--prune", is_flag=True, help="Delete users and roles named calico-... that are not asked for.")
@click.option("--enable", is_flag=True, help="From now on etcd asks who one is; needs --passwords, for root.")
@click.option("--dry-run", is_flag=True, help="Only say what would change.")
@click.option("-o", "--output", type=click.Choice(["text", "json", "yaml"]), default="text", help="What to print.")
@config_option
def roles_command(
    components: tuple[str, ...],
    hosts: tuple[str, ...],
    all_nodes: bool,
    region: str,
    passwords: Path | None,
    new_passwords: bool,
    prune: bool,
    enable: bool,
    dry_run: bool,
    output: str,
    config: str | None,
) -> None:
    """Make etcd users and roles for COMPONENTS (all, when none is named), and take away what they have too much.

    felix, bgp and cni get one user per host: calico-felix-HOST and so on. The others are calico-neutron,
    calico-operator and calico-readonly. Can be repeated; needs root once etcd asks who one is.
    """
    if (enable or new_passwords) and passwords is None:
        raise click.UsageError("--enable and --new-passwords need --passwords DIR")
    wish = _Wish(components or COMPONENTS, hosts, all_nodes, region, passwords, new_passwords, prune, enable, dry_run)
    if prune and set(wish.components) != set(COMPONENTS):
        raise click.UsageError("--prune would delete the users of the components that are not named: name none")
    done = with_store(config, lambda store: _run(store, wish))
    if output != "text":
        print_data(_data(done, wish), output)
        return
    would = "would " if dry_run else ""
    for step in done.steps:
        click.echo(f"{would}{safe(step)}")
    for user in done.renewed:
        click.echo(f"{would}change the password of {safe(user)}")
    click.echo(f"{len(done.steps)} changes{' to make' if dry_run else ''}, {len(done.wanted)} users")
    if not done.was_enabled and not enable:
        click.echo("etcd does not ask who one is: nothing is enforced before --enable")


async def _run(store: Store, wish: _Wish) -> _Done:
    assert isinstance(store.backend, EtcdBackend)
    auth = EtcdAuth(store.backend)
    hosts = list(wish.hosts)
    if wish.all_nodes:
        hosts += [node.metadata.name for node in await store.list("Node") if node.metadata.name not in hosts]
    if not hosts and any(component in PER_HOST for component in wish.components):
        raise InvalidInput("felix, bgp and cni have one user per host: give --host or --all-nodes")
    wanted = accounts(wish.components, hosts, wish.region)
    enabled, found = await auth.is_enabled(), await auth.read()
    steps = plan_roles(wanted, found, prune=wish.prune)
    renewed = [account.user for account in wanted if account.user in found.users] if wish.new_passwords else []
    if not wish.dry_run:
        for step in steps:
            await auth.apply(step, _password(wish, step.subject) if step.verb == "add user" else "")
        for user in renewed:
            await auth.set_password(user, _password(wish, user))
        if wish.enable and not enabled:
            await auth.enable(_password(wish, ROOT_USER))
    return _Done(steps, wanted, tuple(renewed), enabled)


def _password(wish: _Wish, user: str) -> str:
    """A new password that only the owner of its file can read; it is on disk before etcd knows it."""
    if wish.passwords is None:
        return ""
    password = secrets.token_urlsafe(24)
    path = wish.passwords / user
    beside = path.with_name(f".{user}.new")
    try:
        wish.passwords.mkdir(mode=0o700, parents=True, exist_ok=True)
        beside.unlink(missing_ok=True)
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(password + "\n")
        beside.replace(path)
    except OSError as error:
        raise InvalidInput(f"cannot be written: {error.strerror}", subject=str(path)) from error
    return password


def _data(done: _Done, wish: _Wish) -> dict[str, Any]:
    return {
        "dryRun": wish.dry_run,
        "enabled": done.was_enabled or (wish.enable and not wish.dry_run),
        "changes": [str(step) for step in done.steps],
        "newPasswords": list(done.renewed),
        "users": [_account(account) for account in done.wanted],
    }


def _account(account: Account) -> dict[str, Any]:
    permissions: Sequence[str] = sorted({str(item) for role in account.roles for item in role.permissions})
    return {"user": account.user, "roles": [role.name for role in account.roles], "permissions": permissions}
