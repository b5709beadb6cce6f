"""The demonstration: build a lab, change policy, and hold every statement made to what packets and kernels say.

Each claim is checked; one that does not hold is printed as such, and the outcome is failure.
"""

from __future__ import annotations

import ipaddress
import signal
import time
from collections.abc import Callable, Iterator, Sequence

import msgspec
import yaml
from rich.console import Console

from calico.dataplane.links import Links
from calico.errors import CalicoError
from calico.lab.addressing import Layout, WorkloadPlan, plan_layout
from calico.lab.birdshow import ask_bird
from calico.lab.daemons import run_dir
from calico.lab.demo_story import SERVICES, STEPS, Step, demo_topology
from calico.lab.down import take_down
from calico.lab.probe.engine import measure
from calico.lab.probe.matrix import Row, lab_targets, plan_probes
from calico.lab.processes import alive, daemon_environment, signal_process, start_process
from calico.lab.registrar import Request, register
from calico.lab.state import LabState, lab_lock, save_state
from calico.lab.status import lab_status
from calico.lab.table import print_matrix, print_status
from calico.lab.up import Progress, bring_up
from calico.lab.wait import wait_ready
from calico.lib import packed

__all__ = ["Demo"]

_TIMEOUT_S = 45.0


class _PlainDumper(yaml.SafeDumper):
    """YAML as a person writes it: a value that occurs twice is written twice."""

    def ignore_aliases(self, data: object) -> bool:
        return True


