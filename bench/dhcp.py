"""How fast a compute host answers DHCP, against Debian's dnsmasq on the same interfaces with the same clients.

``python bench/dhcp.py [--quick]`` (about 60 s, or 20 s; needs root and the package dnsmasq-base). A namespace is the
host with 64 interfaces of instances, another holds the instances' ends; the clients are one process with a packet
socket on each. Servers take turns, several rounds: ``calico openstack agent`` from what it has on disk, and dnsmasq as
networking-calico runs it (one process, ``--bridge-interface``, static leases, no lease file, no ping). *Alone*: one
DISCOVER after the other. *All at once*: every instance goes through DISCOVER and REQUEST again and again, as after a
power cut. Processor time is the server's own. Results go to bench/results/dhcp[-quick].json.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgspec

from calico.dataplane.netns import in_netns, temporary_netns
from calico.orchestrators.openstack.compute.view import Known
from calico.orchestrators.openstack.facts import FixedIp
from calico.orchestrators.openstack.records import EndpointRecord, SubnetRecord

RESULTS = Path(__file__).parent / "results"
INSTANCES = 64
CYCLES = 40  # of two messages each: the agent lets an instance have 100 at once and 50 a second
WAIT_S = 2.5
DISCOVER, OFFER, REQUEST, ACK = 1, 2, 3, 5
SERVER = bytes((10, 65, 0, 1))


def mac(number: int) -> bytes:
    return bytes((0xFA, 0x16, 0x3E, 0, 0, number))


def address(number: int) -> bytes:
    return bytes((10, 65, 1, number))


def text(packed: bytes) -> str:
    return ".".join(map(str, packed))


def request(number: int, kind: int) -> bytes:
    """A broadcast frame with a DHCP message, that wants a broadcast answer."""
    options = bytes((53, 1, kind, 55, 6, 1, 3, 6, 12, 15, 26))
    if kind == REQUEST:
        options += bytes((50, 4)) + address(number) + bytes((54, 4)) + SERVER
    head = struct.pack("!BBBBIHH", 1, 1, 6, 0, number, 0, 0x8000) + bytes(16) + mac(number).ljust(16, b"\0")
    payload = (head + bytes(192) + b"\x63\x82\x53\x63" + options + b"\xff").ljust(300, b"\0")
    length = 28 + len(payload)
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, length, 0, 0, 64, 17, 0, bytes(4), b"\xff" * 4)
    total = sum(struct.unpack("!10H", ip))
    total = (total & 0xFFFF) + (total >> 16)
    ip = ip[:10] + struct.pack("!H", ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF) + ip[12:]
    udp = struct.pack("!HHHH", 68, 67, 8 + len(payload), 0)
    return b"\xff" * 6 + mac(number) + b"\x08\0" + ip + udp + payload


def kind_of(frame: bytes) -> int:
    """The type of an answer, which is its first option with us and with dnsmasq."""
    return frame[14 + 28 + 242] if len(frame) > 14 + 28 + 242 and frame[14 + 28] == 2 else 0


class Clients:
    """The instances' ends."""

    def __init__(self, netns: str) -> None:
        self.socks = in_netns(netns, lambda: [self._open(number) for number in range(1, INSTANCES + 1)])
        self.frames = {
            (number, kind): request(number, kind) for number in range(1, INSTANCES + 1) for kind in (DISCOVER, REQUEST)
        }

    @staticmethod
    def _open(number: int) -> socket.socket:
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
        sock.bind((f"c{number}", 0x0800))
        sock.setblocking(False)
        return sock

    def close(self) -> None:
        for sock in self.socks:
            sock.close()

    def drain(self) -> None:
        for sock in self.socks:
            while select.select([sock], [], [], 0)[0]:
                sock.recv(2048)

    def one(self, number: int) -> float:
        """Seconds from a DISCOVER to its OFFER."""
        sock = self.socks[number - 1]
        began = time.perf_counter()
        sock.send(self.frames[number, DISCOVER])
        while True:
            if not select.select([sock], [], [], 2.0)[0]:
                raise AssertionError("no answer")
            if kind_of(sock.recv(2048)) == OFFER:
                return time.perf_counter() - began

    def all_at_once(self) -> tuple[int, float, int]:
        """Answers, seconds, and messages that had to be sent again."""
        poll = select.epoll()
        state: dict[int, list[float]] = {}  # descriptor -> [number, cycles left, kind awaited, sent at]
        by_fd = {sock.fileno(): sock for sock in self.socks}
        began = time.perf_counter()
        for number, sock in enumerate(self.socks, 1):
            poll.register(sock.fileno(), select.EPOLLIN)
            state[sock.fileno()] = [number, CYCLES, OFFER, time.perf_counter()]
            sock.send(self.frames[number, DISCOVER])
        answers = again = 0
        while state:
            events = poll.poll(0.2)
            if not events:
                for fd, (number, _, awaited, sent) in state.items():
                    if time.perf_counter() - sent > 0.2:
                        again += 1
                        state[fd][3] = time.perf_counter()
                        by_fd[fd].send(self.frames[int(number), DISCOVER if awaited == OFFER else REQUEST])
            for fd, _ in events:
                kind = kind_of(by_fd[fd].recv(2048))
                entry = state.get(fd)
                if entry is None or kind != entry[2]:
                    continue
                answers += 1
                number = int(entry[0])
                if kind == ACK:
                    entry[1] -= 1
                    if not entry[1]:
                        del state[fd]
                        poll.unregister(fd)
                        continue
                entry[2] = ACK if kind == OFFER else OFFER
                entry[3] = time.perf_counter()
                by_fd[fd].send(self.frames[number, REQUEST if kind == OFFER else DISCOVER])
        poll.close()
        return answers, time.perf_counter() - began, again


