"""Labs for the tests of resilience: what is brought up, changed, killed, started again and measured."""

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from calico.lab.addressing import Layout, WorkloadPlan, plan_layout
from calico.lab.daemons import run_dir
from calico.lab.down import take_down
from calico.lab.probe.engine import measure
from calico.lab.probe.flow import FlowReport, FlowSettings, Prober
from calico.lab.probe.matrix import Probe, Target, lab_targets, plan_probes
from calico.lab.processes import alive, daemon_environment, signal_process, start_process
from calico.lab.registrar import Request, register
from calico.lab.state import load_state, save_state
from calico.lab.status import lab_status
from calico.lab.topology import parse_topology
from calico.lab.up import bring_up
from calico.lab.wait import missing_routes, read_daemon, wait_ready

Document = dict[str, Any]

READY_S = 90.0
RATE = 500


def document(kind: str, name: str, **spec: Any) -> Document:
    return {"apiVersion": "projectcalico.org/v3", "kind": kind, "metadata": {"name": name}, "spec": spec}


def global_policy(name: str, selector: str, *, ingress: Iterable[Document] = (), **more: Any) -> Document:
    return document("GlobalNetworkPolicy", name, selector=selector, ingress=list(ingress), **more)


def lost(report: FlowReport) -> str:
    """Empty when nothing was lost and the TCP connection lived; else what happened, for a message."""
    tcp = not report.tcp_connected or report.tcp_broken or not report.tcp_echoed
    if report.received == report.sent and not tcp:
        return ""
    return f"{report.sent - report.received} of {report.sent} packets lost: {report}"


