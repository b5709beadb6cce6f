"""``calico completion``: what a shell needs to complete commands, options, kinds and choices."""

from __future__ import annotations

import click

__all__ = ["completion"]

_SHELLS = ("bash", "fish", "zsh")


@click.command()
@click.argument("shell", type=click.Choice(_SHELLS))
def completion(shell: str) -> None:
    """Print the completion of a SHELL. In its start file: `source <(calico completion bash)`; for fish
    `calico completion fish | source`.
    """
    from click.shell_completion import get_completion_class

    from calico.cli.main import cli

    found = get_completion_class(shell)
    if found is None:
        raise click.UsageError(f"no completion for {shell}")
    click.echo(found(cli, {}, "calico", "_CALICO_COMPLETE").source())
