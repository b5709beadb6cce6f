"""One host with a real etcd and Felix, workloads behind veths, and a network outside, all in namespaces.

Flows are written as text: ``a>b tcp:80``; ``x>a``: from outside; ``h``: the host itself. A flow that begins with ``!``
must not arrive. Ports after the protocol are destination or source:destination; ICMP has type:code. ``x2`` is a
second address outside; ``add_network`` makes other machines. Every verdict is a single packet judged where it arrives.
"""

from __future__ import annotations

import ipaddress
import itertools
import json
import os
import random
import re
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from felix_packets import PROTOCOLS, Packet, build, tags_in

from calico.dataplane.flows.conntrack import Conntrack
from calico.dataplane.netns import create_netns, delete_netns, in_netns
from calico.errors import NotFound, Transient
from calico.netlink.socket import NETLINK_NETFILTER, NetlinkSocket
from calico.obs.statussocket import read_status

__all__ = ["RESOURCES", "World", "resource", "until"]

RESOURCES = "/calico/resources/v3/projectcalico.org"
HOST_MAC = "ee:ee:ee:ee:ee:ee"
HOST_LINK_LOCAL = "fe80::ecee:eeff:feee:eeee"
DEADLINE_S, SETTLE_S = 20.0, 60.0
GRACE_S = 0.04
WORKLOADS = {"a": "default", "b": "default", "c": "other", "d": "default"}
_OUTSIDE = {
    "x": ("192.0.2.2", "2001:db8::2"),
    "x2": ("198.51.100.7", "2001:db8:7::7"),
    "x3": ("203.0.113.9", "2001:db8:9::9"),
}
_HOST = ("192.0.2.1", "2001:db8::1")
_serial = itertools.count()
_FLOW = re.compile(r"(!?)(\w+)>(\w+) (\w+)(?::(\d+))?(?::(\d+))?")


def until(condition: Callable[[], Any], what: str, deadline_s: float = DEADLINE_S, pause_s: float = 0.01) -> Any:
    """The first true value of ``condition``; the deadline bounds a failing test only."""
    end = time.monotonic() + deadline_s
    while not (found := condition()):
        assert time.monotonic() < end, f"it never happened that {what}"
        time.sleep(pause_s)
    return found


def resource(kind: str, name: str, spec: dict[str, Any], namespace: str = "", **labels: str) -> dict[str, Any]:
    """A resource as an operator would write it."""
    metadata: dict[str, Any] = {"name": name}
    if namespace:
        metadata["namespace"] = namespace
    if labels:
        metadata["labels"] = labels
    return {"apiVersion": "projectcalico.org/v3", "kind": kind, "metadata": metadata, "spec": spec}


class Port:
    """A namespace seen as a machine: it sends raw IP packets and sees what arrives."""

    def __init__(self, netns: str, interface: str | None) -> None:
        self.netns = netns
        self._out = in_netns(netns, _raw_senders)
        self.seen = in_netns(netns, lambda: _sniffers(interface))

    def send(self, data: bytes) -> None:
        version = data[0] >> 4
        destination = data[16:20] if version == 4 else data[24:40]
        address = str(ipaddress.ip_address(destination))
        with suppress(OSError):  # no route, or refused by the sender's own kernel: then it does not arrive
            self._out[version].sendto(data, (address, 0))

    def send_frame(self, data: bytes, interface: str = "eth0", destination: str = HOST_MAC) -> None:
        """Put a packet on the wire past the sender's own routing."""
        kind = 0x0800 if data[0] >> 4 == 4 else 0x86DD
        sock = in_netns(self.netns, lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW))
        with sock:
            sock.bind((interface, kind))
            source = sock.getsockname()[4]
            sock.send(bytes.fromhex(destination.replace(":", "")) + source + kind.to_bytes(2, "big") + data)

    def close(self) -> None:
        for sock in (*self._out.values(), *self.seen):
            sock.close()


def _raw_senders() -> dict[int, socket.socket]:
    socks = {4: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)}
    socks[6] = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW)
    for sock in socks.values():
        sock.setsockopt(socket.SOL_SOCKET, 32, 1 << 24)  # SO_SNDBUFFORCE: no sender waits for packets that wait
    return socks