def build(stack: ExitStack) -> tuple[str, str]:
    """The host and the instances' ends, wired."""
    host, guests = (stack.enter_context(temporary_netns(f"cbd{os.getpid() % 100000}{part}")) for part in "hg")
    lines = ["link set lo up", "link add ns-x type veth peer name ns-y", "link set ns-y up", "link set ns-x up",
             "addr add 10.65.0.1/16 dev ns-x"]  # fmt: skip
    for number in range(1, INSTANCES + 1):
        hers = mac(number).hex(":")
        pair = f"link add tap{number} address fe{hers[2:]} type veth peer name c{number} address {hers} netns {guests}"
        lines += [pair, f"link set tap{number} up"]
        lines.append(f"route add {text(address(number))}/32 dev tap{number}")
    batch(host, lines)
    batch(guests, [f"link set c{number} up" for number in range(1, INSTANCES + 1)])
    return host, guests


def batch(netns: str, lines: list[str]) -> None:
    subprocess.run(["ip", "-n", netns, "-batch", "-"], input="\n".join(lines), text=True, check=True)


@contextmanager
def serving(host: str, command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with open(log, "ab") as output:
        process = subprocess.Popen(["nsenter", f"--net=/run/netns/{host}", *command], stdout=output, stderr=output)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(20)


def agent_command(directory: Path) -> list[str]:
    """The agent, whose datastore is away and who knows the instances from before."""
    endpoints = {
        f"key-{number:03}": EndpointRecord(
            namespace="openstack", host="h1", device_id=f"d{number}", port_id=f"p{number}", interface=f"tap{number}",
            mac=mac(number).hex(":"), network_id="n", fqdn=f"host{number}.cloud.example",
            fixed_ips=(FixedIp(subnet_id="s", ip_address=text(address(number))),),
        )
        for number in range(1, INSTANCES + 1)
    }  # fmt: skip
    subnet = SubnetRecord(network_id="n", cidr="10.65.0.0/16", gateway_ip=text(SERVER), dns_servers=("10.0.0.53",))
    state = directory / "state"
    state.mkdir(exist_ok=True)
    known = {"format": 1, "node": "h1", "region": "", "known": msgspec.to_builtins(Known(endpoints, {"s": subnet}))}
    (state / "known.json").write_text(json.dumps(known))
    return [sys.executable, "-m", "calico", "openstack", "agent", "--node", "h1", "--run-dir", str(directory / "run"),
            "--state-dir", str(state), "--etcd-endpoints", "http://127.0.0.1:1"]  # fmt: skip


def dnsmasq_command(directory: Path) -> list[str]:
    """As networking-calico starts it, less what has nothing to do with DHCP."""
    hosts = "\n".join(f"{mac(n).hex(':')},host{n}.cloud.example,{text(address(n))}" for n in range(1, INSTANCES + 1))
    (directory / "hosts").write_text(hosts + "\n")
    (directory / "opts").write_text("option:dns-server,10.0.0.53\noption:router,10.65.0.1\n")
    return ["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-hosts", "--no-resolv", "--port=0",
            "--pid-file", "--interface=ns-x", "--except-interface=lo", "--no-ping",
            "--bridge-interface=ns-x,tap*", "--dhcp-range=10.65.0.0,static,255.255.0.0,86400s",
            "--dhcp-authoritative", "--leasefile-ro", "--dhcp-lease-max=100000", "--quiet-dhcp",
            f"--dhcp-hostsfile={directory}/hosts", f"--dhcp-optsfile={directory}/opts"]  # fmt: skip


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def wait_until_answering(clients: Clients) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            for number in range(1, INSTANCES + 1):
                clients.one(number)
            return
        except AssertionError:
            if time.monotonic() > deadline:
                raise


def measure(host: str, clients: Clients, command: list[str], log: Path, alone: int) -> dict[str, float]:
    with serving(host, command, log) as process:
        try:
            wait_until_answering(clients)
        except AssertionError as error:
            raise AssertionError(f"{command[0]}: {error}; it says: {log.read_text()[-2000:]}") from None
        time.sleep(WAIT_S)
        clients.drain()
        took = [clients.one(1 + number % INSTANCES) for number in range(alone)]
        time.sleep(WAIT_S)
        before = cpu_s(process.pid)
        answers, seconds, again = clients.all_at_once()
        used = cpu_s(process.pid) - before
        return {
            "p50_ms": 1000 * statistics.median(took),
            "p99_ms": 1000 * statistics.quantiles(took, n=100)[98],
            "answers_per_s": answers / seconds,
            "cpu_us_per_answer": 1e6 * used / answers,
            "sent_again": again,
            "memory_mb": memory_mb(process.pid),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    if shutil.which("dnsmasq") is None:
        sys.exit("dnsmasq is missing: apt-get install dnsmasq-base")
    rounds, alone = (1, 500) if quick else (4, 1500)
    found: dict[str, list[dict[str, float]]] = {"agent": [], "dnsmasq": []}
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cbd")))
        os.chmod(directory, 0o755)  # dnsmasq reads its files as nobody
        host, guests = build(stack)
        clients = Clients(guests)
        stack.callback(clients.close)
        commands: dict[str, Callable[[Path], list[str]]] = {"agent": agent_command, "dnsmasq": dnsmasq_command}
        for _ in range(rounds):
            for name, command in commands.items():
                found[name].append(measure(host, clients, command(directory), directory / f"{name}.log", alone))
    report(found, quick)


def report(found: dict[str, list[dict[str, float]]], quick: bool) -> None:
    medians: dict[str, dict[str, float]] = {
        name: {key: statistics.median(one[key] for one in rounds) for key in rounds[0]}
        for name, rounds in found.items()
    }
    ours, theirs = medians["agent"], medians["dnsmasq"]
    print(f"{'':22}{'agent':>10}{'dnsmasq':>10}{'ratio':>8}")
    ratios: dict[str, Any] = {}
    for key in ours:
        ratio = ours[key] / theirs[key] if theirs[key] else 0.0
        ratios[key] = ratio
        shown = f"{ratio:8.2f}" if ratio else ""
        print(f"{key:22}{ours[key]:10.2f}{theirs[key]:10.2f}{shown}")
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / ("dhcp-quick.json" if quick else "dhcp.json")
    path.write_text(json.dumps({"rounds": found, "medians": medians, "ratios": ratios}, indent=2))


if __name__ == "__main__":
    main()
