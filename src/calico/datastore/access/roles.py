"""Who may read and write which keys of etcd: the roles of each component, as data. Pure.

Least privilege as far as the keys allow: what belongs to a host is written by that host alone. The keys of workload
endpoints begin with the namespace, so whoever attaches workloads may write those of all hosts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal

import msgspec

from calico.datastore.barrier import ASK_PREFIX
from calico.datastore.sync.acceptance import ACCEPT_PREFIX
from calico.datastore.sync.plausibility import CLUSTER_INFO_KEY
from calico.errors import InvalidInput
from calico.model.keys import RESOURCE_PREFIX, ROOT
from calico.model.kubernetes.services import KUBERNETES_PREFIX
from calico.model.names import WorkloadEndpointIdentifiers

__all__ = ["COMPONENTS", "OURS", "PER_HOST", "Access", "Account", "Permission", "Role", "accounts"]

Access = Literal["read", "write", "readwrite"]
OURS = "calico-"
"""The names of all our users and roles begin so; others are left alone."""

_SECRETS = f"{ROOT}bgp/v1/secrets/"
_IPAM = f"{ROOT}ipam/v2/"


class Permission(msgspec.Struct, frozen=True, order=True):
    """``access`` to the keys from ``key`` up to, not including, ``end``; to ``key`` alone when there is no end."""

    key: str
    end: str
    access: Access

    def __str__(self) -> str:
        if not self.end:
            return f"{self.access} {self.key}"
        keys = f"{self.key}*" if self.end == _end(self.key) else f"[{self.key}, {self.end})"
        return f"{self.access} {keys}"


class Role(msgspec.Struct, frozen=True):
    """A name and what it permits."""

    name: str
    permissions: tuple[Permission, ...]


class Account(msgspec.Struct, frozen=True):
    """A user of etcd (by password, or the common name of a certificate) with its roles."""

    user: str
    roles: tuple[Role, ...]


def _end(prefix: str) -> str:
    """Where the keys that begin with ``prefix`` end."""
    return prefix[:-1] + chr(ord(prefix[-1]) + 1) if prefix else ""


def _read(*prefixes: str) -> tuple[Permission, ...]:
    return tuple(Permission(prefix, _end(prefix), "read") for prefix in prefixes)


def _write(*prefixes: str) -> tuple[Permission, ...]:
    return tuple(Permission(prefix, _end(prefix), "readwrite") for prefix in prefixes)


def _key(key: str, access: Access) -> Permission:
    return Permission(key, "", access)


def _kinds(*plurals: str) -> tuple[str, ...]:
    return tuple(f"{RESOURCE_PREFIX}{plural}/" for plural in plurals)


_CLUSTER_INFO = _key(CLUSTER_INFO_KEY, "read")
_SHARED: Mapping[str, tuple[Permission, ...]] = {
    "felix": _read(RESOURCE_PREFIX, ACCEPT_PREFIX, ASK_PREFIX, f"{_IPAM}host/", KUBERNETES_PREFIX),
    "bgp": (
        *_read(*_kinds("bgpconfigurations", "bgpfilters", "bgppeers", "clusterinformations", "ippools", "nodes")),
        *_read(*_kinds("workloadendpoints")),
        *_read(_SECRETS, ACCEPT_PREFIX, KUBERNETES_PREFIX),
        # a reflector takes from its clients what IPAM says is theirs, when it is asked to
        *_read(f"{_IPAM}assignment/", f"{_IPAM}host/"),
        *_write(*_kinds("caliconodestatuses")),
        # questions to hosts and their answers: who puts a key under a lease must be allowed to write all of that lease
        *_write(f"{ROOT}bgp/v1/answers/", f"{ROOT}bgp/v1/questions/"),
    ),
    "cni": (
        _CLUSTER_INFO,
        *_read(*_kinds("felixconfigurations", "ipamconfigurations", "ippools", "ipreservations", "nodes")),
        *_write(*_kinds("profiles", "workloadendpoints")),
        *_write(f"{_IPAM}assignment/", f"{_IPAM}handle/"),
        _key(f"{_IPAM}config", "read"),
    ),
    "kubernetes": (
        _CLUSTER_INFO,
        *_read(*_kinds("globalnetworkpolicies", "profiles", "tiers")),
        *_write(f"{RESOURCE_PREFIX}globalnetworkpolicies/kcnp."),
        *_write(f"{RESOURCE_PREFIX}profiles/kns.", f"{RESOURCE_PREFIX}profiles/ksa."),
        *_write(*_kinds("hostendpoints", "networkpolicies", "nodes", "workloadendpoints")),
        # a Node takes with it what is its own
        *_write(*_kinds("bgppeers")),
        *_write(*(f"{kind}node." for kind in _kinds("bgpconfigurations", "felixconfigurations"))),
        *_read(*_kinds("caliconodestatuses", "ipamconfigurations", "ippools", "ipreservations")),
        *_read(*_kinds("kubecontrollersconfigurations")),
        *_write(f"{_IPAM}assignment/", f"{_IPAM}handle/", f"{_IPAM}host/", KUBERNETES_PREFIX),
        _key(f"{ROOT}kubecontrollers/v1/leader", "readwrite"),
        _key(f"{_IPAM}config", "read"),
        *_read(f"{ROOT}felix/"),
    ),
    "openstack": (_CLUSTER_INFO, *_read(ACCEPT_PREFIX)),
    "operator": _write(ROOT),
    "readonly": _read(
        RESOURCE_PREFIX,
        _IPAM,
        f"{ROOT}felix/",
        f"{ROOT}dhcp/",
        f"{ROOT}openstack/",
        f"{ROOT}compaction/",
        KUBERNETES_PREFIX,
        ACCEPT_PREFIX,
    ),
}


def _felix(host: str, region: str) -> tuple[Permission, ...]:
    return _write(f"{ROOT}felix/v2/{_region(region)}/host/{host}/", f"{ROOT}felix/v1/host/{host}/endpoint/")


def _bgp(host: str, region: str) -> tuple[Permission, ...]:
    return _read(f"{_IPAM}host/{host}/")


def _cni(host: str, region: str) -> tuple[Permission, ...]:
    return (_key(f"{_IPAM}host/{host}", "readwrite"), *_write(f"{_IPAM}host/{host}/"))


def _openstack(host: str, region: str) -> tuple[Permission, ...]:
    """The agent of a compute host: its instances, and the subnets of its region."""
    own = WorkloadEndpointIdentifiers(node=host, orchestrator="openstack").prefix()
    (endpoints,) = _kinds("workloadendpoints")
    return _read(f"{endpoints}{_namespace(region)}/{own}", f"{ROOT}dhcp/v2/{_region(region)}/subnet/")


PER_HOST: Mapping[str, Callable[[str, str], tuple[Permission, ...]]] = {
    "felix": _felix, "bgp": _bgp, "cni": _cni, "openstack": _openstack,
}  # fmt: skip
"""Components of which each host has one, with what is its host's alone."""

