"""What the ruleset costs a forwarded packet, against no rules and against a bare ``ct state established accept``.

Each structure has a path of its own (workload a, a host, workload b: namespaces joined by veth), so that slots of
packets are sent over all of them in turn within one run. A slot is one ``sendmmsg`` of 256 packets; the kernel
forwards them within the call, so its time is the cost of the whole way.

*est*: a UDP socket whose flow was answered; *new*: one whose flow never is, so that every packet meets the policy;
*setup*: raw frames, each of which begins a connection. Figures are nanoseconds per packet over "none" (25th percentile
of slots, median of rounds) and the rate relative to "none". Only ratios within one run mean anything. Writes
bench/results/forwarding.json.

    python bench/forwarding.py [--quick]
"""

from __future__ import annotations

import argparse
import ctypes
import json
import platform
import socket
import statistics
import struct
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from calico.calc.messages import (
    ActiveRule,
    EndpointId,
    EndpointUpdate,
    IPSetUpdate,
    Message,
    PolicyUpdate,
    RuleSide,
    TierPolicies,
)
from calico.dataplane.links import Links
from calico.dataplane.netns import in_netns, temporary_netns
from calico.dataplane.nft.table import NftDataplane
from calico.lib.packed import addr_bytes, net
from calico.model.keys import ResourceKey
from calico.netlink.nftables.expr import Rule
from calico.netlink.nftables.objects import Chain, Hook, Table
from calico.netlink.socket import NETLINK_NETFILTER, NetlinkSocket
from calico.rules.config import RulesConfig
from calico.rules.loads import ACCEPT, ESTABLISHED_OR_RELATED
from calico.rules.ruleset import Ruleset
from calico.rules.table import TableState

RESULTS = Path(__file__).resolve().parent / "results" / "forwarding.json"
SLOT = 256
"""Packets of one call: few enough that the kernel never defers the work (its budget is 2 ms)."""

DPORT = 9000
HOST_MAC = bytes.fromhex("eeeeeeeeeeee")
MACS = {"a": bytes.fromhex("020000000001"), "b": bytes.fromhex("020000000002")}
FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
ADDRESSES = {4: {"a": "10.65.0.1", "b": "10.65.0.2"}, 6: {"a": "fd00:65::1", "b": "fd00:65::2"}}
ENDPOINTS = 1000
EST_GOAL, EST_OF_BARE_GOAL, NEW_GOAL, FLAT_GOAL = 0.80, 0.90, 0.68, 1.05


# -- the structures ---------------------------------------------------------------------------------------------------


def bare() -> TableState:
    state = TableState()
    state.want_chain(Chain("forward", (Rule((*ESTABLISHED_OR_RELATED, ACCEPT)),), Hook("forward", 0)))
    return state


def key(name: str) -> ResourceKey:
    return ResourceKey("GlobalNetworkPolicy", "", name)


def policy(name: str, rules: int = 1, source_set: str = "") -> PolicyUpdate:
    """Rules of which only the last matches our packets."""
    misses = tuple(
        ActiveRule(action="allow", protocol=17, dst=RuleSide(ports=((20000 + n, 20000 + n),))) for n in range(rules - 1)
    )
    src = RuleSide(ip_sets=(source_set,)) if source_set else RuleSide()
    hit = ActiveRule(action="allow", protocol=17, src=src, dst=RuleSide(ports=((DPORT, DPORT),)))
    return PolicyUpdate(key=key(name), tier="default", ingress=(*misses, hit), egress=(*misses, hit))


def endpoint(number: int, interface: str, nets: tuple[str, ...], policies: tuple[str, ...]) -> EndpointUpdate:
    keys = tuple(key(name) for name in policies)
    return EndpointUpdate(
        id=EndpointId("k8s", f"default/w{number}", "eth0"),
        key=ResourceKey("WorkloadEndpoint", "default", f"w{number}"),
        interface=interface,
        nets=tuple(map(net, nets)),
        tiers=(TierPolicies(name="default", default_action="deny", ingress=keys, egress=keys),),
    )


