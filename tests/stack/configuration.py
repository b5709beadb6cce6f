"""The files that Neutron's processes are started with."""

from __future__ import annotations

from pathlib import Path

import msgspec

__all__ = ["Addresses", "write_configuration"]


class Addresses(msgspec.Struct, frozen=True, kw_only=True):
    """Where everything listens: a host and one port each. ``host`` is reachable from where the servers run."""

    host: str = "127.0.0.1"
    database: int
    etcd: int
    etcd_peer: int
    nova: int
    apis: tuple[int, ...]


_NEUTRON = """\
[DEFAULT]
auth_strategy = trusted
core_plugin = ml2
service_plugins = {services}
api_paste_config = {directory}/etc/api-paste.ini
state_path = {state}
transport_url = fake://
rpc_workers = 0
rpc_state_report_workers = 0
notify_nova_on_port_status_changes = true
notify_nova_on_port_data_changes = true
send_events_interval = 1
enable_traditional_dhcp = false
agent_down_time = 75
allow_overlapping_ips = true
[database]
connection = {database}
max_pool_size = 20
[oslo_concurrency]
lock_path = {state}/lock
[oslo_messaging_notifications]
driver = noop
[quotas]
default_quota = -1
quota_port = -1
quota_network = -1
quota_subnet = -1
quota_security_group = -1
quota_security_group_rule = -1
quota_floatingip = -1
quota_router = -1
[nova]
auth_type = none
endpoint = http://{host}:{nova}/v2.1
"""

_ML2 = """\
[ml2]
type_drivers = local,flat
project_network_types = local
tenant_network_types = local
mechanism_drivers = {mechanism}
extension_drivers = port_security,qos,dns_domain_keywords
[ml2_type_flat]
flat_networks = *
[securitygroup]
enable_security_group = true
"""

_CALICO = """\
[calico]
etcd_endpoints = http://{host}:{etcd}
"""

_TRUSTED = {
    "[composite:neutronapi_v2_0]": "trusted = request_id catch_errors keystonecontext extensions neutronapiapp_v2_0",
    "[composite:neutronversions_composite]": "trusted = http_proxy_to_wsgi neutronversions",
}
"""Who the caller is stands in headers of the request, as Keystone's middleware would put them."""


def write_configuration(
    directory: Path,
    environment: Path,
    addresses: Addresses,
    database: str,
    *,
    mechanism: str,
    services: str,
    settings: str,
    state: Path,
) -> tuple[Path, ...]:
    """Write the files under ``directory``/etc; those of them that neutron's programs are given.

    ``settings`` are more lines of the driver's section.
    """
    etc = directory / "etc"
    etc.mkdir(exist_ok=True)
    state.mkdir(exist_ok=True)
    values = {
        "directory": directory,
        "state": state,
        "services": services,
        "database": database,
        "host": addresses.host,
        "nova": addresses.nova,
        "etcd": addresses.etcd,
        "mechanism": mechanism,
    }
    paste = (environment / "etc/neutron/api-paste.ini").read_text()
    for section, line in _TRUSTED.items():
        assert section in paste, f"Neutron's api-paste.ini has no {section}"
        paste = paste.replace(section, f"{section}\n{line}")
    (etc / "api-paste.ini").write_text(paste)
    names = ("neutron.conf", "ml2_conf.ini", "calico.ini")
    for name, text in zip(names, (_NEUTRON, _ML2, _CALICO + settings), strict=True):
        (etc / name).write_text(text.format(**values) if name != "calico.ini" else _CALICO.format(**values) + settings)
    return tuple(etc / name for name in names)
