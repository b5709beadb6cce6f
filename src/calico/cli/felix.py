"""``calico felix config``: the parameters that this host's Felix goes by, and where each value came from.

``calico felix guard`` closes this host's workloads at boot.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import click

from calico.cli.output.printing import print_data, print_table, safe
from calico.errors import InvalidInput, NotFound
from calico.obs.statussocket import read_status

__all__ = ["config_file_option", "felix_config", "guard", "parameters_of_file"]

config_file_option = click.option(
    "--config-file",
    envvar="CALICO_FELIX_CONFIG_FILE",
    help="File with parameters of Felix; /etc/calico/felix.cfg if it exists.",
)

_CODES = ("config-invalid", "config-without-effect")


@click.command("config")
@click.argument("parameters", nargs=-1, metavar="[PARAMETER]...")
@click.option("--given", is_flag=True, help="Only parameters that some source gives a value.")
@click.option("-o", "--output", type=click.Choice(["table", "json", "yaml"]), default="table", help="What to print.")
@click.option("--run-dir", help="Where this host's sockets are. [default: as of calico felix]")
@click.pass_context
def felix_config(
    context: click.Context, parameters: Sequence[str], given: bool, output: str, run_dir: str | None
) -> None:
    """Show the parameters of this host's running Felix: all, or those named, with every value that was given.

    Exit code 1 when Felix does not answer, or there is no such parameter.
    """
    assert context.parent is not None
    document = read_status(Path(run_dir or context.parent.params["run_dir"]) / "felix.sock")
    rows = _chosen(document["config"], parameters, given)
    troubles = [one for one in document["conditions"] if one["code"] in _CODES]
    if output != "table":
        print_data({"parameters": rows, "conditions": troubles}, output)
        return
    if parameters:
        _print_each(rows)
    else:
        print_table(
            ["PARAMETER", "VALUE", "SOURCE", "A CHANGE TAKES EFFECT"],
            [[row["parameter"], row["value"], row["source"], _effect(row)] for row in rows],
        )
    _print_troubles(troubles)


@click.command()
@config_file_option
def guard(config_file: str | None) -> None:
    """Close all workload interfaces until Felix has been in sync once; for the boot, before the network is up.

    A ruleset that is there already stays. Interfaces are told by InterfacePrefix of the file and the environment: no
    datastore is asked.
    """
    from calico.felix.boot_guard import load_boot_guard
    from calico.felix.config.merging import merge_config
    from calico.felix.config.sources import of_environment

    path, parameters = parameters_of_file(config_file)
    merged = merge_config([(path, parameters), ("environment", of_environment(os.environ))])
    for name, problem in merged.refused.items():
        click.echo(safe(f"warning: {name}: {problem}"), err=True)
    loaded = load_boot_guard(merged.settings)
    prefixes = ", ".join(f"{prefix}*" for prefix in merged.settings.interface_prefixes)
    click.echo(f"closed until Felix is in sync: {prefixes}" if loaded else "a ruleset is in force already: it stays")


def parameters_of_file(given: str | None) -> tuple[str, dict[str, str]]:
    """The file that counts and its parameters; an empty name without one. InvalidInput when it cannot be read."""
    from calico.felix.config.sources import DEFAULT_FILE, of_file

    path = given or (DEFAULT_FILE if Path(DEFAULT_FILE).exists() else "")
    if not path:
        return "", {}
    try:
        return path, of_file(Path(path).read_text(), path)
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"cannot be read: {error}", subject=path) from error


def _chosen(rows: Iterable[dict[str, Any]], names: Sequence[str], given: bool) -> list[dict[str, Any]]:
    from calico.felix.config.parameters import PARAMETERS

    keys = {name.lower(): parameter.key for parameter in PARAMETERS for name in parameter.names}
    for name in names:
        if name.lower() not in keys:
            from calico.felix.config.foreign import foreign

            other = foreign().get(name.lower())
            why = f"it has no effect here. {other.reason}" if other else "there is none of that name"
            raise NotFound(f"parameter {name}: {why}")
    wanted = {keys[name.lower()] for name in names}
    return [row for row in rows if (not wanted or row["parameter"] in wanted) and (row["given"] or not given)]


def _print_each(rows: Iterable[dict[str, Any]]) -> None:
    from calico.felix.config.parameters import PARAMETERS
    from calico.felix.config.settings import FelixConfig

    declared = {parameter.key: parameter for parameter in PARAMETERS}
    for row in rows:
        parameter = declared[row["parameter"]]
        default = parameter.shown(getattr(FelixConfig(), parameter.attribute))
        click.echo(f"{parameter.key}: {safe(row['value'])} ({safe(row['source'])})")
        click.echo(f"  {parameter.doc}")
        click.echo(f"  Default {default or 'empty'}; a change takes effect {_effect(row)}.")
        for one in row["given"]:
            problem = f": {one['problem']}" if one["problem"] else ""
            click.echo(safe(f"  {one['source']}, {one['name']}: {one['value']} ({one['verdict']}{problem})"))


def _effect(row: dict[str, Any]) -> str:
    return "at once" if row["effect"] == "live" else "by a new start in place"


def _print_troubles(troubles: Sequence[dict[str, Any]]) -> None:
    if troubles:
        click.echo()
        print_table(["CONDITION", "OBJECT", "WHAT"], [[one["code"], one["object"], one["message"]] for one in troubles])
