"""``calico version``."""

from __future__ import annotations

import click

from calico import __version__

__all__ = ["version"]


@click.command()
def version() -> None:
    """Show the version of this client."""
    click.echo(f"Client Version:    {__version__}")
