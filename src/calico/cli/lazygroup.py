"""A group whose commands are imported when they run, so that no command pays for the others."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import click

__all__ = ["lazy_group"]


def lazy_group(commands: Mapping[str, str]) -> type[click.Group]:
    """The class of a group, by command and module; in module ``x`` the command ``name`` is ``name_command``."""

    class Lazy(click.Group):
        def list_commands(self, ctx: click.Context) -> list[str]:
            return sorted(commands)

        def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
            if cmd_name not in commands:
                return None
            found: Any = getattr(importlib.import_module(commands[cmd_name]), f"{cmd_name}_command", None)
            return found if isinstance(found, click.Command) else None

    return Lazy
