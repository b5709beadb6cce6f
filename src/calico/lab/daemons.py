"""Which processes a lab consists of, as records ready to be started. Pure but for the path of this interpreter."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

from calico.datastore.core.cluster import Core, gateway_argv, member_config
from calico.datastore.etcd.server import etcd_argv
from calico.lab.addressing import HostPlan, Layout
from calico.lab.openstack.controller import agent_record, controller_records
from calico.lab.state import ProcessRecord, lab_dir

__all__ = ["PROXY_URL", "daemon_records", "felix_record", "run_dir"]

PROXY_URL = "http://127.0.0.1:2379"


def run_dir(lab: str, machine: str) -> str:
    """Where the daemons of a host or router keep sockets, configuration and logs."""
    return str(lab_dir(lab) / machine)


def daemon_records(layout: Layout) -> Iterator[ProcessRecord]:
    """Every process of the lab, in the order in which they should start."""
    yield from _etcd(layout)
    for plan in layout.hosts:
        yield _gateway(layout, plan)
    yield _bird(layout, "gw", layout.netns("gw"))
    for rack in layout.racks:
        yield _bird(layout, f"tor-{rack.name}", rack.netns)
    for external in layout.externals:
        if external.external.as_number is not None:
            yield _bird(layout, external.external.name, external.netns)
    for plan in layout.hosts:
        yield felix_record(layout.name, plan)
        # addresses of a cloud are in no pool of Calico's
        mode = ("--export-mode", "interfaces") if layout.topology.openstack is not None else ()
        yield _agent(layout.name, plan, "bgp", *mode)
    if layout.topology.openstack is not None:
        for plan in layout.hosts:
            yield agent_record(layout, plan, PROXY_URL)
        yield from controller_records(layout)


def felix_record(lab: str, plan: HostPlan) -> ProcessRecord:
    """The Felix of a host."""
    return _agent(lab, plan, "felix")


def _agent(lab: str, plan: HostPlan, kind: str, *more: str) -> ProcessRecord:
    directory = run_dir(lab, plan.host.name)
    log = f"{directory}/{kind}.log"
    options = ("--node", plan.host.name, "--etcd-endpoints", PROXY_URL, "--run-dir", directory, "--log-file", log)
    argv = (sys.executable, "-m", "calico", kind, *options, *more)
    return ProcessRecord(
        kind="felix" if kind == "felix" else "bgp", machine=plan.host.name, netns=plan.netns, argv=argv, log=log
    )


def _core(layout: Layout) -> Core:
    """The core as its file would describe it."""
    members = {f"etcd{i + 1}": end.address4 for i, end in enumerate(layout.etcd)}
    return Core(members=members, token=layout.name)


def _etcd(layout: Layout) -> Iterator[ProcessRecord]:
    """The core. Nothing of it outlives the lab, so it may skip fsync; a short election makes it ready at once."""
    core = _core(layout)
    for name in core.members:
        directory = run_dir(layout.name, name)
        config = msgspec.structs.replace(
            member_config(core, name),
            data_dir=Path(directory) / "data",
            also_listen=("http://127.0.0.1:2379",),
            election_ms=500,
            unsafe_no_fsync=True,
        )
        argv = tuple(etcd_argv(config, "etcd"))
        yield ProcessRecord(kind="etcd", machine=name, netns=layout.netns(name), argv=argv, log=f"{directory}/etcd.log")


def _gateway(layout: Layout, plan: HostPlan) -> ProcessRecord:
    argv = tuple(gateway_argv(_core(layout), PROXY_URL.removeprefix("http://")))
    log = f"{run_dir(layout.name, plan.host.name)}/gateway.log"
    return ProcessRecord(kind="gateway", machine=plan.host.name, netns=plan.netns, argv=argv, log=log)


def _bird(layout: Layout, machine: str, netns: str) -> ProcessRecord:
    directory = run_dir(layout.name, machine)
    argv = ("bird", "-f", "-c", f"{directory}/bird.conf", "-s", f"{directory}/bird.ctl", "-P", f"{directory}/bird.pid")
    return ProcessRecord(kind="bird", machine=machine, netns=netns, argv=argv, log=f"{directory}/bird.log")
