"""Adding workloads to and removing them from a lab that runs, as an orchestrator would."""

from __future__ import annotations

from contextlib import suppress

import msgspec

from calico.dataplane.netns import delete_netns
from calico.errors import AlreadyExists, NotFound
from calico.lab.addressing import Layout, WorkloadPlan, plan_layout
from calico.lab.down import lab_namespaces
from calico.lab.fabric import make_namespace
from calico.lab.processes import daemon_environment, end_processes, find_processes
from calico.lab.registrar import Request, register
from calico.lab.resources import endpoint_document, endpoint_name
from calico.lab.state import LabState, lab_lock, load_state, save_state
from calico.lab.topology import Workload, check_topology
from calico.lab.up import settled_topology
from calico.lab.workloads import unwire_workload, wire_workload

__all__ = ["add_workload", "remove_workload"]


def add_workload(lab: str, workload: Workload) -> LabState:
    """Wire and register one more workload. AlreadyExists when its name is taken, InvalidInput when it cannot be."""
    with lab_lock(lab):
        state = load_state(lab)
        if any(known.name == workload.name for known in state.topology.workloads):
            raise AlreadyExists(f"lab {lab!r} has a workload {workload.name!r}")
        wanted = msgspec.structs.replace(state.topology, workloads=(*state.topology.workloads, workload))
        layout = plan_layout(check_topology(wanted))
        plan = layout.workloads[-1]
        state = msgspec.structs.replace(state, topology=settled_topology(layout))
        save_state(state)  # before it is made, so that whatever happens it is known
        make_namespace(plan.netns, router=False)
        wire_workload(plan, layout.netns(workload.host))
        return _written(state, layout, Request(endpoints=(), apply=(endpoint_document(plan),)))


def remove_workload(lab: str, name: str) -> LabState:
    """Delete a workload's endpoint, then its link, processes and namespace. NotFound when there is none."""
    with lab_lock(lab):
        state = load_state(lab)
        layout = plan_layout(state.topology)
        plan = _plan_of(layout, name)
        key = ("WorkloadEndpoint", plan.workload.namespace, endpoint_name(plan))
        state = _written(state, layout, Request(endpoints=(), delete=(key,)))
        with suppress(NotFound):
            unwire_workload(plan, layout.netns(plan.workload.host))
        if plan.netns in lab_namespaces(lab):
            end_processes(lambda: find_processes("", [plan.netns], []))
            delete_netns(plan.netns)
        left = tuple(known for known in state.topology.workloads if known.name != name)
        state = msgspec.structs.replace(state, topology=msgspec.structs.replace(state.topology, workloads=left))
        save_state(state)
        return state


def _plan_of(layout: Layout, name: str) -> WorkloadPlan:
    for plan in layout.workloads:
        if plan.workload.name == name:
            return plan
    known = ", ".join(plan.workload.name for plan in layout.workloads)
    raise NotFound(f"lab {layout.name!r} has no workload {name!r}; it has {known}")


def _written(state: LabState, layout: Layout, request: Request) -> LabState:
    endpoints = tuple(f"http://{endpoint}" for endpoint in layout.etcd_endpoints)
    addressed = msgspec.structs.replace(request, endpoints=endpoints)
    revision = register(layout.netns("gw"), addressed, daemon_environment(layout.name))
    state = msgspec.structs.replace(state, revision=revision)
    save_state(state)
    return state
