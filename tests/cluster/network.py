"""A whole cluster in the lab: hosts with Felix and BGP, a real API server, our controllers, pods as plain namespaces.

The control plane and the controllers run on the router ("gw"), which reaches hosts and etcd. Everything lies below the
lab's name, so that ``calico lab down`` finds it after a crash as well.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from calico.lab.addressing import netns_name, plan_layout
from calico.lab.daemons import PROXY_URL, run_dir
from calico.lab.down import take_down
from calico.lab.processes import daemon_environment
from calico.lab.topology import Topology
from calico.lab.up import bring_up
from calico.lab.wait import read_daemon, wait_ready
from cluster.control_plane import ControlPlane
from cluster.controllers import Controllers
from cluster.datastore import Datastore
from cluster.mirrored import differences
from cluster.plain import PlainHost, PlainPod
from stack.process import until

__all__ = ["Network"]


class Network:
    """Entered: the control plane answers, the controllers lead, every host takes pods."""

    def __init__(self, topology: Topology, **options: Any) -> None:
        self.topology, self._options = topology, options
        self._stack = contextlib.ExitStack()
        self.pods: dict[str, PlainPod] = {}

    def __enter__(self) -> Network:
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _start(self) -> None:
        lab = self.topology.name
        self._stack.callback(take_down, lab)
        state, _ = bring_up(self.topology, lambda *_: None)
        self.layout = layout = plan_layout(state.topology)
        environment, router = daemon_environment(lab), layout.netns("gw")
        plane = ControlPlane(
            Path(run_dir(lab, "kubernetes")), router, layout.hosts[0].uplink.via4, env=environment, **self._options
        )
        (plane.directory / "labs").write_text(lab)  # for the guard
        self.plane = self._stack.enter_context(plane)
        etcd = [f"http://{endpoint}" for endpoint in layout.etcd_endpoints]
        self.datastore = Datastore(router, etcd)
        self.controllers = Controllers(plane, router, ",".join(etcd), env=environment)
        self._stack.callback(self.controllers.close)
        self.controllers.start()
        wait_ready(state, lambda *_: None, 60)
        self.hosts = {plan.host.name: self._host(plan.host.name, plan.netns) for plan in layout.hosts}
        self.settle()

    def at_end(self, end: Callable[[], object]) -> None:
        """Called before anything of the network ends."""
        self._stack.callback(end)

    def _host(self, name: str, netns: str) -> PlainHost:
        lab = self.topology.name
        directory = Path(run_dir(lab, name))
        host = PlainHost(
            self.plane, directory / "cni", netns, name, etcd=PROXY_URL, run_dir=directory, env=daemon_environment(lab)
        )
        self._stack.callback(host.close)
        host.start()
        return host

    def run(self, node: str, pod: Mapping[str, Any]) -> PlainPod:
        """A pod on a host, attached."""
        made = self.place(node, pod)
        made.attach()
        return made

    def place(self, node: str, pod: Mapping[str, Any]) -> PlainPod:
        """A pod that is bound to a host and not attached yet."""
        metadata = pod["metadata"]
        name = f"{metadata['namespace']}-{metadata['name']}"
        made = PlainPod(self.hosts[node], pod, netns_name(self.topology.name, f"pod-{name}"))
        made.create()
        self.pods[name] = made
        return made

    def delete(self, pod: PlainPod) -> None:
        """Nothing of it is left in the API or on its host."""
        pod.delete()
        self.pods = {name: other for name, other in self.pods.items() if other is not pod}

    def settle(self, timeout_s: float = 30) -> int:
        """The revision at which the datastore says what the API says now; every host has it in its kernel by then."""
        found: list[str] = []

        def mirrored() -> bool:
            found[:] = differences(self.plane.api, self.datastore)
            return not found

        def words() -> str:
            return "\n".join([*found, self.controllers.process.last_words()])

        until("the datastore says what the API says", mirrored, timeout_s, dump=words)
        revision = self.datastore.mark()
        deadline = time.monotonic() + timeout_s
        for host in self.hosts:
            while read_daemon(self.topology.name, host, "felix").get("applied_revision", 0) < revision:
                assert time.monotonic() < deadline, f"{host} does not reach revision {revision}"
                time.sleep(0.02)
        return revision
