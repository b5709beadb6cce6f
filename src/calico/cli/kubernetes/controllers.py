"""``calico kubernetes controllers``: the daemon that follows the Kubernetes API."""

from __future__ import annotations

import click

from calico.cli.daemons import serve
from calico.cli.etcd_options import connection_of, etcd_options
from calico.errors import InvalidInput
from calico.obs.log import configure_logging

__all__ = ["controllers_command"]


@click.command("controllers")
@etcd_options
@click.option(
    "--kubeconfig", envvar="KUBECONFIG", default="", help="How the API is reached. [default: as the pod that this is]"
)
@click.option(
    "--enable",
    envvar="ENABLED_CONTROLLERS",
    default="",
    help="Which controllers, separated by commas. [default: all]",
)
@click.option("--lease-namespace", envvar="CALICO_LEASE_NAMESPACE", default="kube-system", show_default=True)
@click.option("--lease-name", envvar="CALICO_LEASE_NAME", default="calico-kube-controllers", show_default=True)
@click.option(
    "--lease-seconds",
    envvar="CALICO_LEASE_SECONDS",
    type=click.IntRange(3, 300),
    default=15,
    show_default=True,
    help="How long a dead leader is waited for.",
)
@click.option("--health-host", envvar="CALICO_HEALTH_HOST", default="localhost", show_default=True)
@click.option(
    "--health-port",
    envvar="CALICO_HEALTH_PORT",
    type=click.IntRange(0, 65535),
    default=0,
    show_default=True,
    help="Answer /liveness and /readiness over HTTP on this port; 0: do not.",
)
@click.option("--log-file", envvar="CALICO_LOG_FILE", help="Log here instead of to stderr.")
@click.option("--log-level", envvar="CALICO_LOG_LEVEL", default="info", show_default=True)
def controllers_command(
    config: str | None,
    kubeconfig: str,
    enable: str,
    lease_namespace: str,
    lease_name: str,
    lease_seconds: int,
    health_host: str,
    health_port: int,
    log_file: str | None,
    log_level: str,
    **etcd: str | None,
) -> None:
    """Follow namespaces, service accounts, pods and policies of Kubernetes, and keep the datastore as they say.

    Any number may run; one leads, by a Lease, and the others take over when it is gone.
    """
    try:
        from calico.orchestrators.kubernetes.controllers.daemon import ControllerSettings, run
    except ModuleNotFoundError as error:
        raise InvalidInput(f"{error.name} is not installed: pip install 'calico-network[kubernetes]'") from error
    from calico.obs.listeners import HealthWanted
    from calico.orchestrators.kubernetes.api.connection import load_api_connection
    from calico.orchestrators.kubernetes.controllers.roster import check_names

    names = check_names(enable.split(","))
    configure_logging(level=log_level, file=log_file)
    settings = ControllerSettings(
        api=load_api_connection(kubeconfig),
        etcd=connection_of(config, etcd),
        names=names,
        lease_namespace=lease_namespace,
        lease_name=lease_name,
        lease_s=lease_seconds,
        health=HealthWanted(health_host, health_port) if health_port else None,
    )
    serve(run(settings))
