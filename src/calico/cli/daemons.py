"""``calico felix`` and ``calico bgp``: the daemons as commands. Settings come from flags, then the environment.

Both alone are the daemon; their subcommands look at what it does.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any, Literal, TypeVar

import click
from click.core import ParameterSource

from calico.cli.bgp.drain import drain
from calico.cli.bgp.show import peers, routes, status, why
from calico.cli.etcd_options import connection_of, etcd_options
from calico.cli.felix import config_file_option, felix_config, guard, parameters_of_file
from calico.cli.listen_options import listen_options, take_listen
from calico.errors import CalicoError
from calico.obs.log import configure_logging

__all__ = ["bgp", "felix", "node_name", "serve"]

_F = TypeVar("_F", bound=Callable[..., Any])

_OPTIONS = (
    click.option("--node", envvar=["FELIX_FELIXHOSTNAME", "NODENAME", "HOSTNAME"], help="Name of this host's Node."),
    etcd_options,
    click.option(
        "--run-dir", envvar="CALICO_RUN_DIR", default="/var/run/calico", show_default=True, help="Sockets and state."
    ),
    click.option("--log-file", envvar="CALICO_LOG_FILE", help="Log here instead of to stderr."),
    click.option(
        "--log-level",
        envvar=["FELIX_LOGSEVERITYSCREEN", "CALICO_LOG_LEVEL"],
        default="info",
        show_default=True,
        type=click.Choice(["trace", "debug", "info", "warning", "error", "fatal"], case_sensitive=False),
    ),
)


def _daemon_options(function: _F) -> _F:
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


@click.group(invoke_without_command=True, subcommand_metavar="[COMMAND]")
@_daemon_options
@config_file_option
@click.option(
    "--mtu-file",
    envvar="CALICO_MTU_FILE",
    default="",
    help="Write the MTU of workloads here, for the CNI plugin (/var/lib/calico/mtu). [default: nowhere]",
)
@click.pass_context
def felix(
    context: click.Context,
    /,
    node: str | None,
    config: str | None,
    run_dir: str,
    log_file: str | None,
    log_level: str,
    config_file: str | None,
    mtu_file: str,
    **etcd: str | None,
) -> None:
    """Run Felix: watch the datastore and keep this host's routes and packet filters as it says.

    The subcommands show the parameters that a running Felix goes by, and close workloads until it knows what may pass.
    """
    if context.invoked_subcommand is not None:
        return
    from calico.felix.daemon import FelixSettings, run

    path, parameters = parameters_of_file(config_file)
    there = {name.lower(): value for name, value in parameters.items()}
    configure_logging(level=log_level, file=log_file or there.get("logfilepath"))
    settings = FelixSettings(
        node=node_name(node or there.get("felixhostname")),
        etcd=connection_of(config, etcd, parameters=parameters),
        run_dir=run_dir,
        file=parameters,
        file_name=path,
        mtu_file=mtu_file,
        arguments={"LogSeverityScreen": log_level} if _is_said(context, "log_level") else {},
    )
    serve(run(settings))


for command in (felix_config, guard):
    felix.add_command(command)


@click.group(invoke_without_command=True, subcommand_metavar="[COMMAND]")
@_daemon_options
@click.option("--bird", "bird_binary", default="bird", show_default=True, help="The BIRD 2 executable.")
@click.option(
    "--secrets-dir",
    envvar="CALICO_BGP_SECRETS_DIR",
    default="/etc/calico/bgp-secrets",
    show_default=True,
    help="Passwords of sessions, in files SECRET/KEY that only their owner can read.",
)
@click.option(
    "--export-mode",
    envvar="CALICO_BGP_EXPORT_MODE",
    default="pools",
    show_default=True,
    type=click.Choice(["pools", "interfaces"]),
    help="interfaces: also advertise the addresses of workloads that no pool covers (OpenStack).",
)
@listen_options
@click.pass_context
def bgp(
    context: click.Context,
    /,
    node: str | None,
    config: str | None,
    run_dir: str,
    log_file: str | None,
    log_level: str,
    bird_binary: str,
    secrets_dir: str,
    export_mode: Literal["pools", "interfaces"],
    **more: Any,
) -> None:
    """Run the BGP agent: plan this host's sessions from the datastore and keep BIRD running with them.

    The subcommands look at BGP, of this host or of others, or drain a host; of the options, they take --run-dir and
    --node.
    """
    if context.invoked_subcommand is not None:
        return
    from calico.bgp.daemon import BGPSettings, run

    listen = take_listen(more)

    configure_logging(level=log_level, file=log_file)
    settings = BGPSettings(
        node=node_name(node),
        etcd=connection_of(config, more),
        run_dir=run_dir,
        listen=listen,
        bird=bird_binary,
        secrets_dir=secrets_dir,
        export_mode=export_mode,
    )
    serve(run(settings))


for command in (drain, peers, routes, status, why):
    bgp.add_command(command)


def _is_said(context: click.Context, option: str) -> bool:
    """Whether an option was given, and not by a variable that is a parameter of Felix itself."""
    source = context.get_parameter_source(option)
    own = any(name.upper() == "FELIX_LOGSEVERITYSCREEN" for name in os.environ)
    return source is ParameterSource.COMMANDLINE or (source is ParameterSource.ENVIRONMENT and not own)


def node_name(given: str | None) -> str:
    """The name of this host's Node: the one that is given, else the host's."""
    if given:
        return given
    import socket

    return socket.gethostname().lower()


def serve(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run a daemon until SIGTERM or SIGINT, which end it cleanly with exit code 0."""

    async def supervise() -> None:
        task = asyncio.ensure_future(coroutine)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, task.cancel)
        try:
            await task
        except asyncio.CancelledError:
            pass

    try:
        asyncio.run(supervise())
    except* CalicoError as group:
        for error in _leaves(group):
            click.echo(f"error: {error}", err=True)
        sys.exit(1)


def _leaves(group: BaseExceptionGroup[Any]) -> list[BaseException]:
    found: list[BaseException] = []
    for error in group.exceptions:
        found.extend(_leaves(error) if isinstance(error, BaseExceptionGroup) else [error])
    return found