class Demo:
    """One run. ``failures`` collects the claims that did not hold."""

    def __init__(self, name: str, console: Console, progress: Progress, *, reflectors: bool) -> None:
        self._topology = demo_topology(name, reflectors=reflectors)
        self._console = console
        self._progress = progress
        self.failures: list[str] = []

    def run(self) -> bool:
        """Show everything; whether all was as shown. The lab stays up: who called decides about its end."""
        take_down(self._topology.name)
        state, _ = bring_up(self._topology, self._progress)
        wait_ready(state, self._progress, _TIMEOUT_S)
        layout = plan_layout(state.topology)
        self._title("The lab: three hosts, six workloads, one client outside")
        status = lab_status(state)
        print_status(status, self._console)
        self._claim(bool(status["ready"]), "every host is in sync and every session is up")

        self._title("Before any policy: everybody reaches everybody")
        rows = self._measured(layout, lambda src, dst, port: True, ())
        for step in STEPS:
            state, rows = self._show_step(state, layout, step, rows)
        self._show_route(layout)
        self._show_crash(state, layout, rows)
        self._summary(layout.name)
        return not self.failures

    # ---- policy

    def _show_step(
        self, state: LabState, layout: Layout, step: Step, before: Sequence[Row]
    ) -> tuple[LabState, list[Row]]:
        self._title(f"Policy: {step.title}")
        self._console.print(f"{step.words}\n")
        spec = {"name": step.resource["metadata"]["name"], **step.resource["spec"]}
        text = yaml.dump(spec, Dumper=_PlainDumper, sort_keys=False, default_flow_style=None)
        self._console.print(text.rstrip(), style="cyan", markup=False)
        self._console.print()
        request = Request(
            endpoints=tuple(f"http://{endpoint}" for endpoint in layout.etcd_endpoints), apply=(step.resource,)
        )
        revision = register(layout.netns("gw"), request, daemon_environment(layout.name))
        state = msgspec.structs.replace(state, revision=revision)
        with lab_lock(layout.name):
            save_state(state)
        wait_ready(state, self._progress, _TIMEOUT_S)
        return state, self._measured(layout, step.allows, before)

    def _measured(
        self, layout: Layout, allows: Callable[[str, str, int | None], bool], before: Sequence[Row]
    ) -> list[Row]:
        """The matrix of workloads and the outside, printed, and each row held to what the policy means."""
        targets = [target for target in lab_targets(layout) if target.kind != "host"]
        rows = measure(targets, plan_probes(targets, SERVICES))
        old = {(r.src, r.dst, r.port, r.family): r.reachable for r in before}
        changed = [r for r in rows if old.get((r.src, r.dst, r.port, r.family), r.reachable) != r.reachable]
        print_matrix(rows, self._console, changed=changed)
        wrong = [row for row in rows if row.reachable != allows(row.src, row.dst, row.port)]
        for row in wrong[:5]:
            said = "passes" if row.reachable else "does not pass"
            self._console.print(f"  IPv{row.family} {row.src} to {row.dst} port {row.port} {said}", style="red")
        note = f"; {len(changed)} answers changed, marked *" if before else ""
        self._claim(not wrong, f"{len(rows)} probes over IPv4 and IPv6 answered as the policy means{note}")
        return rows

    # ---- routes

    def _show_route(self, layout: Layout) -> None:
        plan = layout.workloads[0]
        owner, far = plan.workload.host, layout.hosts[-1].host.name
        self._title(f"A route's way: {plan.workload.name} on {owner}, seen from {far}")
        for address in plan.addresses:
            here = self._kernel_route(layout, owner, address)
            self._console.print(f"  kernel of {owner}: {here or 'no route'}", markup=False)
            self._claim(plan.interface in here, f"Felix of {owner} routes {address} to {plan.interface}")
            try:
                lines = ask_bird(f"{run_dir(layout.name, owner)}/bird.ctl", f"show route for {address}")
            except CalicoError as error:
                lines = [str(error)]
            for line in lines:
                self._console.print(f"  BIRD of {owner}:   {line.strip()}", markup=False)
            self._claim(any(address in line for line in lines), f"BIRD of {owner} has learned it from the kernel")
            there = self._kernel_route(layout, far, address)
            self._console.print(f"  kernel of {far}: {there or 'no route'}", markup=False)
            uplink = layout.hosts[0].uplink
            via = uplink.address6 if ":" in address else uplink.address4
            self._claim(f"via {via}" in there or "via fe80" in there, f"{far} sends {address} to {owner}")

    def _kernel_route(self, layout: Layout, host: str, address: str) -> str:
        with Links(layout.netns(host)) as links:
            names = {link.index: link.name for link in links.all()}
            for route in links.routes():
                if route.hops and ipaddress.ip_network(packed.net_str(route.dst)) == ipaddress.ip_network(address):
                    hop = route.hops[0]
                    via = f"via {packed.addr_str(hop.gateway)} " if hop.gateway else ""
                    writer = {12: "bird", 80: "Felix"}.get(route.protocol, str(route.protocol))
                    return f"{packed.net_str(route.dst)} {via}dev {names.get(hop.oif, '?')} (by {writer})"
        return ""

    # ---- crash

    def _show_crash(self, state: LabState, layout: Layout, before: Sequence[Row]) -> None:
        victim = layout.hosts[1].host.name
        self._title(f"Felix of {victim} is killed: policy stays in the kernel")
        record = state.processes[f"felix/{victim}"]
        signal_process(record, signal.SIGKILL)
        self._claim(_ended(state, record.name), f"Felix of {victim} (pid {record.pid}) is dead")
        plans = {plan.workload.name for plan in _on(layout, victim)}
        rows = measure(
            [target for target in lab_targets(layout) if target.kind != "host"],
            [_probe(row) for row in before if {row.src, row.dst} & plans],
        )
        print_matrix(rows, self._console)
        expected = {_probe(row): row.reachable for row in before}
        self._claim(
            all(row.reachable == expected[_probe(row)] for row in rows),
            f"{len(rows)} new connections to and from {', '.join(sorted(plans))} are allowed and denied as before",
        )
        started = start_process(record, daemon_environment(layout.name))
        state = msgspec.structs.replace(state, processes={**state.processes, record.name: started})
        with lab_lock(layout.name):
            save_state(state)
        wait_ready(state, self._progress, _TIMEOUT_S)
        self._claim(alive(started), f"a new Felix (pid {started.pid}) is in sync again")

    # ---- telling

    def _title(self, text: str) -> None:
        self._console.print()
        self._console.rule(f"[bold]{text}", align="left")

    def _claim(self, holds: bool, text: str) -> None:
        if holds:
            self._console.print(f"  ok   {text}", style="green", markup=False)
        else:
            self._console.print(f"  FAIL {text}", style="bold red", markup=False)
            self.failures.append(text)

    def _summary(self, name: str) -> None:
        self._title("All as shown" if not self.failures else f"{len(self.failures)} claims did not hold")
        for failure in self.failures:
            self._console.print(f"  {failure}", style="red", markup=False)
        if self.failures:
            self._console.print(f"  logs are below {run_dir(name, '')}", markup=False)


def _on(layout: Layout, host: str) -> Iterator[WorkloadPlan]:
    return (plan for plan in layout.workloads if plan.workload.host == host)


def _probe(row: Row) -> Row:
    """The row without its answer, so that rows of two runs compare."""
    return msgspec.structs.replace(row, reachable=False)


def _ended(state: LabState, name: str) -> bool:
    deadline = time.monotonic() + 5
    while alive(state.processes[name]) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not alive(state.processes[name])
