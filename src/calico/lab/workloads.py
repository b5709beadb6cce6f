"""Wiring workloads as an orchestrator does: a veth to the host, addresses as /32 and /128, one gateway for all.

Sysctls of the host side, the host's routes and policy are Felix's. Wiring follows the CNI plugin's order and values.
"""

from __future__ import annotations

from pathlib import Path

from calico.dataplane.links import Links
from calico.dataplane.netns import in_netns
from calico.lab.addressing import WorkloadPlan, link_local

__all__ = ["unwire_workload", "wire_workload"]

HOST_MAC = "ee:ee:ee:ee:ee:ee"
GATEWAY4 = "169.254.1.1"


def wire_workload(plan: WorkloadPlan, host_netns: str) -> None:
    """Join the workload's namespace (which exists) to its host's."""
    with Links(plan.netns) as inside:
        in_netns(plan.netns, lambda: _set("ipv6/conf/default/accept_dad", "0"))
        with Links(host_netns) as host:
            host.create_veth(
                plan.interface, "eth0", peer_netns=plan.netns, mac=_bytes(HOST_MAC), peer_mac=_bytes(plan.mac)
            )
        for address in plan.addresses:
            inside.add_address("eth0", f"{address}/{128 if ':' in address else 32}")
        if any(":" not in address for address in plan.addresses):
            inside.add_route(f"{GATEWAY4}/32", dev="eth0")
            inside.add_route("default", via=GATEWAY4, dev="eth0")
        if any(":" in address for address in plan.addresses):
            inside.add_route("default", via=link_local(HOST_MAC), dev="eth0")


def unwire_workload(plan: WorkloadPlan, host_netns: str) -> None:
    """Take the veth away; NotFound when it is gone already."""
    with Links(host_netns) as host:
        host.delete(plan.interface)


def _bytes(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def _set(path: str, value: str) -> None:
    Path("/proc/sys/net", path).write_text(value)
