"""IPReservation, IPAMConfiguration and BlockAffinity (spec §16.12, §16.17, §16.20)."""

from __future__ import annotations

from calico.model.ipam import BlockAffinitySpec, IPAMConfigSpec, IPAMConfigurationSpec, IPReservationSpec
from calico.model.validation import syntax
from calico.model.validation.report import Report

__all__ = ["check_affinity", "check_ipam_configuration", "check_reservation"]

STATES = ("confirmed", "pending", "pendingDeletion")
MOST_BLOCKS = 1000000
LONGEST_COOLDOWN_S = 1200


def check_reservation(report: Report, spec: IPReservationSpec) -> None:
    """Check what is reserved."""
    report.distinct(spec.reserved_cidrs, "spec.reservedCIDRs")
    for index, text in enumerate(spec.reserved_cidrs):
        report.means(syntax.cidr, f"spec.reservedCIDRs[{index}]", text)


def check_ipam_configuration(report: Report, spec: IPAMConfigurationSpec | IPAMConfigSpec) -> None:
    """Check the bounds of an allocation's settings."""
    report.within(0, MOST_BLOCKS, "spec.maxBlocksPerHost", spec.max_blocks_per_host)
    persistence = spec.kube_virt_vm_address_persistence
    report.one_of(("Enabled", "Disabled"), "spec.kubeVirtVMAddressPersistence", persistence)
    report.within(0, LONGEST_COOLDOWN_S, "spec.ipCooldownSeconds", spec.ip_cooldown_seconds)


def check_affinity(report: Report, spec: BlockAffinitySpec) -> None:
    """Check which block belongs to whom; one that is on its way out cannot be written."""
    report.one_of(STATES, "spec.state", spec.state)
    report.check(spec.node, "spec.node", None, "is required")
    report.means(syntax.net, "spec.cidr", spec.cidr)
    report.check(spec.deleted in (False, "false"), "spec.deleted", spec.deleted, "must be false")
