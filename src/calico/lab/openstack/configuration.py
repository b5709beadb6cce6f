"""The files that Neutron's programs of a lab are started with. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

__all__ = ["API_PORT", "METADATA_PORT", "NOVA_PORT", "POSTGRES_PORT", "Controller", "neutron_files", "trusting_paste"]

API_PORT, NOVA_PORT, METADATA_PORT, POSTGRES_PORT = 9696, 8774, 8775, 5432


class Controller(msgspec.Struct, frozen=True, kw_only=True):
    """What the files depend on. ``settings`` are options of the driver's section ``[calico]``."""

    directory: str
    address: str
    etcd: Sequence[str]
    settings: Mapping[str, str | int | float | bool]

    @property
    def database(self) -> str:
        """As SQLAlchemy writes it."""
        return f"postgresql+psycopg2://neutron@127.0.0.1:{POSTGRES_PORT}/neutron"


_NEUTRON = """\
[DEFAULT]
auth_strategy = trusted
core_plugin = ml2
service_plugins = calico_l3,calico_port_forwarding,qos,revisions
api_paste_config = {directory}/api-paste.ini
state_path = {directory}/neutron
transport_url = fake://
rpc_workers = 0
rpc_state_report_workers = 0
notify_nova_on_port_status_changes = true
notify_nova_on_port_data_changes = true
send_events_interval = 1
enable_traditional_dhcp = false
[database]
connection = {database}
max_pool_size = 20
[oslo_concurrency]
lock_path = {directory}/neutron/lock
[oslo_messaging_notifications]
driver = noop
[quotas]
default_quota = -1
{quotas}
[nova]
auth_type = none
endpoint = http://127.0.0.1:{nova}/v2.1
"""

_ML2 = """\
[ml2]
type_drivers = local,flat
project_network_types = local
tenant_network_types = local
mechanism_drivers = calico
extension_drivers = port_security,qos,dns_domain_keywords
[ml2_type_flat]
flat_networks = *
[securitygroup]
enable_security_group = true
"""

_QUOTAS = ("port", "network", "subnet", "security_group", "security_group_rule", "floatingip", "router")

_TRUSTED = {
    "[composite:neutronapi_v2_0]": "trusted = request_id catch_errors keystonecontext extensions neutronapiapp_v2_0",
    "[composite:neutronversions_composite]": "trusted = http_proxy_to_wsgi neutronversions",
}
"""Who the caller is stands in headers of the request, where Keystone's middleware would put it."""


def neutron_files(controller: Controller) -> dict[str, str]:
    """name -> text, in the order in which programs are given them."""
    values = {
        "directory": controller.directory,
        "database": controller.database,
        "nova": NOVA_PORT,
        "quotas": "\n".join(f"quota_{name} = -1" for name in _QUOTAS),
    }
    driver = {"etcd_endpoints": ",".join(controller.etcd), **controller.settings}
    lines = [f"{name} = {str(value).lower() if isinstance(value, bool) else value}" for name, value in driver.items()]
    return {
        "neutron.conf": _NEUTRON.format(**values),
        "ml2_conf.ini": _ML2,
        "calico.ini": "\n".join(["[calico]", *lines, ""]),
    }


def trusting_paste(paste: str) -> str:
    """Neutron's own ``api-paste.ini`` with a pipeline that believes the headers of requests."""
    for section, line in _TRUSTED.items():
        paste = paste.replace(section, f"{section}\n{line}")
    return paste
