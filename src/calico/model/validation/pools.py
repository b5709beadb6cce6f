"""IP pools on their own (spec §16.11); clashes with other pools and blocks are the writer's business."""

from __future__ import annotations

import ipaddress

from calico.errors import InvalidInput
from calico.model.defaults import DEFAULT_BLOCK_SIZE
from calico.model.ippool import IPPoolSpec
from calico.model.validation import syntax
from calico.model.validation.report import Report

__all__ = ["check_pool"]

MODES = ("Never", "Always", "CrossSubnet")
USES = ("Workload", "Tunnel", "LoadBalancer")
MOST_USES = 10
_BLOCK_SIZES = {4: (20, 32), 6: (116, 128)}
_LINK_LOCAL = (ipaddress.ip_network("169.254.0.0/16"), ipaddress.ip_network("fe80::/10"))


def check_pool(report: Report, spec: IPPoolSpec) -> None:
    """Check one pool. An unset block size, node selector or mode is judged by its default."""
    report.one_of(MODES, "spec.ipipMode", spec.ipip_mode)
    report.one_of(MODES, "spec.vxlanMode", spec.vxlan_mode)
    ipip = spec.ipip_mode not in ("", "Never")
    vxlan = spec.vxlan_mode not in ("", "Never")
    report.check(not (ipip and vxlan), "spec.vxlanMode", spec.vxlan_mode, "and ipipMode cannot both be enabled")
    report.parses(syntax.selector, "spec.nodeSelector", spec.node_selector)
    report.parses(syntax.selector, "spec.namespaceSelector", spec.namespace_selector)
    report.one_of(("Automatic", "Manual"), "spec.assignmentMode", spec.assignment_mode)
    _check_uses(report, spec, encapsulated=ipip or vxlan)
    _check_range(report, spec, ipip=ipip)


def _check_uses(report: Report, spec: IPPoolSpec, *, encapsulated: bool) -> None:
    uses = spec.allowed_uses
    report.at_most(MOST_USES, uses, "spec.allowedUses")
    report.distinct(uses, "spec.allowedUses")
    for index, use in enumerate(uses):
        report.check(use in USES, f"spec.allowedUses[{index}]", use, f"must be one of {', '.join(USES)}")
    if "Tunnel" in uses:
        report.check(not spec.namespace_selector, "spec.namespaceSelector", None, "is not allowed with use Tunnel")
    if "LoadBalancer" not in uses:
        return
    report.check(len(set(uses)) == 1, "spec.allowedUses", uses, "LoadBalancer cannot be combined with other uses")
    report.check(not encapsulated, "spec.allowedUses", uses, "LoadBalancer allows neither IPIP nor VXLAN")
    report.check(not spec.disable_bgp_export, "spec.disableBGPExport", True, "is not allowed with use LoadBalancer")
    everywhere = spec.node_selector in ("", "all()")
    report.check(everywhere, "spec.nodeSelector", spec.node_selector, "must be all() with use LoadBalancer")


def _check_range(report: Report, spec: IPPoolSpec, *, ipip: bool) -> None:
    try:
        network = syntax.net(spec.cidr)
    except InvalidInput as refused:
        report.error("spec.cidr", spec.cidr, refused.message)
        return
    report.check("/" in spec.cidr, "spec.cidr", spec.cidr, "must have a prefix length")
    for reserved in _LINK_LOCAL:
        if reserved.version == network.version and reserved.overlaps(network):
            report.error("spec.cidr", spec.cidr, f"overlaps the link-local range {reserved}")
    report.check(not ipip or network.version == 4, "spec.ipipMode", spec.ipip_mode, "is not possible with IPv6")
    low, high = _BLOCK_SIZES[network.version]
    report.within(low, high, "spec.blockSize", spec.block_size or None)
    block_size = spec.block_size or DEFAULT_BLOCK_SIZE[network.version]
    if not spec.disabled and network.prefixlen > block_size:
        report.error("spec.cidr", spec.cidr, f"is smaller than one block (/{block_size})")
