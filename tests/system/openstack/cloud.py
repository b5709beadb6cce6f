"""A cloud in a lab, as tests use it: Neutron's API, instances, and packets between them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

from calico.dataplane.netns import in_netns
from calico.errors import CalicoError
from calico.lab.addressing import Layout, plan_layout
from calico.lab.daemons import run_dir
from calico.lab.openstack import compute
from calico.lab.openstack.api import NeutronApi, open_api
from calico.lab.openstack.controller import ask_database, neutron_command, run_in_controller
from calico.lab.openstack.environment import find_environment
from calico.lab.openstack.instance import Instance
from calico.lab.processes import alive, daemon_environment, last_words, signal_process, start_process
from calico.lab.state import load_state, save_state
from calico.lab.wait import read_daemon

__all__ = ["Cloud", "Machine"]

Document = dict[str, Any]
_PATIENCE_S = 60.0
_CONNECT_S = 1.0
PORTS = (80, 443)


class Machine:
    """A namespace with servers: who connects to one of ``PORTS`` is told from which address it came."""

    def __init__(self, name: str, netns: str, address: str) -> None:
        self.name, self.netns, self.address = name, netns, address
        self._servers: list[socket.socket] = []

    def serve(self) -> None:
        for port in PORTS:
            for family, everywhere in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
                server = in_netns(
                    self.netns,
                    lambda family=family, at=(everywhere, port): socket.create_server(at, family=family, backlog=64),
                )
                self._servers.append(server)
                threading.Thread(target=_answer, args=(server,), daemon=True).start()

    def close(self) -> None:
        for server in self._servers:
            with contextlib.suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)
            server.close()

    def connects(self, to: str, port: int = 80, source: str = "") -> str:
        """From which address the server at ``to`` sees us; empty when it cannot be reached."""

        def ask() -> str:
            try:
                with socket.create_connection((to, port), _CONNECT_S, (source, 0) if source else None) as sock:
                    sock.settimeout(_CONNECT_S)
                    return sock.recv(64).decode()
            except OSError:
                return ""

        return in_netns(self.netns, ask)

    def run(self, *words: str) -> str:
        command = ["nsenter", f"--net=/run/netns/{self.netns}", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{words} in {self.name}: {done.stderr}{done.stdout}"
        return done.stdout


class Cloud:
    """The lab ``name``. Instances ``a`` and ``b`` are on compute1 and compute2 with a port on ``network`` each."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.layout: Layout = plan_layout(load_state(name).topology)
        self.api: NeutronApi = open_api(self.layout)
        external = self.layout.externals[0]
        self.outside = Machine("outside", external.netns, external.addresses[0])
        self.network: Document = {}
        self.subnet: Document = {}
        self.machines: dict[str, Machine] = {}

    def prepare(self) -> None:
        """One network, and the two instances."""
        self.network = self.api.create("network", name="blue")
        self.subnet = self.api.create(
            "subnet", network_id=self.network["id"], ip_version=4, cidr="10.65.0.0/24", dns_nameservers=["192.0.2.53"]
        )
        for name, host in (("a", "compute1"), ("b", "compute2")):
            self.boot(name, host)
        self.outside.serve()

    def close(self) -> None:
        for machine in (self.outside, *self.machines.values()):
            machine.close()

    # ---- what there is

    @property
    def a(self) -> Machine:
        return self.machines["a"]

    @property
    def b(self) -> Machine:
        return self.machines["b"]

    def instance(self, name: str) -> Instance:
        return load_state(self.name).instances[name]

    def port(self, name: str) -> Document:
        return self.api.port(self.instance(name).port)

    def events(self, name: str) -> list[str]:
        """What Nova was told of the port of an instance."""
        port = self.instance(name).port
        return [event["name"] for event in compute.events(self.layout) if event.get("tag") == port]

    # ---- what is done

    def boot(self, name: str, host: str, *, port: str = "", dhcp: bool = True) -> Machine:
        """``dhcp``: the instance has its IPv4 address by DHCP when this returns."""
        self.until(f"Neutron knows {host} as alive", lambda: self.agent(host)["alive"])
        network = "" if port else str(self.network["id"])
        instance = compute.boot(self.name, name, host, port=port, network=network, dhcp=dhcp)
        address = str(self.api.port(instance.port)["fixed_ips"][0]["ip_address"])
        machine = self.machines[name] = Machine(name, instance.netns, address)
        machine.serve()
        return machine

    def delete(self, name: str) -> None:
        self.machines.pop(name).close()
        compute.delete(self.name, name)

    def change(self, name: str, **fields: Any) -> None:
        self.api.update_port(self.instance(name).port, **fields)

    def group(self, *rules: Document) -> str:
        """A security group with these rules, beside what lets everything out."""
        group = str(self.api.create("security_group", name=f"g-{uuid.uuid4().hex[:8]}")["id"])
        for rule in rules:
            self.rule(group, **rule)
        return group

    def rule(self, group: str, **fields: Any) -> str:
        given = {"direction": "ingress", "ethertype": "IPv4", **fields}
        return str(self.api.create("security_group_rule", security_group_id=group, **given)["id"])

    @contextlib.contextmanager
    def with_groups(self, name: str, *groups: str) -> Iterator[None]:
        """The port of an instance has these groups for the length of a with block, and then the default one again."""
        before = self.port(name)["security_groups"]
        self.change(name, security_groups=list(groups))
        try:
            yield
        finally:
            self.change(name, security_groups=before)
            for group in groups:
                self.until(
                    f"group {group} is deleted", lambda group=group: self._try_delete(f"security-groups/{group}")
                )

    def _try_delete(self, path: str) -> bool:
        try:
            self.api.call("DELETE", path)
        except CalicoError:
            return False
        return True

    @contextlib.contextmanager
    def foreign_address(self, name: str, address: str) -> Iterator[None]:
        """An instance has an address that Neutron did not give it."""
        self.machines[name].run("ip", "addr", "add", f"{address}/32", "dev", "lo")
        try:
            yield
        finally:
            self.machines[name].run("ip", "addr", "del", f"{address}/32", "dev", "lo")

    def datagram_arrives(self, source: Machine, target: Machine, address: str) -> bool:
        """Whether a UDP datagram that ``source`` sends from ``address`` arrives; the answer could not."""

        def bound(to: str, port: int) -> socket.socket:
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.settimeout(_CONNECT_S)
            sock.bind((to, port))
            return sock

        with (
            in_netns(target.netns, lambda: bound("0.0.0.0", 0)) as receiver,
            in_netns(source.netns, lambda: bound(address, 0)) as sender,
        ):
            for _ in range(3):
                sender.sendto(b"hello", (target.address, receiver.getsockname()[1]))
            try:
                return receiver.recvfrom(64)[1][0] == address
            except TimeoutError:
                return False

    # ---- what is awaited

    def until(self, what: str, holds: Callable[[], object], timeout_s: float = _PATIENCE_S) -> Any:
        """The first true answer; AssertionError with what was awaited and the last words of the controller."""
        deadline = time.monotonic() + timeout_s
        while not (answer := holds()):
            if time.monotonic() > deadline:
                records = load_state(self.name).processes
                words = "\n".join(last_words(records[f"{kind}/controller"], 12) for kind in ("workers", "api"))
                raise AssertionError(f"not within {timeout_s:g} s: {what}\n{words}")
            time.sleep(0.05)
        return answer

    def opens(self, source: Machine, to: str, port: int = 80) -> None:
        self.until(f"{source.name} reaches {to}:{port}", lambda: source.connects(to, port))

    def closes(self, source: Machine, to: str, port: int = 80) -> None:
        self.until(f"{source.name} does not reach {to}:{port}", lambda: not source.connects(to, port))

    def becomes(self, name: str, status: str) -> None:
        self.until(f"the port of {name} is {status}", lambda: self.port(name)["status"] == status)

    def settle(self) -> None:
        self.until(
            "the journal is drained",
            lambda: ask_database(self.layout, "SELECT count(*) FROM calico_journal") == [["0"]],
        )

    # ---- what goes wrong

    def kill_felix(self, host: str) -> None:
        signal_process(load_state(self.name).processes[f"felix/{host}"], signal.SIGKILL)

    def start_felix(self, host: str) -> None:
        state = load_state(self.name)
        record = state.processes[f"felix/{host}"]
        if alive(record):
            return
        state.processes[record.name] = start_process(record, daemon_environment(self.name))
        save_state(state)

    def agent(self, host: str) -> Document:
        found: list[Document] = self.api.call("GET", f"agents?host={host}")["agents"]
        return found[0]

    def felix(self, host: str) -> Document:
        return read_daemon(self.name, host, "felix")

    def resync(self) -> Document:
        """What `calico openstack resync --dry-run` finds, run by Neutron's environment on the controller."""
        self.settle()
        command = neutron_command(self.layout, "calico", "openstack", "resync", "--dry-run", "-o", "json")
        done = run_in_controller(self.layout, command)
        assert done.stdout, f"resync ended with {done.returncode}: {done.stderr[-2000:]}"
        found: Document = json.loads(done.stdout)
        return found


def needed() -> str:
    """What keeps a cloud from running here, with the fix; empty when nothing does."""
    if os.geteuid() != 0:
        return "needs root with CAP_NET_ADMIN"
    try:
        find_environment()
    except CalicoError as error:
        return str(error)
    return ""


def log_of(lab: str, host: str, daemon: str) -> str:
    """Where a daemon of a host logs."""
    return f"{run_dir(lab, host)}/{daemon}.log"


def _answer(server: socket.socket) -> None:
    while True:
        try:
            client, address = server.accept()
        except OSError:
            return
        with client, contextlib.suppress(OSError):
            client.sendall(address[0].encode())
