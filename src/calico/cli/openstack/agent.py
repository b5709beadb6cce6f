"""``calico openstack agent``: the daemon of a compute host. Settings come from flags, then the environment."""

from __future__ import annotations

from typing import Any

import click

from calico.cli.daemons import node_name, serve
from calico.cli.etcd_options import connection_of, etcd_options
from calico.errors import InvalidInput
from calico.obs.log import configure_logging

__all__ = ["agent_command"]

_INFINITE = 0xFFFFFFFF


@click.command("agent")
@click.option("--node", envvar=["FELIX_FELIXHOSTNAME", "NODENAME", "HOSTNAME"], help="Neutron's name of this host.")
@etcd_options
@click.option(
    "--region", envvar=["CALICO_OPENSTACK_REGION", "FELIX_OPENSTACKREGION"], default="", help="Region of the cloud."
)
@click.option(
    "--run-dir", envvar="CALICO_RUN_DIR", default="/var/run/calico", show_default=True, help="Where the socket is."
)
@click.option(
    "--state-dir",
    envvar="CALICO_OPENSTACK_STATE_DIR",
    default="/var/lib/calico/openstack",
    show_default=True,
    help="What is known of this host's instances: answers go on without etcd, also after a restart.",
)
@click.option(
    "--interface-prefix",
    envvar="CALICO_OPENSTACK_INTERFACE_PREFIX",
    default="tap",
    show_default=True,
    help="How interfaces of instances begin; several with commas between.",
)
@click.option(
    "--dns-server",
    "dns",
    envvar="CALICO_OPENSTACK_DNS",
    multiple=True,
    help="DNS server for subnets that name none; can be repeated.",
)
@click.option(
    "--dns-domain",
    envvar="CALICO_OPENSTACK_DNS_DOMAIN",
    default="openstacklocal",
    show_default=True,
    help="Domain of instances to which Neutron gives none.",
)
@click.option(
    "--lease-time",
    envvar="CALICO_OPENSTACK_LEASE_TIME",
    default=86400,
    show_default=True,
    type=click.IntRange(-1, _INFINITE),
    help="Seconds that a lease lasts; -1: for ever.",
)
@click.option(
    "--metadata-url",
    envvar="CALICO_OPENSTACK_METADATA_URL",
    help="URL of nova-metadata, http(s)://HOST:PORT; without it there is no metadata proxy.",
)
@click.option(
    "--metadata-secret-file",
    envvar="CALICO_OPENSTACK_METADATA_SECRET_FILE",
    help="File with what nova.conf has as metadata_proxy_shared_secret.",
)
@click.option(
    "--metadata-ca-file",
    envvar="CALICO_OPENSTACK_METADATA_CA_FILE",
    default="",
    help="CA of nova-metadata's certificate, PEM.",
)
@click.option(
    "--metadata-listen",
    envvar="CALICO_OPENSTACK_METADATA_LISTEN",
    default="127.0.0.1:8775",
    show_default=True,
    help="Where Felix sends metadata requests: its MetadataAddr and MetadataPort.",
)
@click.option(
    "--metadata-rate",
    envvar="CALICO_OPENSTACK_METADATA_RATE",
    default=20.0,
    show_default=True,
    type=click.FloatRange(min=0.1),
    help="Metadata requests of an instance a second.",
)
@click.option("--health", envvar="CALICO_OPENSTACK_HEALTH", help="Address and port of /liveness and /readiness.")
@click.option("--metrics", envvar="CALICO_OPENSTACK_METRICS", help="Address and port of Prometheus' /metrics.")
@click.option("--log-file", envvar="CALICO_LOG_FILE", help="Log here instead of to stderr.")
@click.option(
    "--log-level",
    envvar="CALICO_LOG_LEVEL",
    default="info",
    show_default=True,
    type=click.Choice(["trace", "debug", "info", "warning", "error", "fatal"], case_sensitive=False),
)
def agent_command(
    node: str | None,
    config: str | None,
    region: str,
    run_dir: str,
    state_dir: str,
    interface_prefix: str,
    dns: tuple[str, ...],
    dns_domain: str,
    lease_time: int,
    metadata_url: str | None,
    metadata_secret_file: str | None,
    metadata_ca_file: str,
    metadata_listen: str,
    metadata_rate: float,
    health: str | None,
    metrics: str | None,
    log_file: str | None,
    log_level: str,
    **etcd: str | None,
) -> None:
    """Run the agent of a compute host: DHCP, router advertisements and metadata for its instances.

    It answers on their interfaces itself; nothing else that gives out addresses is needed on the host.
    """
    from calico.obs.listeners import HealthWanted, MetricsWanted
    from calico.orchestrators.openstack.compute.daemon import AgentSettings, run
    from calico.orchestrators.openstack.compute.metadata.settings import MetadataSettings
    from calico.orchestrators.openstack.leases import Offers
    from calico.orchestrators.openstack.naming import check_region

    metadata = None
    if metadata_url:
        if not metadata_secret_file:
            raise InvalidInput("is needed with --metadata-url", field="--metadata-secret-file")
        address, port = _address(metadata_listen, "--metadata-listen")
        metadata = MetadataSettings(
            url=metadata_url,
            secret_file=metadata_secret_file,
            ca=metadata_ca_file,
            address=address,
            port=port,
            rate=metadata_rate,
            burst=metadata_rate * 3,
        )
        metadata.check()
    listeners: set[Any] = set()
    if health:
        listeners.add(HealthWanted(*_address(health, "--health")))
    if metrics:
        listeners.add(MetricsWanted(*_address(metrics, "--metrics")))
    lease_s = _INFINITE if lease_time == -1 else lease_time
    if lease_s < 60:
        raise InvalidInput("must be at least 60 seconds, or -1", field="--lease-time")
    settings = AgentSettings(
        node=node_name(node),
        etcd=connection_of(config, etcd),
        region=check_region(region),
        run_dir=run_dir,
        state_dir=state_dir,
        prefixes=_prefixes(interface_prefix),
        offers=Offers(dns=_servers(dns), domain=dns_domain, lease_s=lease_s, metadata=metadata is not None),
        metadata=metadata,
        listeners=frozenset(listeners),
    )
    configure_logging(level=log_level, file=log_file)
    serve(run(settings))


def _prefixes(text: str) -> tuple[str, ...]:
    found = tuple(part.strip() for part in text.split(",") if part.strip())
    if not found:
        raise InvalidInput("names no prefix: every interface would be an instance's", field="--interface-prefix")
    return found


def _servers(given: tuple[str, ...]) -> tuple[str, ...]:
    import ipaddress

    found = tuple(part.strip() for text in given for part in text.split(",") if part.strip())
    for one in found:
        try:
            ipaddress.ip_address(one)
        except ValueError as error:
            raise InvalidInput(str(error), field="--dns-server") from None
    return found


def _address(text: str, option: str) -> tuple[str, int]:
    """``HOST:PORT``, where an IPv6 address stands in brackets."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or not 0 < int(port) < 1 << 16:
        raise InvalidInput(f"{text!r} is not HOST:PORT", field=option)
    return host.strip("[]"), int(port)
