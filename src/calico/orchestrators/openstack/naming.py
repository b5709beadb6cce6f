"""Names and keys of everything that mirrors Neutron (data model §2.2, §8, §11). Pure.

A region has a namespace of its own for resources and a segment of its own in other keys, so that many regions share one
datastore. The empty region is the only one of a cloud without regions.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from calico.errors import InvalidInput
from calico.model.keys import ROOT, ResourceKey, parse_key
from calico.model.names import WorkloadEndpointIdentifiers, parse_workload_endpoint_name

__all__ = [
    "ADDRESS_GROUP_LABEL",
    "GROUP_LABEL",
    "GROUP_NAME_LABEL",
    "ISOLATION_TIER",
    "NETWORK_ID_LABEL",
    "NETWORK_NAME_LABEL",
    "ORCHESTRATOR",
    "PROJECT_ID_LABEL",
    "PROJECT_NAME_LABEL",
    "PROJECT_PARENT_LABEL",
    "TIER_KEY",
    "Mirrored",
    "address_group_key",
    "address_group_label",
    "check_region",
    "election_key",
    "endpoint_key",
    "endpoint_name",
    "group_key",
    "group_label",
    "group_name",
    "group_name_label",
    "identify",
    "isolation_key",
    "label_text",
    "migration_key",
    "namespace",
    "pool_key",
    "region_segment",
    "subnet_key",
    "subnet_prefix",
    "tap_mac",
    "tap_name",
]

ORCHESTRATOR: Final = "openstack"
_OURS: Final = "projectcalico.org/openstack-"
PROJECT_ID_LABEL: Final = f"{_OURS}project-id"
PROJECT_NAME_LABEL: Final = f"{_OURS}project-name"
PROJECT_PARENT_LABEL: Final = f"{_OURS}project-parent-id"
NETWORK_NAME_LABEL: Final = f"{_OURS}network-name"
NETWORK_ID_LABEL: Final = f"{_OURS}network-id"
"""Not written by networking-calico; isolation selects by it."""
GROUP_LABEL: Final = "sg.projectcalico.org/openstack-"
GROUP_NAME_LABEL: Final = "sg-name.projectcalico.org/openstack-"
ADDRESS_GROUP_LABEL: Final = "ag.projectcalico.org/openstack-"
"""Prefix of the label of an address group's NetworkSet; not of networking-calico, which follows no address groups."""
ISOLATION_TIER: Final = "openstack-isolation"
TIER_KEY: Final = ResourceKey("Tier", "", ISOLATION_TIER)
"""Identity of the tier of isolation, which all regions share."""

_GROUP_POLICY: Final = "ossg.default."
_ADDRESS_GROUP_SET: Final = "osag."
_LABEL_MAX: Final = 63
_REGION_MAX: Final = _LABEL_MAX - len("openstack-region-")
_DNS_LABEL: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_NOT_IN_LABELS: Final = re.compile(r"[^A-Za-z0-9_.-]")
_INTERFACE_ID_CHARACTERS: Final = 11


class Mirrored(msgspec.Struct, frozen=True, kw_only=True):
    """The Neutron object behind a key. ``kind`` is ``port``, ``security_group``, ``address_group``, ``subnet``,
    ``isolated_network`` or ``isolated_project`` (who passes to one) or ``isolation`` (the region's); ``host`` is a
    port's."""

    kind: str
    id: str
    host: str = ""


def check_region(region: str) -> str:
    """``region`` itself (empty: none); InvalidInput when no namespace can be named after it."""
    if region and (len(region) > _REGION_MAX or not _DNS_LABEL.fullmatch(region)):
        raise InvalidInput(
            f"{region!r} must be a DNS label of at most {_REGION_MAX} characters (lower case)", field="openstack_region"
        )
    return region


def namespace(region: str = "") -> str:
    """Namespace of all resources of a region."""
    return f"openstack-region-{region}" if region else "openstack"


def region_segment(region: str = "") -> str:
    """Segment of a region in keys that are not resources."""
    return f"region-{region}" if region else "no-region"


def endpoint_name(host: str, device_id: str, port_id: str) -> str:
    """Name of a WorkloadEndpoint, and of the LiveMigration whose target it is; InvalidInput naming what is missing."""
    identifiers = WorkloadEndpointIdentifiers(
        node=host, orchestrator=ORCHESTRATOR, workload=device_id, endpoint=port_id
    )
    return identifiers.name()


def endpoint_key(region: str, host: str, device_id: str, port_id: str) -> ResourceKey:
    """Identity of the endpoint of a port at one host."""
    return ResourceKey("WorkloadEndpoint", namespace(region), endpoint_name(host, device_id, port_id))