def _sniffers(interface: str | None) -> list[socket.socket]:
    """On a wire all that comes in; on the host itself (None) only what passed its packet filter."""
    if interface is None:
        families = ((socket.AF_INET, (1, 4, 6, 17, 132)), (socket.AF_INET6, (58, 6, 17, 132)))
        socks = [socket.socket(family, socket.SOCK_RAW, number) for family, numbers in families for number in numbers]
    else:
        socks = [socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))]
        socks[0].bind((interface, 3))
    for sock in socks:
        sock.setsockopt(socket.SOL_SOCKET, 33, 1 << 24)  # SO_RCVBUFFORCE
        sock.setblocking(False)
    return socks


def arrivals(sock: socket.socket) -> Iterator[int]:
    """The tags of all our packets that wait in a sniffer."""
    while True:
        try:
            data, address = sock.recvfrom(2048)
        except BlockingIOError:
            return
        if sock.family == socket.AF_PACKET and address[2] == 4:  # PACKET_OUTGOING: sent by the machine itself
            continue
        if _is_error(data):
            continue
        tag = tags_in(data)
        if tag is not None:
            yield tag


def _is_error(data: bytes) -> bool:
    """An ICMP error quotes the packet that it is about."""
    if data[0] >> 4 == 4:
        return data[9] == 1 and data[20] in (3, 5, 11)
    return data[0] >> 4 == 6 and data[6] == 58 and data[40] < 128