def messages(rules: int = 1, others: int = 1, members: int = 0, endpoints: int = ENDPOINTS) -> Iterator[Message]:
    """Endpoints a and b with a policy of ``rules`` rules; all others with policies of their own, ``others`` in all."""
    if members:
        found = frozenset(net(f"10.{100 + n // 65536}.{n // 256 % 256}.{n % 256}/32") for n in range(members))
        yield IPSetUpdate(id="s", kind="nets", members=found | {net(ADDRESSES[4]["a"]), net(ADDRESSES[6]["a"])})
    yield policy("ours", rules, "s" if members else "")
    for number in range(others):
        yield policy(f"other-{number}", 4)
    for number, side in enumerate("ab"):
        nets = (ADDRESSES[4][side] + "/32", ADDRESSES[6][side] + "/128")
        yield endpoint(number, f"cali{side}", nets, ("ours",))
    per = max(1, others // max(1, endpoints))
    for number in range(endpoints - 2):
        chosen = tuple(f"other-{(number * per + n) % others}" for n in range(per)) if others else ()
        address = f"10.66.{number // 250}.{number % 250 + 1}/32"
        yield endpoint(number + 2, f"cali{number:06x}", (address,), chosen)


def ours(without: tuple[str, ...] = (), **shape: int) -> TableState:
    """Our ruleset; ``without`` names base chains that are left out to see their cost (such a host is not safe)."""
    state = TableState()
    ruleset = Ruleset(state, RulesConfig())
    for message in messages(**shape):
        ruleset.on_message(message)
    for name in without:
        state.unwant_chain(name)
    return state


STRUCTURES: dict[str, Callable[[], TableState | None]] = {
    "none": lambda: None,
    "bare established": bare,
    "ours, 1000 endpoints": ours,
    "ours without raw-prerouting": lambda: ours(without=("raw-prerouting",)),
    "ours without to-workload": lambda: ours(without=("to-workload",)),
    "ours, 5000 endpoints": lambda: ours(endpoints=5000),
    "ours, 10 rules": lambda: ours(rules=10),
    "ours, 50 rules": lambda: ours(rules=50),
    "ours, 200 rules": lambda: ours(rules=200),
    "ours, set of 10k": lambda: ours(members=10_000),
    "ours, no other policy": lambda: ours(others=0),
    "ours, 1k policies": lambda: ours(others=1_000),
    "ours, 10k policies": lambda: ours(others=10_000),
}
QUICK = (
    "none",
    "bare established",
    "ours, 1000 endpoints",
    "ours without raw-prerouting",
    "ours without to-workload",
    "ours, 10 rules",
)


# -- a path -----------------------------------------------------------------------------------------------------------


class _IoVec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _MsgHdr(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint32),
        ("iov", ctypes.POINTER(_IoVec)),
        ("iov_length", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _MMsgHdr(ctypes.Structure):
    _fields_ = (("header", _MsgHdr), ("length", ctypes.c_uint32))


_libc = ctypes.CDLL(None, use_errno=True)


class Batch:
    """Frames as ``sendmmsg`` wants them, made once."""

    def __init__(self, frames: list[bytes]) -> None:
        self._buffers = [ctypes.create_string_buffer(frame, len(frame)) for frame in frames]
        self._vectors = (_IoVec * len(frames))(
            *(_IoVec(ctypes.addressof(buffer), len(buffer)) for buffer in self._buffers)
        )
        self._messages = (_MMsgHdr * len(frames))()
        for message, vector in zip(self._messages, self._vectors, strict=True):
            message.header.iov = ctypes.pointer(vector)
            message.header.iov_length = 1

    def send(self, sock: socket.socket) -> float:
        """Nanoseconds per packet."""
        count = len(self._buffers)
        started = time.perf_counter_ns()
        sent = _libc.sendmmsg(sock.fileno(), self._messages, count, 0)
        took = time.perf_counter_ns() - started
        if sent != count:
            raise OSError(ctypes.get_errno(), f"{sent} of {count} frames were sent")
        return took / count


def _sum16(data: bytes) -> int:
    total = sum(int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def frame(version: int, source: str, sport: int, dport: int) -> bytes:
    """60 bytes of UDP from one workload to the other."""
    target = "b" if source == "a" else "a"
    src, dst = (addr_bytes(ADDRESSES[version][side]) for side in (source, target))
    payload = bytes(18 if version == 4 else 0)
    udp = sport.to_bytes(2, "big") + dport.to_bytes(2, "big") + (8 + len(payload)).to_bytes(2, "big")
    pseudo = src + dst + bytes((0, 17)) + (8 + len(payload)).to_bytes(2, "big")
    checksum = _sum16(pseudo + udp + b"\0\0" + payload) or 0xFFFF
    body = udp + checksum.to_bytes(2, "big") + payload
    if version == 4:
        head = b"\x45\0" + (20 + len(body)).to_bytes(2, "big") + b"\0\1\0\0\x40\x11\0\0" + src + dst
        head = head[:10] + _sum16(head).to_bytes(2, "big") + head[12:]
    else:
        head = b"\x60\0\0\0" + len(body).to_bytes(2, "big") + b"\x11\x40" + src + dst
    return HOST_MAC + MACS[source] + (b"\x08\0" if version == 4 else b"\x86\xdd") + head + body


class Way(NamedTuple):
    """Sockets of one structure's path: of workload a by what they are for (``raw``, ``est4``, ``new6``, ...), and those
    of b that take what arrives, by family."""

    a: dict[str, socket.socket]
    sinks: dict[int, socket.socket]
    conntrack: socket.socket


def raw_socket(netns: str) -> socket.socket:
    def make() -> socket.socket:
        made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        made.bind(("eth0", 0))
        return made

    return in_netns(netns, make)


def sink_socket(netns: str, version: int) -> socket.socket:
    """Its buffer is full at once: what arrives is dropped there, at the same cost in every structure."""

    def make() -> socket.socket:
        made = socket.socket(FAMILY[version], socket.SOCK_DGRAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        made.settimeout(5)
        made.bind((ADDRESSES[version]["b"], DPORT))
        return made

    return in_netns(netns, make)


def client_socket(netns: str, version: int) -> socket.socket:
    def make() -> socket.socket:
        made = socket.socket(FAMILY[version], socket.SOCK_DGRAM)
        made.bind((ADDRESSES[version]["a"], 0))
        made.connect((ADDRESSES[version]["b"], DPORT))
        return made

    return in_netns(netns, make)


def open_path(stack: ExitStack, number: int, state: TableState | None) -> Way:
    names = {side: stack.enter_context(temporary_netns(f"fwbench{number}-{side}")) for side in ("a", "h", "b")}
    with Links(names["h"]) as links:
        for side in "ab":
            links.create_veth(f"cali{side}", "eth0", peer_netns=names[side], mac=HOST_MAC, peer_mac=MACS[side], up=True)
    for side in "ab":
        in_netns(names[side], lambda: Path("/proc/sys/net/ipv6/conf/eth0/accept_dad").write_text("0"))
        with Links(names[side]) as links:
            for version, length in ((4, 32), (6, 128)):
                links.add_address("eth0", f"{ADDRESSES[version][side]}/{length}")
                other = ADDRESSES[version]["b" if side == "a" else "a"]
                links.add_route(f"{other}/{length}", dev="eth0")
                links.add_neighbour("eth0", other, HOST_MAC)

    def host() -> None:
        for name in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
            Path(f"/proc/sys/net/{name}").write_text("1")

    in_netns(names["h"], host)
    with Links(names["h"]) as links:
        for side in "ab":
            for version in (4, 6):
                address = ADDRESSES[version][side]
                links.add_route(f"{address}/{32 if version == 4 else 128}", dev=f"cali{side}")
                links.add_neighbour(f"cali{side}", address, MACS[side])
    dataplane = None
    if state is not None:
        dataplane = NftDataplane(
            Table("calico"),
            state,
            socket_factory=lambda: in_netns(names["h"], lambda: NetlinkSocket(NETLINK_NETFILTER)),
        )
        result = dataplane.apply()
        assert result.failed == ()
        stack.callback(dataplane.close)
    sinks = {version: sink_socket(names["b"], version) for version in (4, 6)}
    sources = {"raw": raw_socket(names["a"])}
    for version in (4, 6):
        for kind in ("est", "new"):
            sources[f"{kind}{version}"] = client_socket(names["a"], version)
    conntrack = in_netns(names["h"], lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER))
    for sock in (*sources.values(), *sinks.values(), conntrack):
        stack.callback(sock.close)
    return Way(sources, sinks, conntrack)


# -- measuring --------------------------------------------------------------------------------------------------------

Figures = dict[str, dict[str, float]]
"""ns per packet by structure and kind (``est4``, ``new4``, ``setup4``, ...)."""


def setup_batch(version: int) -> Batch:
    return Batch([frame(version, "a", 1024 + n, DPORT) for n in range(SLOT)])


FLUSH = struct.pack("=IHHII", 20, 1 << 8 | 2, 1 | 4, 1, 0) + bytes(4)
"""IPCTNL_MSG_CT_DELETE without a tuple (linux/netfilter/nfnetlink_conntrack.h): forget all connections."""


def measure(paths: dict[str, Way], rounds: int, slots: int, setups: int) -> Figures:
    """Rounds of slots over all paths in turn; setup slots last, since they fill the connection table."""
    figures: Figures = {name: {} for name in paths}
    payloads = Batch([bytes(18)] * SLOT)
    for kind in ("est4", "new4", "est6", "new6"):
        if kind.startswith("est"):
            for path in paths.values():
                answer(path, kind)
        per_round: dict[str, list[float]] = {name: [] for name in paths}
        for _ in range(rounds):
            for name, times in turns(paths, [payloads] * slots, kind).items():
                per_round[name].append(statistics.quantiles(times, n=4)[0])
        for name, found in per_round.items():
            figures[name][kind] = statistics.median(found)
    for version in (4, 6):
        for name, times in turns(paths, [setup_batch(version)] * setups, "raw").items():
            figures[name][f"setup{version}"] = statistics.quantiles(times, n=4)[0]
    return figures


def turns(paths: dict[str, Way], batches: list[Batch], source: str) -> dict[str, list[float]]:
    """Every batch over every path; ns per packet by path."""
    times: dict[str, list[float]] = {name: [] for name in paths}
    for batch in batches:
        for name, path in paths.items():
            times[name].append(batch.send(path.a[source]))
            if source == "raw":  # the kernel's table is one for all namespaces: connections must not pile up
                path.conntrack.send(FLUSH)
                path.conntrack.recv(4096)
    return times


def answer(path: Way, kind: str) -> None:
    """One packet there and one back: the flow is established."""
    path.a[kind].send(b"q")
    sink = path.sinks[int(kind[-1])]
    _, sender = sink.recvfrom(64)
    sink.sendto(b"a", sender)
    path.a[kind].settimeout(5)
    path.a[kind].recv(64)
    path.a[kind].setblocking(True)


def goals_of(figures: Figures) -> list[tuple[str, float, float, bool]]:
    """(name, measured, limit, at least) of dataplane.md §10 iii and issue 3."""
    mine, none, plain = figures["ours, 1000 endpoints"], figures["none"], figures["bare established"]
    goals = []
    for version in (4, 6):
        est, new = f"est{version}", f"new{version}"
        goals.append((f"IPv{version} established / none", none[est] / mine[est], EST_GOAL, True))
        goals.append((f"IPv{version} established / bare established", plain[est] / mine[est], EST_OF_BARE_GOAL, True))
        goals.append((f"IPv{version} new / none", none[new] / mine[new], NEW_GOAL, True))
    if "ours, 10k policies" in figures:
        for version in (4, 6):
            kinds = f"setup{version}"
            base = figures["ours, no other policy"][kinds]
            for name in ("ours, 1k policies", "ours, 10k policies"):
                goals.append(
                    (f"IPv{version} setup, {name} / none loaded", figures[name][kinds] / base, FLAT_GOAL, False)
                )
    return goals


def show(figures: Figures) -> None:
    kinds = [f"{kind}{version}" for version in (4, 6) for kind in ("est", "new", "setup")]
    print(f"{'':30}" + "".join(f"{kind:>16}" for kind in kinds))
    for name, found in figures.items():
        cells = []
        for kind in kinds:
            base = figures["none"][kind]
            cells.append(
                f"{base:.0f} ns" if name == "none" else f"{found[kind] - base:+.0f} ({base / found[kind]:.1%})"
            )
        print(f"{name:30}" + "".join(f"{cell:>16}" for cell in cells))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer structures and rounds")
    quick = parser.parse_args().quick
    chosen = QUICK if quick else tuple(STRUCTURES)
    with ExitStack() as stack:
        paths = {name: open_path(stack, number, STRUCTURES[name]()) for number, name in enumerate(chosen)}
        figures = measure(paths, rounds=3 if quick else 7, slots=160, setups=60)
    show(figures)
    goals = goals_of(figures)
    for name, measured, limit, at_least in goals:
        met = measured >= limit if at_least else measured <= limit
        print(f"  {'met   ' if met else 'MISSED'} {name} {measured:.3f} {'>=' if at_least else '<='} {limit:g}")
    RESULTS.parent.mkdir(exist_ok=True)
    machine = {"kernel": platform.release(), "python": platform.python_version()}
    RESULTS.write_text(json.dumps({"machine": machine, "quick": quick, "ns": figures, "goals": goals}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
