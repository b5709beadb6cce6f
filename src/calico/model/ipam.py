"""Resources about addresses: what is reserved, how allocation is configured, which node a block belongs to.

With etcd the allocator reads its configuration and affinities under ``/calico/ipam/v2/`` (spec §9.1, traps 1 and 2);
IPAMConfiguration, IPAMConfig and BlockAffinity are resources beside them that it does not read.
"""

from __future__ import annotations

from msgspec import field

from calico.model.meta import Model, Resource

__all__ = [
    "BlockAffinity",
    "BlockAffinitySpec",
    "IPAMConfig",
    "IPAMConfigSpec",
    "IPAMConfiguration",
    "IPAMConfigurationSpec",
    "IPReservation",
    "IPReservationSpec",
]


class IPReservationSpec(Model, frozen=True, kw_only=True):
    """Addresses or CIDRs that nobody is given unless they ask for that very address."""

    reserved_cidrs: tuple[str, ...] = field(default=(), name="reservedCIDRs")


class IPReservation(Resource, frozen=True, kw_only=True):
    """Addresses that are not to be assigned automatically."""

    spec: IPReservationSpec = IPReservationSpec()


class IPAMConfigurationSpec(Model, frozen=True, kw_only=True):
    """``strict_affinity``: nodes take no addresses from blocks of others. 0 blocks per host: no limit of one's own."""

    strict_affinity: bool = False
    max_blocks_per_host: int = 0
    auto_allocate_blocks: bool = True
    kube_virt_vm_address_persistence: str | None = field(default=None, name="kubeVirtVMAddressPersistence")
    ip_cooldown_seconds: int = 0


class IPAMConfiguration(Resource, frozen=True, kw_only=True):
    """How addresses are allocated; the singleton ``default``."""

    spec: IPAMConfigurationSpec = IPAMConfigurationSpec()


class IPAMConfigSpec(Model, frozen=True, kw_only=True):
    """The older form of IPAMConfigurationSpec. What is absent is false and zero."""

    strict_affinity: bool = False
    max_blocks_per_host: int = 0
    auto_allocate_blocks: bool = False
    kube_virt_vm_address_persistence: str | None = field(default=None, name="kubeVirtVMAddressPersistence")
    ip_cooldown_seconds: int = 0


class IPAMConfig(Resource, frozen=True, kw_only=True):
    """A registered kind that nobody uses with etcd."""

    spec: IPAMConfigSpec = IPAMConfigSpec()


class BlockAffinitySpec(Model, frozen=True, kw_only=True):
    """Which node (or virtual owner, by ``type``) a block belongs to. ``deleted`` is stored as text (spec §3)."""

    state: str = ""
    node: str = ""
    type: str = ""
    cidr: str = ""
    deleted: bool | str = False


class BlockAffinity(Resource, frozen=True, kw_only=True):
    """The affinity of one block."""

    spec: BlockAffinitySpec = BlockAffinitySpec()
