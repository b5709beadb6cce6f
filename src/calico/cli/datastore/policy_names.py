"""``calico datastore migrate-policy-names``: policies under the keys of older versions, put under their names."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator

import click

from calico.cli.datastore.group import config_option, with_store
from calico.cli.output.printing import print_data, safe
from calico.datastore.transfer.policy_names import Move, NamePlan, migrate_policy_names, plan_policy_names
from calico.datastore.typed.store import Store

__all__ = ["migrate_policy_names_command"]


@click.command("migrate-policy-names")
@click.option("--dry-run", is_flag=True, help="Only show, as a diff, what would be moved.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="What to print.")
@config_option
def migrate_policy_names_command(dry_run: bool, output: str, config: str | None) -> None:
    """Move policies stored by older versions under default.NAME to NAME, where all versions from 3.29 on look.

    Each is moved at once, old key and new in one transaction, while everything runs: no host ever sees none or both.
    Can be repeated. Exit code 1 when policies are left that need a person, each with the reason.
    """

    async def work(store: Store) -> NamePlan:
        return await (plan_policy_names(store.backend) if dry_run else migrate_policy_names(store.backend))

    plan = with_store(config, work)
    if output == "json":
        moves = [{"action": m.what, "policy": m.policy, "oldKey": m.old.key, "newKey": m.new.key} for m in plan.moves]
        print_data({"dryRun": dry_run, "moves": moves, "left": list(plan.left)}, output)
    else:
        _show(plan, dry_run)
    if plan.left:
        raise click.exceptions.Exit(1)


def _show(plan: NamePlan, dry_run: bool) -> None:
    for move in plan.moves:
        if dry_run:
            for line in _diff(move):
                click.echo(safe(line))
        else:
            click.echo(f"{safe(move.policy)}: {safe(move.old.key)} {_DONE[move.what]}")
    for text in plan.left:
        click.echo(f"error: {safe(text)}", err=True)
    count = f"{len(plan.moves)} {'policy' if len(plan.moves) == 1 else 'policies'}"
    click.echo(f"{count} {'would be ' if dry_run else ''}moved, {len(plan.left)} left as they are")


_DONE = {"moved": "is moved", "dropped": "is deleted, the policy's own key says the same"}


def _diff(move: Move) -> Iterator[str]:
    """Of the entry before and after; one that is dropped has no after."""
    before = _lines(move.old.value)
    after = _lines(move.new.value) if move.what == "moved" else []
    target = move.new.key if move.what == "moved" else "/dev/null"
    return difflib.unified_diff(before, after, move.old.key, target, n=2, lineterm="")


def _lines(value: bytes) -> list[str]:
    return json.dumps(json.loads(value), indent=2, ensure_ascii=False).splitlines()
