"""When is a lab ready? When every host has programmed what was written, and every route is in every kernel."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from calico.dataplane.links import Links
from calico.errors import CalicoError, Transient
from calico.lab.addressing import HostPlan, Layout, plan_layout
from calico.lab.daemons import run_dir
from calico.lab.openstack.ready import cloud_problems
from calico.lab.resources import endpoint_name
from calico.lab.state import LabState
from calico.lab.up import Progress, check_alive
from calico.lib import packed
from calico.netlink.rtnetlink.route import TYPE_UNICAST
from calico.obs.statussocket import read_status

__all__ = ["host_problems", "missing_routes", "read_daemon", "wait_ready"]

_POLL_S = 0.2


def wait_ready(state: LabState, progress: Progress, timeout_s: float) -> None:
    """Return when the lab, and its cloud, is ready; Transient naming what is not (and its log file) when time is up."""
    layout = plan_layout(state.topology)
    deadline = time.monotonic() + timeout_s
    while True:
        check_alive(state)
        problems = {plan.host.name: list(host_problems(state, layout, plan)) for plan in layout.hosts}
        ready = sum(not found for found in problems.values())
        progress("hosts in sync", ready, len(layout.hosts))
        open_points = [point for found in problems.values() for point in found]
        if not open_points:
            open_points = list(missing_routes(layout))
            progress("routes everywhere", len(layout.hosts) if not open_points else 0, len(layout.hosts))
        if not open_points and layout.controller is not None:
            open_points = list(cloud_problems(layout))
            progress("hosts known to Neutron", len(layout.hosts) if not open_points else 0, len(layout.hosts))
        if not open_points:
            return
        if time.monotonic() > deadline:
            more = f" (and {len(open_points) - 1} more)" if len(open_points) > 1 else ""
            raise Transient(f"lab {layout.name!r} is not ready after {timeout_s:.0f} s: {open_points[0]}{more}")
        time.sleep(_POLL_S)


def host_problems(state: LabState, layout: Layout, plan: HostPlan) -> Iterator[str]:
    """What keeps a host from being in sync, as sentences that name the log file to read."""
    name = plan.host.name
    directory = run_dir(layout.name, name)
    felix = read_daemon(layout.name, name, "felix")
    if not felix.get("in_sync") or int(felix.get("applied_revision", 0)) < state.revision:
        what = f"has applied revision {felix.get('applied_revision', 0)} of {state.revision}" if felix else "is silent"
        yield f"felix of {name} {what}; log: {directory}/felix.log"
    else:
        endpoints: dict[str, str] = felix.get("endpoints", {})
        for workload in layout.workloads:
            if workload.workload.host == name:
                key = f"{workload.workload.namespace}/{endpoint_name(workload)}"
                if endpoints.get(key) != "up":
                    told = endpoints.get(key, "unknown")
                    yield f"workload {workload.workload.name} on {name} is {told}; log: {directory}/felix.log"
    if not layout.topology.bgp:
        return
    bgp = read_daemon(layout.name, name, "bgp")
    if not bgp.get("in_sync"):
        yield f"bgp of {name} is not in sync; log: {directory}/bgp.log"
    for session in bgp.get("sessions", ()):
        if str(session.get("state", "")).lower() != "established":
            yield f"bgp session {session.get('name')} of {name} is {session.get('state')}; log: {directory}/bird.log"


def read_daemon(lab: str, machine: str, kind: str) -> dict[str, Any]:
    """The status document of a daemon; empty when it does not answer (yet)."""
    try:
        return read_status(Path(run_dir(lab, machine), f"{kind}.sock"))
    except CalicoError:
        return {}


def missing_routes(layout: Layout) -> Iterator[str]:
    """For each host and the router: workload addresses to which its kernel has no route but the default."""
    addresses = {a: plan.workload for plan in layout.workloads for a in plan.addresses}
    machines = {plan.host.name: plan.netns for plan in layout.hosts}
    machines |= {"gw": layout.netns("gw")} if layout.topology.bgp else {}
    for machine, netns in machines.items():
        with Links(netns) as links:
            nets = {packed.net_str(route.dst) for route in links.routes() if route.type == TYPE_UNICAST}
        known = [ipaddress.ip_network(net) for net in nets]
        specific = [net for net in known if net.prefixlen]
        for address, workload in addresses.items():
            ip = ipaddress.ip_address(address)
            if not any(ip.version == net.version and ip in net for net in specific):
                log = f"{run_dir(layout.name, machine)}/{'bird' if layout.topology.bgp else 'felix'}.log"
                yield f"{machine} has no route to {workload.name} ({address}); log: {log}"
