"""The section ``[calico]`` of Neutron's configuration."""

from __future__ import annotations

import ipaddress

from oslo_config import cfg

from calico.datastore.connection import Connection, load_connection
from calico.errors import InvalidInput
from calico.obs.listeners import MetricsWanted
from calico.orchestrators.openstack.convert import Options
from calico.orchestrators.openstack.naming import check_region

__all__ = ["AGENT_TYPE", "OPTIONS", "connection", "list_options", "metrics_wanted", "options", "region", "register"]

GROUP = "calico"
AGENT_TYPE = "Calico per-host agent (felix)"
"""As networking-calico names it, so that agents stay the same ones over a migration."""

OPTIONS = [
    cfg.ListOpt("etcd_endpoints", default=["http://127.0.0.1:2379"], help="URLs of etcd."),
    cfg.StrOpt("etcd_ca_cert_file", default="", help="CA of etcd's certificates, PEM."),
    cfg.StrOpt("etcd_cert_file", default="", help="Client certificate, PEM."),
    cfg.StrOpt("etcd_key_file", default="", help="Its private key, PEM."),
    cfg.StrOpt("etcd_username", default="", help="User of etcd."),
    cfg.StrOpt("etcd_password", default="", secret=True, help="Its password; better in etcd_password_file."),
    cfg.StrOpt("etcd_password_file", default="", help="File with the password, read at every log-in."),
    cfg.StrOpt(
        "openstack_region",
        default="",
        help="Name of this region where several share a datastore: a DNS label. Felix needs the same OpenstackRegion.",
    ),
    cfg.FloatOpt(
        "journal_poll_s",
        default=1.0,
        min=0.05,
        help="How often a worker looks for entries of the journal that nobody told it of, in seconds.",
    ),
    cfg.IntOpt("journal_batch", default=100, min=1, max=500, help="Objects that a worker mirrors in one go."),
    cfg.FloatOpt(
        "audit_interval_s",
        default=600.0,
        min=0.0,
        help="How often everything in etcd is compared with the database and mended, in seconds; 0: never.",
    ),
    cfg.IntOpt("election_ttl_s", default=15, min=2, help="Life of the leader's lease, in seconds."),
    cfg.FloatOpt(
        "agent_report_interval_s",
        default=30.0,
        min=0.1,
        help="How often at most a host's report is written to Neutron's agents, in seconds.",
    ),
    cfg.BoolOpt(
        "require_programmed_revision",
        default=True,
        help="A port is ACTIVE only when its host says that the revision of its endpoint is in the kernel. Turn it off "
        "for hosts whose Felix answers no such questions (Calico's own): then its status 'up' is enough.",
    ),
    cfg.StrOpt(
        "metrics_address",
        default="",
        help="ADDRESS:PORT at which the worker offers its metrics to Prometheus; empty: nowhere. Of several workers of "
        "one controller the first has it, and another takes over when that ends.",
    ),
    cfg.BoolOpt(
        "route_all_address_pairs",
        default=False,
        help="Route every single address of a port's allowed address pairs to it, as networking-calico does, and not "
        "only those inside the subnets of its network: who may write pairs may then draw traffic for any address.",
    ),
    cfg.BoolOpt(
        "max_burst_is_peak_rate",
        default=False,
        help="Read max_burst_kbps of a QoS rule as networking-calico does, as a peak rate, and not as the size of a "
        "burst, as Neutron documents it.",
    ),
    cfg.StrOpt(
        "isolation",
        default="none",
        choices=["none", "project", "network+router"],
        help="Whom instances can reach at all, before security groups are asked. none: all. project: those of their "
        "own project. network+router: those of their own network, and of networks that a router joins to it.",
    ),
    cfg.BoolOpt(
        "subnet_pools",
        default=False,
        help="Make an IPPool of each subnet: its addresses are inside, and where a router with a gateway translates "
        "(enable_snat), each host translates what leaves the pools.",
    ),
    cfg.IntOpt("max_ingress_connections_per_port", default=0, min=0, help="Connections to each port; 0: no limit."),
    cfg.IntOpt("max_egress_connections_per_port", default=0, min=0, help="Connections from each port; 0: no limit."),
    cfg.BoolOpt(
        "refuse_overlapping_subnets",
        default=True,
        help="Refuse (409) a subnet that overlaps one of another network: all networks share one address space.",
    ),
]


def register(conf: cfg.ConfigOpts = cfg.CONF) -> None:
    """Make the section known; again is fine."""
    conf.register_opts(OPTIONS, group=GROUP)


def connection(conf: cfg.ConfigOpts = cfg.CONF) -> Connection:
    """How to reach etcd; InvalidInput names the option that is wrong. The environment is not asked."""
    section = conf[GROUP]
    given = {
        "etcdEndpoints": ",".join(section.etcd_endpoints),
        "etcdCACertFile": section.etcd_ca_cert_file,
        "etcdCertFile": section.etcd_cert_file,
        "etcdKeyFile": section.etcd_key_file,
        "etcdUsername": section.etcd_username,
        "etcdPassword": section.etcd_password,
        "etcdPasswordFile": section.etcd_password_file,
    }
    return load_connection(None, {}, given=given, default="")


def region(conf: cfg.ConfigOpts = cfg.CONF) -> str:
    """The region, checked."""
    return check_region(conf[GROUP].openstack_region)


def metrics_wanted(conf: cfg.ConfigOpts = cfg.CONF) -> MetricsWanted | None:
    """Where metrics are offered; None: nowhere. InvalidInput when it is no address with a port."""
    given = conf[GROUP].metrics_address
    if not given:
        return None
    host, _, port = given.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    try:
        ipaddress.ip_address(host)
        if not 0 < int(port) < 65536:
            raise ValueError
    except ValueError:
        raise InvalidInput(f"{given!r} is not ADDRESS:PORT", field="metrics_address") from None
    return MetricsWanted(host, int(port))


def options(conf: cfg.ConfigOpts = cfg.CONF) -> Options:
    """What documents depend on."""
    section = conf[GROUP]
    return Options(
        region=region(conf),
        isolation=section.isolation,
        pools=section.subnet_pools,
        route_all_pairs=section.route_all_address_pairs,
        burst_is_peak=section.max_burst_is_peak_rate,
        ingress_max_connections=section.max_ingress_connections_per_port,
        egress_max_connections=section.max_egress_connections_per_port,
    )


def list_options() -> list[tuple[str, list[cfg.Opt]]]:
    """For ``oslo-config-generator --namespace calico``."""
    return [(GROUP, OPTIONS)]
