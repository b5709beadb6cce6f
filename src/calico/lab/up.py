"""Bringing a lab up: wires, datastore, workloads, daemons, in the order in which least is waited for."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from calico.errors import Conflict, InvalidInput, NotFound, Transient
from calico.lab.addressing import Layout, plan_layout
from calico.lab.daemons import daemon_records, run_dir
from calico.lab.down import clear_away
from calico.lab.fabric import build_external, build_fabric, make_namespace
from calico.lab.openstack.controller import make_database, prepare_controller
from calico.lab.processes import alive, daemon_environment, last_words, start_process
from calico.lab.registrar import Request, register
from calico.lab.resources import endpoint_document, lab_documents
from calico.lab.router import external_config, gateway_config, tor_config
from calico.lab.state import LabState, ProcessRecord, lab_lock, load_state, save_state
from calico.lab.topology import Topology
from calico.lab.workloads import wire_workload

__all__ = ["Progress", "bring_up", "check_alive", "settled_topology"]

Progress = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and of how much."""


def bring_up(topology: Topology, progress: Progress) -> tuple[LabState, bool]:
    """Build and start a lab; (its state, whether it was made now).

    A lab that is up already from the same file is left alone; what a crash left behind is cleared away first.
    Conflict when a lab of that name runs from another file; Transient names what failed and its log file.
    """
    with lab_lock(topology.name):
        running = _running(topology)
        if running is not None:
            return running, False
        if clear_away(topology.name):
            progress("clearing away what was left of this lab", 1, 1)
        return _build(topology, progress), True


def settled_topology(layout: Layout) -> Topology:
    """The topology with every automatic address written out, so that adding and removing moves nothing."""
    workloads = tuple(msgspec.structs.replace(p.workload, addresses=p.addresses) for p in layout.workloads)
    externals = tuple(msgspec.structs.replace(p.external, addresses=p.addresses) for p in layout.externals)
    return msgspec.structs.replace(layout.topology, workloads=workloads, externals=externals)


def check_alive(state: LabState) -> None:
    """Transient naming the first process that has ended, with its log file and last words."""
    for record in state.processes.values():
        if record.pid and not alive(record):
            raise Transient(f"{record.name} has ended; log: {record.log}\n{last_words(record)}")


def _running(topology: Topology) -> LabState | None:
    try:
        state = load_state(topology.name)
    except (NotFound, InvalidInput):
        return None
    living = [alive(record) for record in state.processes.values()]
    if state.given != topology and any(living):
        raise Conflict(
            f"lab {topology.name!r} is up from another topology; `calico lab down {topology.name}` ends it, "
            "or give this one another --name"
        )
    return state if state.phase == "up" and all(living) else None


def _build(topology: Topology, progress: Progress) -> LabState:
    layout = plan_layout(topology)
    records = {record.name: record for record in daemon_records(layout)}
    state = LabState(topology=settled_topology(layout), given=topology, processes=records)
    save_state(state)
    with _many_files(), ThreadPoolExecutor(max_workers=4) as pool:
        _build_wires(layout, progress)
        _write_router_configs(layout)
        if topology.openstack is not None:
            progress("making an empty database", 0, 1)
            prepare_controller(layout)
        state = _start(state, ("etcd", "gateway", "bird", "postgres"), progress)
        registered = pool.submit(_register, layout)
        database = pool.submit(make_database, layout) if topology.openstack is not None else None
        for number, plan in enumerate(layout.workloads):
            progress("wiring workloads", number, len(layout.workloads))
            wire_workload(plan, layout.netns(plan.workload.host))
        state = _start(state, ("felix", "bgp", "openstack", "nova"), progress)
        progress("writing resources", 0, 1)
        revision = registered.result()
        progress("writing resources", 1, 1)
        if database is not None:
            progress("making Neutron's tables", 0, 1)
            database.result()
            state = _start(state, ("api", "workers"), progress)
    state = msgspec.structs.replace(state, revision=revision, phase="up")
    save_state(state)
    check_alive(state)
    return state


def _build_wires(layout: Layout, progress: Progress) -> None:
    names = layout.namespaces()
    leaves = {plan.workload.name for plan in layout.workloads} | {plan.external.name for plan in layout.externals}
    for number, (role, netns) in enumerate(names.items()):
        progress("making namespaces", number, len(names))
        make_namespace(netns, router=role not in leaves)
    progress("joining hosts", 0, 1)
    build_fabric(layout)
    for plan in layout.externals:
        build_external(layout, plan)
    progress("joining hosts", 1, 1)


def _write_router_configs(layout: Layout) -> None:
    configs = {"gw": gateway_config(layout, run_dir(layout.name, "gw"))}
    for rack in layout.racks:
        machine = f"tor-{rack.name}"
        configs[machine] = tor_config(layout, rack, run_dir(layout.name, machine))
    for plan in layout.externals:
        if plan.external.as_number is not None:
            name = plan.external.name
            configs[name] = external_config(plan, layout.topology.fabric.router_as, run_dir(layout.name, name))
    for machine, text in configs.items():
        directory = Path(run_dir(layout.name, machine))
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        (directory / "bird.conf").write_text(text)


def _start(state: LabState, kinds: tuple[str, ...], progress: Progress) -> LabState:
    """Start all processes of these kinds; their pids are in the state file when this returns."""
    environment = daemon_environment(state.topology.name)
    wanted = [record for record in state.processes.values() if record.kind in kinds]
    started: dict[str, ProcessRecord] = {}
    for number, record in enumerate(wanted):
        progress(f"starting {' and '.join(kinds)}", number, len(wanted))
        Path(record.log).parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        started[record.name] = start_process(record, environment)
    state = msgspec.structs.replace(state, processes={**state.processes, **started})
    save_state(state)
    return state


def _register(layout: Layout) -> int:
    documents = [*lab_documents(layout), *layout.topology.resources, *map(endpoint_document, layout.workloads)]
    request = Request(
        endpoints=tuple(f"http://{endpoint}" for endpoint in layout.etcd_endpoints),
        initialise=True,
        apply=tuple(documents),
    )
    return register(layout.netns("gw"), request, daemon_environment(layout.name))


@contextlib.contextmanager
def _many_files() -> Iterator[None]:
    """Allow as many open files as the system does: each namespace at work takes a few."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