COMPONENTS = ("felix", "bgp", "cni", "kubernetes", "openstack", "neutron", "operator", "readonly")


def accounts(components: Iterable[str], hosts: Sequence[str], region: str = "") -> tuple[Account, ...]:
    """The users of ``components``: one per host where each host has its own. InvalidInput for a name that could reach
    into another's keys."""
    for kind, name in (*(("host", host) for host in hosts), ("region", region)):
        if "/" in name or (kind == "host" and not name):
            raise InvalidInput("must not be empty or contain a slash", subject=f"{kind} {name!r}")
    found: list[Account] = []
    for component in components:
        shared = Role(OURS + component, _SHARED.get(component, ()))
        if component in PER_HOST:
            for host in hosts:
                own = Role(f"{shared.name}-{host}", PER_HOST[component](host, region))
                found.append(Account(own.name, (shared, own)))
        elif component == "neutron":
            name = f"{shared.name}-{region}" if region else shared.name
            found.append(Account(name, (Role(name, _neutron(region)),)))
        else:
            found.append(Account(shared.name, (shared,)))
    return tuple(found)


def _neutron(region: str) -> tuple[Permission, ...]:
    namespace = _namespace(region)
    kinds = _kinds("livemigrations", "networkpolicies", "networksets", "workloadendpoints")
    names = ("felixconfigurations/default", "tiers/openstack-isolation")
    singletons = (CLUSTER_INFO_KEY, *(RESOURCE_PREFIX + name for name in names))
    return (
        *_write(*(f"{kind}{namespace}/" for kind in kinds)),
        *_write(f"{RESOURCE_PREFIX}ippools/{namespace}."),
        *(_key(key, "readwrite") for key in singletons),
        *_write(f"{ROOT}dhcp/v2/{_region(region)}/", f"{ROOT}openstack/v2/{_region(region)}/"),
        *_write(f"{ROOT}compaction/v1/"),
        *_read(f"{ROOT}felix/v2/{_region(region)}/host/"),
    )


def _namespace(region: str) -> str:
    return f"openstack-region-{region}" if region else "openstack"


def _region(region: str) -> str:
    return f"region-{region}" if region else "no-region"
