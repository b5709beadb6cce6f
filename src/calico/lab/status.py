"""What a lab consists of and how each part is: every namespace, pid, address and log file, as one document."""

from __future__ import annotations

from typing import Any

import msgspec

from calico.lab.addressing import HostPlan, Layout, plan_layout
from calico.lab.core import member_states
from calico.lab.daemons import run_dir
from calico.lab.openstack.instance import Instance
from calico.lab.processes import alive
from calico.lab.resources import endpoint_name
from calico.lab.state import LabState, ProcessRecord, lab_dir
from calico.lab.wait import host_problems, read_daemon

__all__ = ["lab_status"]

Document = dict[str, Any]


def lab_status(state: LabState) -> Document:
    """The status document.

    ``ready`` is true when every host is in sync, every process runs and every member of etcd has a leader.
    """
    layout = plan_layout(state.topology)
    hosts = [_host(state, layout, plan) for plan in layout.hosts]
    members = member_states(state, layout)
    processes = [_process(record) for record in state.processes.values()]
    return {
        "name": layout.name,
        "phase": state.phase,
        "ready": all(host["in_sync"] for host in hosts)
        and all(process["running"] for process in processes)
        and all(member.raft in ("leader", "follower") and not member.cut_off_from for member in members),
        "directory": str(lab_dir(layout.name)),
        "revision": state.revision,
        "fabric": _fabric(layout),
        "etcd": [msgspec.to_builtins(member) for member in members],
        "hosts": hosts,
        "workloads": [_workload(layout, index) for index in range(len(layout.workloads))],
        "externals": [
            {"name": plan.external.name, "netns": plan.netns, "addresses": list(plan.addresses)}
            for plan in layout.externals
        ],
        "instances": [_instance(instance) for instance in state.instances.values()],
        "processes": processes,
        "netns": {**layout.namespaces(), **{one.name: one.netns for one in state.instances.values()}},
    }


def _fabric(layout: Layout) -> Document:
    routers = [{"name": "gw", "netns": layout.netns("gw"), "address": layout.gateway.address4}]
    routers += [{"name": f"tor-{r.name}", "netns": r.netns, "address": r.inside.address4} for r in layout.racks]
    kind = layout.topology.fabric.type
    distribution = "tor" if layout.racks else "reflectors" if layout.topology.reflectors else "mesh"
    return {"type": kind, "netns": layout.netns("fabric"), "routers": routers, "bgp": distribution}


def _host(state: LabState, layout: Layout, plan: HostPlan) -> Document:
    name = plan.host.name
    problems = list(host_problems(state, layout, plan))
    sessions = read_daemon(layout.name, name, "bgp").get("sessions", [])
    return {
        "name": name,
        "netns": plan.netns,
        "addresses": [plan.uplink.address4, plan.uplink.address6],
        "as": plan.as_number,
        "reflector": plan.host.reflector,
        "rack": plan.host.rack,
        "in_sync": not problems,
        "problems": problems,
        "sessions_up": sum(str(s.get("state", "")).lower() == "established" for s in sessions),
        "sessions": len(sessions),
        "run_dir": run_dir(layout.name, name),
        "logs": {kind: f"{run_dir(layout.name, name)}/{kind}.log" for kind in ("felix", "bgp", "bird", "gateway")},
    }


def _workload(layout: Layout, index: int) -> Document:
    plan = layout.workloads[index]
    workload = plan.workload
    key = f"{workload.namespace}/{endpoint_name(plan)}"
    return {
        "name": workload.name,
        "netns": plan.netns,
        "host": workload.host,
        "namespace": workload.namespace,
        "labels": dict(workload.labels),
        "addresses": list(plan.addresses),
        "interface": plan.interface,
        "mac": plan.mac,
        "endpoint": endpoint_name(plan),
        "status": read_daemon(layout.name, workload.host, "felix").get("endpoints", {}).get(key, "unknown"),
    }


def _instance(instance: Instance) -> Document:
    """What the lab knows of it by itself; addresses and status are Neutron's."""
    return {
        "name": instance.name,
        "netns": instance.netns,
        "host": instance.host,
        "port": instance.port,
        "device": instance.device,
        "interface": instance.tap,
        "mac": instance.mac,
    }


def _process(record: ProcessRecord) -> Document:
    return {
        "name": record.name,
        "kind": record.kind,
        "machine": record.machine,
        "netns": record.netns,
        "pid": record.pid,
        "running": alive(record),
        "log": record.log,
    }
