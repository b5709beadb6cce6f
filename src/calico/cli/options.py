"""Options that several commands share, and the store they lead to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click

from calico.cli.output.printing import safe
from calico.datastore.connection import DEFAULT_CONFIG, load_connection, open_store
from calico.ipam.cascade import IPAMCascade

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from calico.datastore.typed.store import Store

__all__ = ["KindType", "config_option", "data_output_option", "file_options", "namespace_option", "opened"]

_F = TypeVar("_F", bound=Callable[..., Any])


class KindType(click.ParamType[str]):
    """The name of a kind as people type it; completed by plurals."""

    name = "KIND"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return value

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        from calico.model.kinds import KINDS

        names = [name for info in KINDS for name in (info.plural, *info.aliases)]
        return [CompletionItem(name) for name in sorted(names) if name.startswith(incomplete.lower())]


config_option = click.option(
    "-c", "--config", help=f"CalicoAPIConfig file; default {DEFAULT_CONFIG}. ETCD_... in the environment wins."
)
namespace_option = click.option(
    "-n", "--namespace", default="default", show_default=True, help="Namespace of the resource."
)
data_output_option = click.option(
    "-o", "--output", type=click.Choice(["table", "json", "yaml"]), default="table", help="What to print."
)


def file_options(function: _F) -> _F:
    """Files to read resources from, and the namespace of those that name none."""
    for option in (
        click.option("-f", "--filename", "files", multiple=True, required=True, help="File, directory or - (stdin)."),
        click.option("-R", "--recursive", is_flag=True, help="Read directories with all below them."),
        click.option("--skip-empty", is_flag=True, help="Succeed when the files hold no resource."),
        namespace_option,
    ):
        function = option(function)
    return function


@asynccontextmanager
async def opened(config: str | None) -> AsyncIterator[Store]:
    """The store; what of a list cannot be read is named on standard error."""
    async with open_store(load_connection(config)) as store:
        store.on_damaged, store.ipam = _warn, IPAMCascade()
        yield store


def _warn(key: str, problems: Sequence[str]) -> None:
    click.echo(f"warning: {safe(key)}: {safe('; '.join(problems))}", err=True)
