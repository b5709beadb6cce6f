"""CalicoNodeStatus (spec §16.19)."""

from __future__ import annotations

from calico.model.nodestatus import CalicoNodeStatusSpec, NodeStatusStatus
from calico.model.validation import syntax
from calico.model.validation.conditions import timestamp
from calico.model.validation.report import Report

__all__ = ["check_node_status", "check_node_status_spec"]

CLASSES = ("Agent", "BGP", "Routes")
DAEMON_STATES = ("Ready", "NotReady")
PEER_TYPES = ("NodeMesh", "NodePeer", "GlobalPeer")
SESSION_STATES = ("Idle", "Connect", "Active", "OpenSent", "OpenConfirm", "Established", "Close")
ROUTE_TYPES = ("FIB", "RIB")
SOURCE_TYPES = ("Kernel", "Static", "Direct", "NodeMesh", "BGPPeer")
LONGEST_PERIOD_S = 86400


def check_node_status_spec(report: Report, spec: CalicoNodeStatusSpec) -> None:
    """Check what is asked."""
    report.check(spec.node, "spec.node", None, "is required")
    report.parses(syntax.name, "spec.node", spec.node)
    report.check(spec.classes, "spec.classes", None, f"is required: any of {', '.join(CLASSES)}")
    report.distinct(spec.classes, "spec.classes")
    for index, item in enumerate(spec.classes):
        report.check(item in CLASSES, f"spec.classes[{index}]", item, f"must be one of {', '.join(CLASSES)}")
    report.check(
        spec.update_period_seconds is not None, "spec.updatePeriodSeconds", None, "is required; 0 asks for one answer"
    )
    report.within(0, LONGEST_PERIOD_S, "spec.updatePeriodSeconds", spec.update_period_seconds)


def check_node_status(report: Report, status: NodeStatusStatus) -> None:
    """Check an answer."""
    report.means(timestamp, "status.lastUpdated", status.last_updated)
    for name, daemon in (("birdV4", status.agent.bird_v4), ("birdV6", status.agent.bird_v6)):
        report.one_of(DAEMON_STATES, f"status.agent.{name}.state", daemon.state)
    for name, peers in (("peersV4", status.bgp.peers_v4), ("peersV6", status.bgp.peers_v6)):
        for index, peer in enumerate(peers):
            where = f"status.bgp.{name}[{index}]"
            report.parses(syntax.address, f"{where}.peerIP", peer.peer_ip)
            report.one_of(PEER_TYPES, f"{where}.type", peer.type)
            report.one_of(SESSION_STATES, f"{where}.state", peer.state)
    for name, routes in (("routesV4", status.routes.routes_v4), ("routesV6", status.routes.routes_v6)):
        for index, route in enumerate(routes):
            where = f"status.routes.{name}[{index}]"
            report.one_of(ROUTE_TYPES, f"{where}.type", route.type)
            report.one_of(SOURCE_TYPES, f"{where}.learnedFrom.sourceType", route.learned_from.source_type)
            report.parses(syntax.address, f"{where}.learnedFrom.peerIP", route.learned_from.peer_ip)