def migration_key(region: str, target_host: str, device_id: str, port_id: str) -> ResourceKey:
    """Identity of the LiveMigration of a port to ``target_host``."""
    return ResourceKey("LiveMigration", namespace(region), endpoint_name(target_host, device_id, port_id))


def group_key(region: str, group_id: str) -> ResourceKey:
    """Identity of the NetworkPolicy of a security group."""
    return ResourceKey("NetworkPolicy", namespace(region), _GROUP_POLICY + group_id)


def address_group_key(region: str, group_id: str) -> ResourceKey:
    """Identity of the NetworkSet of an address group."""
    return ResourceKey("NetworkSet", namespace(region), _ADDRESS_GROUP_SET + group_id)


def isolation_key(region: str, what: str, identifier: str) -> ResourceKey:
    """Identity of the policy that lets the peers of one ``network`` or ``project`` (``what``) pass, or, for ``others``
    without an identifier, of the one that then denies."""
    name = f"{what}-{identifier}" if identifier else what
    return ResourceKey("NetworkPolicy", namespace(region), f"{ISOLATION_TIER}.{name}")


def pool_key(region: str, subnet_id: str) -> ResourceKey:
    """Identity of the IPPool of a subnet."""
    return ResourceKey("IPPool", "", f"{namespace(region)}.{subnet_id}")


def identify(path: str, region: str = "") -> Mirrored | None:
    """What of Neutron a key mirrors; None when it is not of the region, or not Neutron's at all."""
    prefix = subnet_prefix(region)
    if path.startswith(prefix):
        subnet_id = path[len(prefix) :]
        return Mirrored(kind="subnet", id=subnet_id) if subnet_id and "/" not in subnet_id else None
    key = parse_key(path)
    if key is None or key.namespace not in ("", namespace(region)):
        return None
    if key.kind in ("WorkloadEndpoint", "LiveMigration"):
        return _identify_port(key.name)
    if (key.kind, key.name) == ("NetworkPolicy", f"{ISOLATION_TIER}.others"):
        return Mirrored(kind="isolation", id="others")
    for kind, beginning, what in (
        ("NetworkPolicy", _GROUP_POLICY, "security_group"),
        ("NetworkPolicy", f"{ISOLATION_TIER}.network-", "isolated_network"),
        ("NetworkPolicy", f"{ISOLATION_TIER}.project-", "isolated_project"),
        ("NetworkSet", _ADDRESS_GROUP_SET, "address_group"),
        ("IPPool", f"{namespace(region)}.", "subnet"),
    ):
        if key.kind == kind and key.name.startswith(beginning) and key.name != beginning:
            return Mirrored(kind=what, id=key.name[len(beginning) :])
    return None


def _identify_port(name: str) -> Mirrored | None:
    try:
        parts = parse_workload_endpoint_name(name)
    except InvalidInput:
        return None
    if parts.orchestrator != ORCHESTRATOR or not parts.endpoint:
        return None
    return Mirrored(kind="port", id=parts.endpoint, host=parts.node)


def subnet_prefix(region: str = "") -> str:
    """Prefix of the keys of all subnets of a region."""
    return f"{ROOT}dhcp/v2/{region_segment(region)}/subnet/"


def subnet_key(region: str, subnet_id: str) -> str:
    """etcd key of a subnet's record (``records.SubnetRecord``)."""
    return subnet_prefix(region) + subnet_id


def election_key(region: str = "") -> str:
    """etcd key, under a lease, of the one Neutron process that audits a region."""
    return f"{ROOT}openstack/v2/{region_segment(region)}/neutron_election"


def tap_name(port_id: str) -> str:
    """The interface of a port on its host, as Nova names it."""
    return f"tap{port_id[:_INTERFACE_ID_CHARACTERS]}"


def tap_mac(mac: str) -> str:
    """MAC of the host's side of a port: ``fe:`` and the last five octets, the same on every host."""
    return f"fe:{mac.lower()[3:]}"


def group_label(group_id: str) -> str:
    """Key of the label by which a security group selects its ports."""
    return GROUP_LABEL + group_id


def group_name(name: str) -> str:
    """A group's name as labels have it, as short as networking-calico makes it."""
    return label_text(name, _LABEL_MAX - len(GROUP_NAME_LABEL))


def group_name_label(name: str) -> str:
    """Key of the label by which operators select a group by name; the empty text when no key can be made of it."""
    text = group_name(name)
    return GROUP_NAME_LABEL + text if text else ""


def address_group_label(group_id: str) -> str:
    """Key of the label of an address group's NetworkSet."""
    return ADDRESS_GROUP_LABEL + group_id


def label_text(text: str, limit: int = _LABEL_MAX) -> str:
    """The nearest text that may stand in a label; may be empty, and two texts may become one."""
    return _NOT_IN_LABELS.sub("_", text)[:limit].strip("_.-")
