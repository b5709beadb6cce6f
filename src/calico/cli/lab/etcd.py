"""``calico lab etcd``: what may happen to members of a lab's core, made to happen."""

from __future__ import annotations

import click

__all__ = ["etcd"]

_LAB_OPTION = click.option("-l", "--lab", "lab_name", help="The lab; may be left out when there is only one.")


@click.group()
def etcd() -> None:
    """Kill, start, cut off and heal members of a running lab's etcd (etcd1, etcd2, ...).

    `calico lab status` shows how each of them is. What is so already stays so, and is no error.
    """


@etcd.command()
@_LAB_OPTION
@click.argument("member")
def kill(lab_name: str | None, member: str) -> None:
    """End MEMBER as a power cut would. Its data stay; `start` brings it back."""
    from calico.lab.core import kill_member
    from calico.lab.execute import find_lab

    changed = kill_member(find_lab(lab_name), member)
    click.echo(f"{member} is killed" if changed else f"{member} did not run")


@etcd.command()
@_LAB_OPTION
@click.argument("member")
def start(lab_name: str | None, member: str) -> None:
    """Start MEMBER again on the data it had."""
    from calico.lab.core import start_member
    from calico.lab.execute import find_lab

    changed = start_member(find_lab(lab_name), member)
    click.echo(f"{member} is started" if changed else f"{member} runs already")


@etcd.command()
@_LAB_OPTION
@click.option("--from-all", is_flag=True, help="Cut it off from the hosts as well, as a pulled plug would.")
@click.argument("member")
def partition(lab_name: str | None, from_all: bool, member: str) -> None:
    """Cut MEMBER off from the other members: packets between them vanish.

    Hosts still reach it, and it takes their connections without being able to serve them.
    """
    from calico.lab.core import partition_member
    from calico.lab.execute import find_lab

    changed = partition_member(find_lab(lab_name), member, "all" if from_all else "members")
    whom = "everybody" if from_all else "the other members"
    click.echo(f"{member} is cut off from {whom}{'' if changed else ' already'}")


@etcd.command()
@_LAB_OPTION
@click.argument("member")
def heal(lab_name: str | None, member: str) -> None:
    """End the partition of MEMBER."""
    from calico.lab.core import heal_member
    from calico.lab.execute import find_lab

    changed = heal_member(find_lab(lab_name), member)
    click.echo(f"{member} is joined to the others again" if changed else f"{member} was not cut off")
