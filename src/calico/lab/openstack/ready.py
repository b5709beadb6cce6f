"""When is the cloud of a lab ready? When its API answers and every host is known to Neutron as alive."""

from __future__ import annotations

from collections.abc import Iterator

from calico.errors import CalicoError
from calico.lab.addressing import Layout
from calico.lab.daemons import run_dir
from calico.lab.openstack.api import open_api

__all__ = ["cloud_problems"]


def cloud_problems(layout: Layout) -> Iterator[str]:
    """What keeps the cloud from taking instances, as sentences that name the log file to read; none without a cloud."""
    if layout.controller is None:
        return
    directory = run_dir(layout.name, "controller")
    try:
        agents = open_api(layout).call("GET", "agents")["agents"]
    except CalicoError as error:
        yield f"{error}; log: {directory}/api.log"
        return
    alive = {agent["host"] for agent in agents if agent["alive"]}
    for plan in layout.hosts:
        if plan.host.name not in alive:
            yield f"Neutron does not know {plan.host.name} as alive; log: {directory}/workers.log"