class ResilienceLab:
    """A lab that is up: everything is asked for by the names of its topology file."""

    document = staticmethod(document)
    global_policy = staticmethod(global_policy)

    def __init__(self, name: str) -> None:
        self.name = name

    # ---- what there is

    @property
    def layout(self) -> Layout:
        return plan_layout(load_state(self.name).topology)

    @property
    def targets(self) -> list[Target]:
        return lab_targets(self.layout)

    @property
    def hosts(self) -> list[str]:
        return [plan.host.name for plan in self.layout.hosts]

    def workload(self, name: str) -> WorkloadPlan:
        return next(plan for plan in self.layout.workloads if plan.workload.name == name)

    def address(self, name: str, family: int = 4) -> str:
        found = next(target for target in self.targets if target.name == name).address(family)
        assert found is not None
        return found

    def status(self, machine: str, kind: str) -> dict[str, Any]:
        return read_daemon(self.name, machine, kind)

    def members(self) -> list[Document]:
        """The members of etcd, as `calico lab status` shows them."""
        members: list[Document] = lab_status(load_state(self.name))["etcd"]
        return members

    def bird_pid(self, machine: str) -> int:
        return int(Path(run_dir(self.name, machine), "bird.pid").read_text())

    def sessions_down(self, machine: str) -> list[str]:
        """What keeps the BGP of a host from being whole; empty when its BIRD runs and every session is up."""
        status = self.status(machine, "bgp")
        if not status.get("in_sync") or status["bird"]["state"] != "up" or not status["sessions"]:
            return [f"{machine}: {status.get('bird', 'its agent is silent')}"]
        return [f"{machine}: {s['name']} is {s['state']}" for s in status["sessions"] if s["state"] != "Established"]

    def routes(self, machine: str, address: str) -> list[Document]:
        """The routes of a machine's kernel to exactly this address, in any table."""
        length = 128 if ":" in address else 32
        return self._ip(machine, ["-6" if ":" in address else "-4", "route", "show", f"{address}/{length}"])

    def close_way_round(self) -> None:
        """Let a packet to a workload whose route is missing end at its host.

        The default route would take it to the router, which knows the way, and nobody would see the loss. Of the
        kernel's own protocol, because BIRD would tell others of any other.
        """
        for machine in self.hosts:
            for pool in self.layout.topology.pools:
                route = ["unreachable", pool.cidr, "metric", "999999", "proto", "kernel"]
                subprocess.run(
                    [
                        "ip",
                        "-n",
                        self.layout.netns(machine),
                        "-6" if ":" in pool.cidr else "-4",
                        "route",
                        "add",
                        *route,
                    ],
                    check=True,
                )

    def has_route(self, machine: str, prefix: str) -> bool:
        """Whether a machine's kernel has a route to exactly this prefix."""
        return bool(self._ip(machine, ["-6" if ":" in prefix else "-4", "route", "show", prefix]))

    def path(self, machine: str, address: str) -> Document:
        """How a machine's kernel would send a packet there: ``dev`` and, unless it is on the link, ``gateway``."""
        found = self._ip(machine, ["route", "get", address])
        return found[0] if found else {}

    def _ip(self, machine: str, arguments: list[str]) -> list[Document]:
        netns = self.layout.netns(machine)
        done = subprocess.run(
            ["nsenter", f"--net=/run/netns/{netns}", "ip", "-j", *arguments], capture_output=True, check=False
        )
        return json.loads(done.stdout) if done.returncode == 0 and done.stdout.strip() else []

    # ---- changing it

    def write(self, *documents: Document, delete: Iterable[tuple[str, str, str]] = ()) -> int:
        """Apply and delete resources; the revision of the last write."""
        layout = self.layout
        endpoints = tuple(f"http://{endpoint}" for endpoint in layout.etcd_endpoints)
        request = Request(endpoints=endpoints, apply=documents, delete=tuple(delete))
        return register(layout.netns("gw"), request, daemon_environment(self.name))

    def programmed(self, *documents: Document, delete: Iterable[tuple[str, str, str]] = ()) -> None:
        """``write``, and return when every host has programmed it."""
        self.await_revision(self.write(*documents, delete=delete))

    def put_raw(self, key: str, value: str | None) -> int:
        """Store, or delete, a key that belongs to no resource, by the datastore's own tool; its revision."""
        command = ["del", key] if value is None else ["put", key, value]
        layout = self.layout
        done = subprocess.run(
            ["nsenter", f"--net=/run/netns/{layout.netns('gw')}", "etcdctl", "-w", "json", *command],
            env={**os.environ, "ETCDCTL_API": "3", "ETCDCTL_ENDPOINTS": ",".join(layout.etcd_endpoints)},
            capture_output=True,
            check=True,
        )
        return int(json.loads(done.stdout)["header"]["revision"])

    def await_bgp(self, revision: int = 0, machine: str = "") -> None:
        """Return when every host has all sessions and routes, and its BIRD (or one's) what the datastore said then."""

        def is_whole(name: str, least: int) -> bool:
            reached = self.status(name, "bgp").get("config_revision", 0) >= least
            return reached and not self.sessions_down(name)

        for name in self.hosts:
            least = revision if machine in ("", name) else 0
            self.until(
                lambda name=name, least=least: is_whole(name, least),
                f"BGP of {name} is not whole at revision {least}",
            )
        self.until(lambda: not self.missing_routes(), "routes are missing")

    def await_revision(self, revision: int, machines: Iterable[str] = ()) -> None:
        for machine in tuple(machines) or self.hosts:
            self.until(
                lambda machine=machine: self.status(machine, "felix").get("applied_revision", 0) >= revision,
                f"{machine} does not reach revision {revision}",
            )

    def ready(self) -> None:
        """Return when every host has programmed what the lab wrote and every route is everywhere."""
        wait_ready(load_state(self.name), lambda *_: None, READY_S)

    def missing_routes(self) -> list[str]:
        return list(missing_routes(self.layout))

    def kill(self, process: str) -> None:
        """SIGKILL a recorded process, such as ``felix/host1``; return when it has ended."""
        record = load_state(self.name).processes[process]
        assert alive(record), f"{process} does not run"
        signal_process(record, signal.SIGKILL)
        self.until(lambda: not alive(record), f"{process} survives SIGKILL")

    def start(self, process: str) -> None:
        """Start a recorded process that has ended, as it was started first."""
        state = load_state(self.name)
        state.processes[process] = start_process(state.processes[process], daemon_environment(self.name))
        save_state(state)

    def kill_bird(self, machine: str, number: signal.Signals = signal.SIGKILL) -> int:
        """End the BIRD of a host by a signal; the pid it had."""
        pid = self.bird_pid(machine)
        assert Path(f"/proc/{pid}/comm").read_text().strip() == "bird"
        os.kill(pid, number)
        return pid

    # ---- measuring it

    def reachable(
        self,
        sources: Iterable[str],
        destinations: Iterable[str],
        services: Iterable[tuple[str, int | None]] = (("TCP", 80), ("UDP", 53), ("ICMP", None)),
    ) -> dict[Probe, bool]:
        probes = plan_probes(
            self.targets, tuple(services), sources=frozenset(sources), destinations=frozenset(destinations)
        )
        wanted = list(probes)
        assert wanted, "nothing to measure"
        rows = measure(self.targets, wanted)
        return {probe: row.reachable for probe, row in zip(wanted, rows, strict=True)}

    def closed(self, *arguments: Any) -> list[Probe]:
        """Probes that are not answered; see ``reachable``."""
        return [probe for probe, answered in self.reachable(*arguments).items() if not answered]

    def opened(self, *arguments: Any) -> list[Probe]:
        """Probes that are answered; see ``reachable``."""
        return [probe for probe, answered in self.reachable(*arguments).items() if answered]

    def flow(self, src: str, dst: str, family: int, *, port: int, rate: int = RATE, at_least: int = 0) -> Prober:
        names = {target.name: target for target in self.targets}
        return Prober(
            FlowSettings(
                src_netns=names[src].netns,
                dst_netns=names[dst].netns,
                address=self.address(dst, family),
                source=self.address(src, family),
                port=port,
                rate=rate,
                at_least=at_least,
            )
        )

    @contextlib.contextmanager
    def traffic(
        self,
        allowed: Iterable[tuple[str, str, int]],
        forbidden: Iterable[tuple[str, str, int]] = (),
        *,
        rate: int = RATE,
        at_least: int = 0,
    ) -> Any:
        """Flows (src, dst, family) for as long as the block, and until ``at_least`` so many packets were sent:
        afterwards the allowed ones have lost nothing, the forbidden ones (to another port) brought nothing across."""
        passing = {
            flow: self.flow(*flow, port=7100 + number, rate=rate, at_least=at_least)
            for number, flow in enumerate(allowed)
        }
        stopped = {flow: self.flow(*flow, port=7008, rate=100) for flow in forbidden}
        with contextlib.ExitStack() as stack:
            for prober in (*passing.values(), *stopped.values()):
                stack.enter_context(prober)
            time.sleep(1.0)
            yield
            time.sleep(1.0)
        for flow, prober in passing.items():
            assert not lost(prober.report), f"{flow}: {lost(prober.report)}"
        for flow, prober in stopped.items():
            assert prober.report.sent > 0
            assert prober.report.received == 0, f"{flow} passed: {prober.report}"
            assert not prober.report.tcp_connected, f"{flow} connected by TCP"

    @staticmethod
    def until(condition: Callable[[], Any], message: str, timeout_s: float = 60.0) -> None:
        """Return when the condition holds; fail with the message when that takes too long."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, message
            time.sleep(0.05)


@contextlib.contextmanager
def running_lab(topology: Document) -> Iterator[ResilienceLab]:
    wanted = parse_topology(json.dumps(topology))
    with contextlib.ExitStack() as stack:
        stack.callback(take_down, wanted.name)
        begin = time.monotonic()
        state, made = bring_up(wanted, lambda *_: None)
        assert made
        wait_ready(state, lambda *_: None, READY_S)
        print(f"lab {wanted.name}: {len(wanted.hosts)} hosts ready after {time.monotonic() - begin:.1f} s")
        lab = ResilienceLab(wanted.name)
        lab.close_way_round()
        yield lab


@pytest.fixture(scope="session")
def start_lab() -> Callable[[Document], contextlib.AbstractContextManager[ResilienceLab]]:
    """Brings up the lab of a topology document and, after the block, takes it down."""
    return running_lab


@pytest.fixture(scope="module")
def mesh() -> Iterator[ResilienceLab]:
    """Three hosts in a full mesh with a server and a client each, and an external; policy by label guards servers.

    Servers let in everything from clients but port 7008; everything else towards them is refused.
    """
    hosts = ["host1", "host2", "host3"]
    workloads = [
        {"name": f"{role}{number}", "host": host, "labels": {"app": role}}
        for number, host in enumerate(hosts, 1)
        for role in ("server", "client")
    ]
    forbidden = [
        {"action": "Deny", "protocol": protocol, "destination": {"ports": [7008]}} for protocol in ("TCP", "UDP")
    ]
    guard = global_policy(
        "servers",
        "app == 'server'",
        order=100,
        types=["Ingress"],
        ingress=[*forbidden, {"action": "Allow", "source": {"selector": "app == 'client'"}}],
    )
    topology = {
        "name": "resilience",
        "hosts": [{"name": name} for name in hosts],
        "workloads": workloads,
        "externals": [{"name": "outside"}],
        "resources": [guard],
    }
    with running_lab(topology) as lab:
        yield lab
