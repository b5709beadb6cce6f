"""``calico cni``: install the plugin and call it by hand; ``calico cni-daemon``: what the installed plugin talks to."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from calico.cli.daemons import serve
from calico.cli.etcd_options import connection_of, etcd_options
from calico.cli.thisnode import this_node
from calico.orchestrators.cni.commands.agent import Settings
from calico.orchestrators.cni.serving.daemon import DEFAULT_SOCKET

__all__ = ["agent_options", "cni", "cni_daemon", "settings_of"]

_F = TypeVar("_F", bound=Callable[..., Any])

_AGENT_OPTIONS = (
    click.option("--node", envvar=["FELIX_FELIXHOSTNAME", "NODENAME", "HOSTNAME"], help="Name of this host's Node."),
    click.option(
        "--run-dir", envvar="CALICO_RUN_DIR", default="/var/run/calico", show_default=True, help="Felix's sockets."
    ),
    click.option(
        "--state-dir",
        envvar="CALICO_CNI_STATE_DIR",
        default="/var/lib/calico/cni",
        show_default=True,
        help="Records of what is attached; kept over a reboot.",
    ),
    click.option(
        "--interface-prefix", envvar="FELIX_INTERFACEPREFIX", default="cali", help="As Felix has it; the first counts."
    ),
    click.option(
        "--policy-timeout",
        envvar="CALICO_CNI_POLICY_TIMEOUT",
        type=click.FloatRange(min=0),
        default=5.0,
        show_default=True,
        help="Seconds that an ADD waits for Felix to program the policy, unless its network says; 0: not at all.",
    ),
)


def agent_options(function: _F) -> _F:
    """What every command needs that attaches something on this host."""
    for option in reversed(_AGENT_OPTIONS):
        function = option(function)
    return function


def settings_of(
    node: str | None, run_dir: str, state_dir: str, interface_prefix: str, policy_timeout: float
) -> Settings:
    """The options as the plugin takes them."""
    return Settings(
        node=this_node(node),
        interface_prefix=interface_prefix.split(",")[0].strip(),
        felix_run_dir=run_dir,
        records=state_dir,
        policy_setup_timeout_s=policy_timeout,
        mtu_file=str(Path(state_dir).parent / "mtu"),
    )


@click.command("cni-daemon")
@agent_options
@etcd_options
@click.option("--socket", envvar="CALICO_CNI_SOCKET", default=DEFAULT_SOCKET, show_default=True, help="For the plugin.")
@click.option(
    "--sweep-interval",
    envvar="CALICO_CNI_SWEEP_INTERVAL",
    type=click.FloatRange(min=0),
    default=30.0,
    show_default=True,
    help="Seconds between looks for containers that went and were never detached; 0: never.",
)
@click.option("--log-file", envvar="CALICO_LOG_FILE", help="Log here instead of to stderr.")
@click.option(
    "--log-level",
    envvar="CALICO_LOG_LEVEL",
    default="info",
    show_default=True,
    type=click.Choice(["trace", "debug", "info", "warning", "error", "fatal"], case_sensitive=False),
)
def cni_daemon(
    node: str | None,
    run_dir: str,
    state_dir: str,
    interface_prefix: str,
    policy_timeout: float,
    config: str | None,
    socket: str,
    sweep_interval: float,
    log_file: str | None,
    log_level: str,
    **etcd: str | None,
) -> None:
    """Attach containers for the CNI plugin of this host.

    `calico cni install` puts the plugin where runtimes find it. Containers keep their network while the daemon is
    away; attaching new ones is answered with "try again later".
    """
    from calico.obs.log import configure_logging
    from calico.orchestrators.cni.serving.daemon import DaemonSettings, run

    configure_logging(level=log_level, file=log_file)
    settings = settings_of(node, run_dir, state_dir, interface_prefix, policy_timeout)
    etcd_connection = connection_of(config, etcd)
    serve(run(DaemonSettings(agent=settings, etcd=etcd_connection, socket=socket, sweep_interval_s=sweep_interval)))


@click.group()
def cni() -> None:
    """Attach containers to the network: the CNI plugin of this host."""


@cni.command()
@click.option(
    "--bin-dir",
    "bin_dirs",
    multiple=True,
    default=("/opt/cni/bin", "/usr/lib/cni"),
    show_default=True,
    help="Folders of plugins; of the defaults, those that exist.",
)
@click.option("--conf-dir", default="/etc/cni/net.d", show_default=True, help="Folder of networks.")
@click.option("--name", default="calico", show_default=True, help="Name of the network, and of its profile.")
@click.option("--file", "file_name", default="10-calico.conflist", show_default=True, help="File of the network.")
@click.option("--cni-version", default="1.0.0", show_default=True, help="Of the network's file.")
@click.option("--chain", multiple=True, help="Plugins behind ours, such as portmap, bandwidth or tuning.")
@click.option("--ipv6/--no-ipv6", default=False, help="Give each container an IPv6 address as well.")
@click.option("--ipv4/--no-ipv4", default=True, help="Give each container an IPv4 address.")
@click.option("--pool", "pools", multiple=True, help="IPPools, as CIDRs, to take addresses from.")
@click.option("--mtu", type=int, help="MTU of the containers; the kernel's default when not given.")
@click.option("--kubernetes-policy", is_flag=True, help="Pods get the profiles of namespace and service account.")
@click.option("--socket", default=DEFAULT_SOCKET, show_default=True, help="Socket of `calico cni-daemon`.")
@click.option("--standalone", is_flag=True, help="Without a daemon: slower, for trials.")
@click.option("--network", help="Install this network's file as it is, whatever the other options say of it.")
@click.option("--force", is_flag=True, help="Replace a network's file that differs.")
def install(
    bin_dirs: tuple[str, ...],
    conf_dir: str,
    name: str,
    file_name: str,
    cni_version: str,
    chain: tuple[str, ...],
    ipv6: bool,
    ipv4: bool,
    pools: tuple[str, ...],
    mtu: int | None,
    kubernetes_policy: bool,
    socket: str,
    standalone: bool,
    network: str | None,
    force: bool,
) -> None:
    """Install the plugin and a network that uses it. Doing so again changes nothing."""
    from calico.orchestrators.cni.serving.install import (
        conflist,
        install_plugins,
        read_network,
        shim_text,
        standalone_text,
        write_conflist,
    )

    ipam: dict[str, Any] = {"type": "calico-ipam", "assign_ipv4": str(ipv4).lower(), "assign_ipv6": str(ipv6).lower()}
    for family, colon in (("ipv4_pools", False), ("ipv6_pools", True)):
        if found := [pool for pool in pools if (":" in pool) is colon]:
            ipam[family] = found
    plugin: dict[str, Any] = {"ipam": ipam}
    if mtu is not None:
        plugin["mtu"] = mtu
    if kubernetes_policy:
        plugin["policy"] = {"type": "k8s"}
    document = read_network(Path(network)) if network else conflist(name, cni_version, plugin, chain)
    text = standalone_text() if standalone else shim_text(socket)
    for directory in _plugin_folders(bin_dirs):
        for made in install_plugins(directory, text):
            click.echo(f"installed {made}")
    path = Path(conf_dir) / file_name
    written = write_conflist(path, document, replace=force)
    click.echo(f"{'wrote' if written else 'unchanged'} {path}")


def _plugin_folders(given: tuple[str, ...]) -> list[Path]:
    """What is given, made if need be; of the defaults those that exist, or else the first."""
    context = click.get_current_context()
    folders = [Path(text) for text in given]
    if context.get_parameter_source("bin_dirs") is not click.core.ParameterSource.DEFAULT:
        return folders
    return [folder for folder in folders if folder.is_dir()] or folders[:1]


@cni.command()
@agent_options
@click.option("-c", "--config", envvar="CALICO_CONFIG", help="CalicoAPIConfig file that says where etcd is.")
@click.option("--plugin", type=click.Choice(["calico", "calico-ipam"]), default="calico", show_default=True)
def call(
    node: str | None,
    run_dir: str,
    state_dir: str,
    interface_prefix: str,
    policy_timeout: float,
    config: str | None,
    plugin: str,
) -> None:
    """Be the plugin for one call, in this process: CNI_... in the environment, the network on standard input.

    What `calico cni install --standalone` installs runs this.
    """
    from calico.orchestrators.cni.serving.standalone import answer_alone

    settings = settings_of(node, run_dir, state_dir, interface_prefix, policy_timeout)
    environment = {key: value for key, value in os.environ.items() if key.startswith("CNI_")}
    stdin = b"" if environment.get("CNI_COMMAND") in (None, "VERSION") else sys.stdin.buffer.read()
    reply = asyncio.run(answer_alone(settings, environment, stdin, plugin, config))
    sys.stdout.buffer.write(reply.out)
    sys.stdout.flush()
    sys.exit(reply.code)