class World:
    """Everything, made by ``start``; ``close`` removes it all whatever happened."""

    def __init__(self, workloads: Iterable[str] = tuple(WORKLOADS), *, dad: bool = False) -> None:
        self.prefix = f"cfx{os.getpid() % 100000}-{next(_serial)}"
        self.directory = Path(tempfile.mkdtemp(prefix="cfx"))
        self.run_dir = self.directory / "run"
        self.log_file = self.directory / "felix.log"
        self.names: list[str] = []
        self.ports: dict[str, Port] = {}
        self.etcd: subprocess.Popen[bytes] | None = None
        self.felix: subprocess.Popen[bytes] | None = None
        self._writer: subprocess.Popen[str] | None = None
        self.workloads: dict[str, tuple[str, str]] = {}
        self.others: dict[str, tuple[str, str]] = {}
        self._tags = itertools.count(1)
        self._sports = itertools.count(random.randrange(20000, 30000))
        self._fences = itertools.count(1)
        self._data = 0
        try:
            self._build(workloads)
        except BaseException:
            self.close()
            raise

    # ---- namespaces

    def netns(self, name: str) -> str:
        return f"{self.prefix}{name}"

    def ip(self, name: str, *commands: str) -> str:
        """iproute2 in a namespace, one command a line."""
        done = subprocess.run(
            ["ip", "-n", self.netns(name), "-batch", "-"],
            input="\n".join(commands) + "\n", text=True, capture_output=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{commands}: {done.stderr}"
        return done.stdout

    def show(self, name: str, command: str) -> str:
        """One question to iproute2, options first."""
        words = ["ip", "-n", self.netns(name), *command.split()]
        return subprocess.run(words, text=True, capture_output=True, check=True).stdout

    def nft(self, command: str) -> int:
        """Somebody else's nft command on the host; its exit code."""
        words = [*self.enter("h"), "nft", *command.split()]
        return subprocess.run(words, capture_output=True, check=False).returncode

    @contextmanager
    def foreign(self, table: str) -> Iterator[None]:
        """While it lasts, somebody else's table ``inet foreign`` with this content is on the host."""
        words = [*self.enter("h"), "nft", "-f", "-"]
        subprocess.run(words, input=f"table inet foreign {{\n{table}\n}}\n", text=True, check=True)
        try:
            yield
        finally:
            self.nft("delete table inet foreign")

    def forget_flows(self, address: str) -> int:
        """How many flows of an address the host had in its connection tracking; it has none afterwards."""
        with in_netns(self.netns("h"), lambda: NetlinkSocket(NETLINK_NETFILTER)) as sock:
            return Conntrack(sock).forget({ipaddress.ip_address(address).packed})

    def sysctl(self, name: str, path: str, value: str | None = None) -> str:
        def work() -> str:
            file = Path("/proc/sys/net", path)
            if value is not None:
                file.write_text(value)
            return file.read_text().strip()

        return in_netns(self.netns(name), work)

    def _make(self, name: str) -> None:
        create_netns(self.netns(name))
        self.names.append(self.netns(name))
        for which in ("default", "all"):
            self.sysctl(name, f"ipv6/conf/{which}/accept_dad", "0")
        self.ip(name, "link set lo up")

    def _build(self, workloads: Iterable[str]) -> None:
        self.run_dir.mkdir()
        self._make("h")
        self._make("x")
        self.ip(
            "h",
            f"link add ext0 type veth peer name eth0 netns {self.netns('x')}",
            "link set ext0 up",
            f"addr add {_HOST[0]}/24 dev ext0",
            f"addr add {_HOST[1]}/64 dev ext0 nodad",
        )
        outside = [f"addr add {v4}/24 dev eth0" for v4, _ in _OUTSIDE.values()]
        outside += [f"addr add {v6}/64 dev eth0 nodad" for _, v6 in _OUTSIDE.values()]
        self.ip("x", "link set eth0 up", *outside, f"route add 10.65.0.0/16 via {_HOST[0]}",
                f"route add fd00:65::/64 via {_HOST[1]}")  # fmt: skip
        routes = [f"route add {v4}/32 via 192.0.2.2" for v4, _ in list(_OUTSIDE.values())[1:]]
        routes += [f"route add {v6}/128 via 2001:db8::2" for _, v6 in list(_OUTSIDE.values())[1:]]
        self.ip("h", *routes)
        self.ports["h"] = Port(self.netns("h"), None)
        self.ports["x"] = Port(self.netns("x"), "eth0")
        for name in workloads:
            self.add_workload(name)

    def add_network(self, name: str, number: int) -> None:
        """A machine in another network, behind the host's interface ``ext<number>``."""
        self._make(name)
        self.wire_network(name, number)
        self.ports[name] = Port(self.netns(name), "eth0")

    def wire_network(self, name: str, number: int) -> None:
        """The interface and both ends' addresses; again after it was deleted."""
        v4, v6 = f"192.0.{100 + number}.", f"2001:db8:{100 + number}::"
        self.others[name] = (f"{v4}2", f"{v6}2")
        self.ip("h", f"link add ext{number} type veth peer name eth0 netns {self.netns(name)}",
                f"link set ext{number} up", f"addr add {v4}1/24 dev ext{number}",
                f"addr add {v6}1/64 dev ext{number} nodad")  # fmt: skip
        self.ip(name, "link set eth0 up", f"addr add {v4}2/24 dev eth0", f"addr add {v6}2/64 dev eth0 nodad",
                f"route add default via {v4}1", f"route add default via {v6}1 dev eth0")  # fmt: skip
        self.ip("x", f"route replace {v4}0/24 via {_HOST[0]}", f"route replace {v6}/64 via {_HOST[1]}")

    def add_workload(self, name: str) -> None:
        """A namespace behind cali<name>, wired as a network plugin does."""
        number = len(self.workloads) + 1
        self.workloads[name] = (f"10.65.0.{number}", f"fd00:65::{number:x}")
        self._make(name)
        self.wire(name)
        self.ports[name] = Port(self.netns(name), "eth0")

    def remove_workload(self, name: str) -> None:
        """Take a workload away with its interface."""
        self.ports.pop(name).close()
        del self.workloads[name]
        self.ip("h", f"link del cali{name}")
        delete_netns(self.netns(name))
        self.names.remove(self.netns(name))

    def wire(self, name: str, interface: str = "") -> None:
        """The interface and what a workload has on it; again after it was deleted."""
        interface = interface or f"cali{name}"
        v4, v6 = self.workloads[name]
        self.ip("h", f"link add {interface} address {HOST_MAC} type veth peer name eth0 address {self.mac(name)} "
                f"netns {self.netns(name)}", f"link set {interface} up")  # fmt: skip
        self.ip(name, "link set eth0 up", f"addr add {v4}/32 dev eth0", "route add 169.254.1.1 dev eth0 scope link",
                "route add default via 169.254.1.1", f"addr add {v6}/128 dev eth0 nodad",
                f"route add default via {HOST_LINK_LOCAL} dev eth0")  # fmt: skip

    def mac(self, name: str) -> str:
        return f"02:00:00:00:00:{int(self.workloads[name][0].rpartition('.')[2]):02x}"

    def reopen(self, name: str) -> None:
        """Look at a workload's new interface."""
        self.ports[name].close()
        self.ports[name] = Port(self.netns(name), "eth0")

    # ---- processes

    def enter(self, name: str) -> list[str]:
        return ["nsenter", f"--net=/run/netns/{self.netns(name)}"]

    def start_etcd(self, *, fresh: bool = False) -> None:
        """Start etcd; ``fresh`` with nothing in it. The writer follows."""
        self._data += fresh
        url = "http://127.0.0.1:2379"
        command = [*self.enter("h"), "etcd", "--data-dir", str(self.directory / f"etcd{self._data}")]
        command += ["--listen-client-urls", url, "--advertise-client-urls", url, "--unsafe-no-fsync"]
        command += ["--log-level", "error", "--enable-v2=false"]
        with open(self.directory / "etcd.log", "ab") as output:
            self.etcd = subprocess.Popen(command, stdout=output, stderr=output)
        self._writer = subprocess.Popen(
            [*self.enter("h"), sys.executable, str(Path(__file__).with_name("felix_writer.py")), url],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.ask(do="ready")

    def stop_etcd(self) -> None:
        if self._writer is not None:
            assert self._writer.stdin is not None
            assert self._writer.stdout is not None
            self._writer.stdin.close()
            self._writer.stdout.close()
            self._writer.wait(timeout=20)
            self._writer = None
        if self.etcd is not None:
            self.etcd.kill()
            self.etcd.wait()
            self.etcd = None

    def start_felix(self, *program: str, **environment: str) -> None:
        """Start Felix, or a program that takes its options; returns at once."""
        command = [*self.enter("h"), sys.executable, *(program or ("-m", "calico", "felix")), "--node", "h1"]
        command += ["--run-dir", str(self.run_dir), "--log-file", str(self.log_file)]
        with open(self.directory / "felix.out", "ab") as output:
            self.felix = subprocess.Popen(command, stdout=output, stderr=output, env={**os.environ, **environment})

    def kill_felix(self) -> None:
        if self.felix is not None:
            self.felix.kill()
            self.felix.wait()
            self.felix = None

    def restart_felix(self, **environment: str) -> None:
        self.kill_felix()
        self.start_felix(**environment)
        self.settle()

    def close(self) -> None:
        with suppress(Exception):
            self.kill_felix()
        with suppress(Exception):
            self.stop_etcd()
        for port in self.ports.values():
            port.close()
        for name in self.names:
            with suppress(NotFound):
                delete_netns(name)
        shutil.rmtree(self.directory, ignore_errors=True)

    # ---- the datastore

    def ask(self, **request: Any) -> Any:
        """One request to the writer; its answer (a revision, or what was listed)."""
        assert self._writer is not None
        assert self._writer.stdin is not None
        assert self._writer.stdout is not None
        self._writer.stdin.write(json.dumps(request) + "\n")
        self._writer.stdin.flush()
        reply = json.loads(self._writer.stdout.readline())
        assert "error" not in reply, reply["error"]
        return reply["answer"]

    def apply(self, *documents: dict[str, Any], settle: bool = True) -> None:
        """Write resources through the typed store; returns when the kernel has them."""
        self.ask(do="apply", documents=list(documents))
        if settle:
            self.settle()

    def delete(self, kind: str, name: str, namespace: str = "", *, settle: bool = True) -> None:
        self.ask(do="delete", keys=[(kind, name, namespace)])
        if settle:
            self.settle()

    def put_raw(self, values: dict[str, str | None], *, settle: bool = True) -> None:
        """Write bytes under keys below the resources (or absolute ones); None deletes."""
        full = {key if key.startswith("/") else f"{RESOURCES}/{key}": value for key, value in values.items()}
        self.ask(do="raw", values=full)
        if settle:
            self.settle()

    def list(self, prefix: str) -> dict[str, str]:
        found: dict[str, str] = self.ask(do="list", prefix=prefix)
        return found

    def endpoint(self, name: str, *, labels: dict[str, str] | None = None, **fields: Any) -> dict[str, Any]:
        """The WorkloadEndpoint of a workload."""
        namespace = WORKLOADS.get(name, "default")
        v4, v6 = self.workloads[name]
        spec: dict[str, Any] = {
            "orchestrator": "cni", "node": "h1", "containerID": name, "endpoint": "eth0",
            "ipNetworks": [f"{v4}/32", f"{v6}/128"], "profiles": ["projectcalico-default-allow"],
            "interfaceName": f"cali{name}", "mac": self.mac(name),
        }  # fmt: skip
        if name == "b":
            spec["ports"] = [
                {"name": "web", "protocol": "TCP", "port": 80},
                {"name": "dns", "protocol": "UDP", "port": 53},
                {"name": "sig", "protocol": "SCTP", "port": 9},
            ]
            del spec["mac"]  # its neighbour entry must be found by the kernel
        all_labels = {"app": name, **(labels or {})}
        all_labels |= {"projectcalico.org/namespace": namespace, "projectcalico.org/orchestrator": "cni"}
        return resource("WorkloadEndpoint", f"h1-cni-{name}-eth0", {**spec, **fields}, namespace, **all_labels)

    def cluster(self) -> None:
        """What a cluster has from the start, and the endpoints of all workloads."""
        information = resource("ClusterInformation", "default", {"clusterGUID": "f" * 32, "datastoreReady": True})
        tier = resource("Tier", "default", {"order": 1000000, "defaultAction": "Deny"})
        self.apply(information, tier, *map(self.endpoint, self.workloads), settle=False)

    def clear(self) -> None:
        """Back to the bare cluster: no policy, the endpoints as made."""
        keep = ("/clusterinformations/", "/tiers/default", "/workloadendpoints/", "/globalnetworksets/fence")
        keep += ("/tiers/adminnetworkpolicy", "/tiers/baselineadminnetworkpolicy")
        ours = {f"{RESOURCES}/workloadendpoints/{e['metadata']['namespace']}/{e['metadata']['name']}"
                for e in map(self.endpoint, self.workloads)}  # fmt: skip
        found = self.list(RESOURCES + "/")
        extra = [k for k in found if not any(k.startswith(RESOURCES + part) for part in keep)]
        extra += [k for k in found if "/workloadendpoints/" in k and k not in ours]
        self.put_raw(dict.fromkeys(extra), settle=False)
        self.apply(*map(self.endpoint, self.workloads))

    # ---- Felix

    @property
    def status(self) -> dict[str, Any]:
        try:
            return read_status(self.run_dir / "felix.sock")
        except Transient:
            return {"in_sync": False, "applied_revision": 0, "conditions": [], "datastore": {}, "endpoints": {}}

    def conditions(self, code: str) -> dict[str, str]:
        """By object, the messages of the conditions with a code."""
        return {c["object"]: c["message"] for c in self.status["conditions"] if c["code"] == code}

    def settle(self) -> None:
        """Return when all that was written is in the kernel; the fence is a change even when that was none."""
        fence = resource("GlobalNetworkSet", "fence", {"nets": []}, n=str(next(self._fences)))
        del fence["metadata"]["name"]
        revision = self.ask(do="raw", values={f"{RESOURCES}/globalnetworksets/fence": json.dumps(fence)})

        def is_applied() -> bool:
            assert self.felix is None or self.felix.poll() is None, self.log()[-3000:]
            status = self.status
            return bool(status["in_sync"] and status["applied_revision"] >= revision)

        try:
            until(is_applied, "Felix programmed what was written", SETTLE_S, pause_s=0.004)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.status}\n{self.log()[-3000:]}") from None

    def log(self) -> str:
        return self.log_file.read_text() if self.log_file.exists() else ""

    # ---- packets

    def address(self, name: str, family: int) -> str:
        pair = self.workloads.get(name) or self.others.get(name) or _OUTSIDE.get(name) or _HOST
        return pair[family == 6]

    def net(self, name: str, family: int) -> str:
        return f"{self.address(name, family)}/{32 if family == 4 else 128}"

    def packet(self, flow: str, family: int) -> Packet:
        """The packet that a flow's text stands for."""
        match = _FLOW.fullmatch(flow)
        assert match, flow
        _, source, destination, protocol, first, second = match.groups()
        number = int(first or 0) if protocol == "proto" else PROTOCOLS[protocol]
        if protocol == "icmp":
            default = (8, 0) if family == 4 else (128, 0)
            ends = (int(first), int(second or 0)) if first else default
            number = 1 if family == 4 else 58
        else:
            sport = 20000 + next(self._sports) % 40000
            ends = (int(first), int(second)) if second else (sport, int(first or 0))
        return Packet(self.address(source, family), self.address(destination, family), number, *ends)

    def new_tag(self) -> int:
        """A tag that no other packet has."""
        return next(self._tags)

    def passed(self, *sent: tuple[str, str, Packet], expected: int | None = None) -> list[bool]:
        """Whether each packet sent from one machine arrives at another; waits for ``expected`` of them, and a grace."""
        for port in {target[0] for _, target, _ in sent}:
            for sock in self.ports[port].seen:
                list(arrivals(sock))
        numbers = [self.new_tag() for _ in sent]
        for (source, _, packet), tag in zip(sent, numbers, strict=True):
            self.ports[source[0]].send(build(packet, tag))
        return self.arrived({t[0] for _, t, _ in sent}, numbers, expected)

    def arrived(self, targets: Iterable[str], numbers: list[int], expected: int | None) -> list[bool]:
        """Which tags arrive at the machines, once ``expected`` did and then for a grace."""
        found: set[int] = set()
        socks = [sock for name in targets for sock in self.ports[name].seen]
        end = time.monotonic() + 3.0
        quiet = None
        while time.monotonic() < end:
            if len(found) >= (expected or 0) and quiet is None:
                quiet = time.monotonic() + GRACE_S
                end = min(end, quiet)
            ready, _, _ = select.select(socks, [], [], max(0.0, min(0.05, end - time.monotonic())))
            for sock in ready:
                found.update(tag for tag in arrivals(sock) if tag in numbers)
        return [number in found for number in numbers]

    def expect(self, family: int, *flows: str) -> None:
        """Each flow's packet arrives, or with ``!`` does not."""
        texts = [flow.lstrip("!") for flow in flows]
        wanted = [not flow.startswith("!") for flow in flows]
        ends = [text.split(" ")[0].split(">") for text in texts]
        sent = [(s, t, self.packet(text, family)) for (s, t), text in zip(ends, texts, strict=True)]
        got = self.passed(*sent, expected=sum(wanted))
        wrong = [
            f"{text} {'passed' if found else 'did not pass'}"
            for text, want, found in zip(texts, wanted, got, strict=True)
            if want != found
        ]
        assert not wrong, f"IPv{family}: {'; '.join(wrong)}; {self.status['conditions']}"

    def ruleset(self, *options: str, counts: bool = False) -> str:
        """What nft shows of the host's table."""
        shown = () if counts else ("-s",)
        command = [*self.enter("h"), "nft", *shown, *options, "list", "table", "inet", "calico"]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout

    def socket(self, name: str, family: int, kind: int) -> socket.socket:
        """An ordinary socket of a machine, bound to its address."""
        af = socket.AF_INET if family == 4 else socket.AF_INET6
        sock = in_netns(self.netns(name), lambda: socket.socket(af, kind))
        sock.settimeout(5)
        return sock
