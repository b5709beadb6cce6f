"""How fast the kernel's policy is programmed: our transactions against ``nft -f`` on the same structure.

Structure C: E endpoints, each led by an element of two verdict maps to one of G chains of policy lists, which jump to
some of P policy chains of 4 rules, each with a set of S members. Both methods take turns in the same run, each in a
fresh network namespace; only ratios within one run mean anything. Writes bench/results/programming.json.

    python bench/programming.py [--quick]
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from calico.dataplane.netns import in_netns, temporary_netns
from calico.dataplane.nft.table import NftDataplane
from calico.lib import packed
from calico.netlink.nftables.expr import Bitwise, Cmp, Ct, Lookup, Meta, Payload, Rule, Verdict
from calico.netlink.nftables.objects import Chain, Hook, SetDecl, Table
from calico.netlink.socket import NETLINK_NETFILTER, NetlinkSocket
from calico.rules.table import TableState

RESULTS = Path(__file__).resolve().parent / "results" / "programming.json"
ACCEPT, DROP = Verdict("accept"), Verdict("drop")
V4 = (Meta("nfproto"), Cmp("eq", b"\x02"))
TCP = (Meta("l4proto"), Cmp("eq", b"\x06"))


class Shape(NamedTuple):
    """Endpoints, distinct policy lists, policies, members per policy's set."""

    e: int
    g: int
    p: int
    s: int

    def __str__(self) -> str:
        return f"E={self.e} G={self.g} P={self.p} S={self.s}"


class Goal(NamedTuple):
    name: str
    measured: float
    limit: float
    at_least: bool

    @property
    def met(self) -> bool:
        return self.measured >= self.limit if self.at_least else self.measured <= self.limit


def policies_of(shape: Shape, group: int) -> list[int]:
    """The policies of a list, the same in both methods."""
    chosen = random.Random(group)
    return sorted(chosen.sample(range(shape.p), min(shape.p, chosen.randint(1, 5))))


def member(policy: int, number: int) -> str:
    return f"10.{policy % 250}.{number >> 8}.{number & 255}"


def endpoint(number: int) -> str:
    return f"cali{number:07x}"


def ports_of(policy: int, version: int) -> tuple[int, int, int]:
    return 80 + policy, 8000 + policy + version, 9000 + policy


# -- ours ------------------------------------------------------------------------------------------------------------


def policy_chain(direction: str, policy: int, version: int = 0) -> Chain:
    saddr = (*V4, Payload("network", 12 if direction == "i" else 16, 4))
    one, two, three = (port.to_bytes(2, "big") for port in ports_of(policy, version))
    dport = Payload("transport", 2, 2)
    rules = (
        Rule((*saddr, Lookup(f"h4-{policy}"), *TCP, dport, Cmp("eq", one), ACCEPT)),
        Rule((*saddr, Lookup(f"h4-{policy}"), *TCP, dport, Cmp("eq", two), ACCEPT)),
        Rule((*TCP, dport, Cmp("eq", three), ACCEPT)),
        Rule((*saddr, Lookup(f"h4-{policy}"), ACCEPT)),
    )
    return Chain(f"p{direction}-{policy}", rules)


def list_chain(shape: Shape, direction: str, group: int) -> Chain:
    jumps = tuple(Rule((Verdict("jump", f"p{direction}-{policy}"),)) for policy in policies_of(shape, group))
    return Chain(f"g{direction}-{group}", (*jumps, Rule((DROP,))))


def base_chain(name: str, priority: int, key: str, map_name: str) -> Chain:
    established = (Ct("state"), Bitwise((6).to_bytes(4, sys.byteorder), bytes(4)), Cmp("neq", bytes(4)), ACCEPT)
    load = Meta("iifname" if key == "iifname" else "oifname")
    rules = (Rule(established), Rule((load, Lookup(map_name, verdict=True))), Rule((load, Cmp("eq", b"cali"), DROP)))
    return Chain(name, rules, Hook("forward", priority))


def add_endpoint(state: TableState, shape: Shape, number: int) -> None:
    name = endpoint(number).encode().ljust(16, b"\0")
    state.want_element("wl-from", name, Verdict("goto", f"go-{number % shape.g}"))
    state.want_element("wl-to", name, Verdict("goto", f"gi-{number % shape.g}"))
    state.want_element("wl-src4", name + bytes((172, 16 + (number >> 16), number >> 8 & 255, number & 255)))


def desired(shape: Shape) -> TableState:
    """The whole structure as a table state."""
    state = TableState()
    state.want_set(SetDecl("wl-src4", ("ifname", "ipv4_addr"), size=1 << 14))
    for name in ("wl-from", "wl-to"):
        state.want_set(SetDecl(name, ("ifname",), "verdict", size=1 << 14))
    for policy in range(shape.p):
        state.want_set(SetDecl(f"h4-{policy}", ("ipv4_addr",), size=max(64, 1 << (2 * shape.s).bit_length())))
        for number in range(shape.s):
            state.want_element(f"h4-{policy}", packed.addr_bytes(member(policy, number)))
        for direction in "io":
            state.want_chain(policy_chain(direction, policy))
    for group in range(shape.g):
        for direction in "io":
            state.want_chain(list_chain(shape, direction, group))
    state.want_chain(base_chain("fwd-from", 0, "iifname", "wl-from"))
    state.want_chain(base_chain("fwd-to", 1, "oifname", "wl-to"))
    for number in range(shape.e):
        add_endpoint(state, shape, number)
    return state


# -- nft -f ----------------------------------------------------------------------------------------------------------


def policy_text(direction: str, policy: int, version: int = 0) -> str:
    addr = "saddr" if direction == "i" else "daddr"
    one, two, three = ports_of(policy, version)
    match = f"ip {addr} @h4-{policy}"
    return f"{match} tcp dport {one} accept; {match} tcp dport {two} accept; tcp dport {three} accept; {match} accept;"


def endpoint_elements(shape: Shape, number: int) -> tuple[str, str, str]:
    name = endpoint(number)
    address = f"172.{16 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"
    group = number % shape.g
    return f'"{name}" : goto go-{group}', f'"{name}" : goto gi-{group}', f'"{name}" . {address}'


def ruleset_text(shape: Shape) -> str:
    """The same structure in nft's language."""
    of_endpoints = [endpoint_elements(shape, number) for number in range(shape.e)]
    froms, tos, sources = (", ".join(column) for column in zip(*of_endpoints, strict=True))
    out = ["table inet felix {"]
    out.append(f"set wl-src4 {{ type ifname . ipv4_addr; size 16384; elements = {{ {sources} }}; }}")
    out.append(f"map wl-from {{ type ifname : verdict; size 16384; elements = {{ {froms} }}; }}")
    out.append(f"map wl-to {{ type ifname : verdict; size 16384; elements = {{ {tos} }}; }}")
    size = max(64, 1 << (2 * shape.s).bit_length())
    for policy in range(shape.p):
        members = ", ".join(member(policy, number) for number in range(shape.s))
        out.append(f"set h4-{policy} {{ type ipv4_addr; size {size}; elements = {{ {members} }}; }}")
        out += [f"chain p{direction}-{policy} {{ {policy_text(direction, policy)} }}" for direction in "io"]
    for group in range(shape.g):
        for direction in "io":
            jumps = " ".join(f"jump p{direction}-{policy};" for policy in policies_of(shape, group))
            out.append(f"chain g{direction}-{group} {{ {jumps} drop; }}")
    for name, priority, key, map_name in (("fwd-from", 0, "iifname", "wl-from"), ("fwd-to", 1, "oifname", "wl-to")):
        out.append(
            f"chain {name} {{ type filter hook forward priority {priority}; ct state established,related accept; "
            f'{key} vmap @{map_name}; {key} "cali*" drop; }}'
        )
    out.append("}")
    return "\n".join(out) + "\n"


def nft(netns: str, text: str) -> float:
    """Milliseconds that ``nft -f -`` takes, started inside the namespace."""

    def run() -> float:
        started = time.perf_counter()
        subprocess.run(["nft", "-f", "-"], input=text, text=True, check=True, capture_output=True)
        return (time.perf_counter() - started) * 1000

    return in_netns(netns, run)


# -- measuring -------------------------------------------------------------------------------------------------------


def timed(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return (time.perf_counter() - started) * 1000


def open_dataplane(netns: str, state: TableState) -> NftDataplane:
    def open_socket() -> NetlinkSocket:
        return in_netns(netns, lambda: NetlinkSocket(NETLINK_NETFILTER))

    return NftDataplane(Table("felix"), state, socket_factory=open_socket)


def measure_round(shape: Shape, name: str, steps: int) -> dict[str, list[float]]:
    """One round: both initial loads, then changes in turns."""
    times: dict[str, list[float]] = {}

    def note(key: str, value: float) -> None:
        times.setdefault(key, []).append(value)

    with temporary_netns(f"{name}-nft") as theirs, temporary_netns(f"{name}-raw") as ours:
        text = ruleset_text(shape)
        started = time.perf_counter()
        state = desired(shape)
        note("build", (time.perf_counter() - started) * 1000)
        dataplane = open_dataplane(ours, state)
        note("initial nft", nft(theirs, text))
        note("initial raw", timed(dataplane.apply))
        assert dataplane.failed == ()
        for step in range(steps):
            incremental(shape, state, dataplane, step, lambda script: nft(theirs, script), note)
        dataplane.resync()
        note("read back", timed(dataplane.apply))
        note("generation", timed(dataplane.generation_changed))
        dataplane.close()
    return times


def incremental(
    shape: Shape,
    state: TableState,
    dataplane: NftDataplane,
    step: int,
    run_nft: Callable[[str], float],
    note: Callable[[str, float], None],
) -> None:
    policy = step % shape.p
    note("policy nft", run_nft(_rewrite_script(policy, step + 1)))
    for direction in "io":
        state.want_chain(policy_chain(direction, policy, step + 1))
    result = dataplane.apply()
    note("policy raw", result.took_ms)
    extra = packed.addr_bytes("192.0.2.7")
    note("member nft", run_nft(f"add element inet felix h4-{policy} {{ 192.0.2.7 }}\n"))
    state.want_element(f"h4-{policy}", extra)
    result = dataplane.apply()
    note("member raw", result.took_ms)
    note("member messages", result.messages)
    note("endpoint nft", run_nft(_endpoint_script(shape, shape.e + step)))
    add_endpoint(state, shape, shape.e + step)
    result = dataplane.apply()
    note("endpoint raw", result.took_ms)
    note("endpoint messages", result.messages)
    assert result.failed == ()
    note("member gone nft", run_nft(f"delete element inet felix h4-{policy} {{ 192.0.2.7 }}\n"))
    state.unwant_element(f"h4-{policy}", extra)
    note("member gone raw", dataplane.apply().took_ms)


def _rewrite_script(policy: int, version: int) -> str:
    lines = []
    for direction in "io":
        chain = f"inet felix p{direction}-{policy}"
        lines.append(f"flush chain {chain}")
        rules = policy_text(direction, policy, version).split(";")
        lines += [f"add rule {chain} {rule.strip()}" for rule in rules if rule.strip()]
    return "\n".join(lines) + "\n"


def _endpoint_script(shape: Shape, number: int) -> str:
    source, target, address = endpoint_elements(shape, number)
    return (
        f"add element inet felix wl-from {{ {source} }}\nadd element inet felix wl-to {{ {target} }}\n"
        f"add element inet felix wl-src4 {{ {address} }}\n"
    )


def measure(shape: Shape, rounds: int, steps: int) -> dict[str, float]:
    """Medians over all rounds, in ms (and messages)."""
    times: dict[str, list[float]] = {}
    for number in range(rounds):
        for key, values in measure_round(shape, f"nftbench{number}-{shape.e}-{shape.g}", steps).items():
            times.setdefault(key, []).extend(values)
    return {key: statistics.median(values) for key, values in times.items()}


def goals_of(shape: Shape, found: dict[str, float]) -> list[Goal]:
    """The goals of the dataplane's design, as far as they speak of this shape."""
    few_lists = shape.g * 4 <= shape.e
    initial = found["initial raw"] / found["initial nft"]
    goals = [Goal("initial raw / nft", initial, 0.75 if few_lists else 0.9, False)]
    goals.append(Goal("member: nft / raw", found["member nft"] / found["member raw"], 20, True))
    goals.append(Goal("member: ms", found["member raw"], 0.5, False))
    goals.append(Goal("member: messages", found["member messages"], 1, False))
    goals.append(Goal("endpoint: messages", found["endpoint messages"], 4, False))
    if few_lists:
        small = shape.e <= 1000
        goals.append(
            Goal("endpoint: nft / raw", found["endpoint nft"] / found["endpoint raw"], 5 if small else 3, True)
        )
        goals.append(Goal("endpoint: ms", found["endpoint raw"], 1 if small else 3, False))
        goals.append(Goal("policy: nft / raw", found["policy nft"] / found["policy raw"], 8, True))
        goals.append(Goal("policy: ms", found["policy raw"], 1 if small else 3, False))
    return goals


def show(shape: Shape, found: dict[str, float], goals: list[Goal]) -> None:
    print(f"\n{shape}   (ms, medians)")
    print(f"  {'':14}{'nft -f':>10}{'ours':>10}{'ratio':>9}")
    for key in ("initial", "policy", "member", "member gone", "endpoint"):
        theirs, ours = found[f"{key} nft"], found[f"{key} raw"]
        print(f"  {key:14}{theirs:10.2f}{ours:10.3f}{theirs / ours:8.1f}x")
    print(f"  building the state {found['build']:.1f}, read back {found['read back']:.1f}, ", end="")
    print(f"generation {found['generation']:.4f}")
    for goal in goals:
        sign = ">=" if goal.at_least else "<="
        print(f"  {'met ' if goal.met else 'MISSED'} {goal.name} {goal.measured:.2f} {sign} {goal.limit:g}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small structures, under 20 s")
    quick = parser.parse_args().quick
    shapes = (
        [Shape(1000, 50, 100, 10)]
        if quick
        else [
            Shape(1000, 50, 100, 10),
            Shape(1000, 1000, 100, 10),
            Shape(5000, 100, 500, 10),
            Shape(100, 10, 10, 10_000),
        ]
    )
    rounds, steps = (2, 5) if quick else (3, 7)
    report = []
    for shape in shapes:
        found = measure(shape, rounds, steps)
        goals = goals_of(shape, found)
        show(shape, found, goals)
        report.append(
            {"shape": shape._asdict(), "ms": found, "goals": [{**goal._asdict(), "met": goal.met} for goal in goals]}
        )
    RESULTS.parent.mkdir(exist_ok=True)
    machine = {"kernel": platform.release(), "python": platform.python_version()}
    RESULTS.write_text(json.dumps({"machine": machine, "quick": quick, "runs": report}, indent=1) + "\n")
    missed = sum(not goal["met"] for run in report for goal in run["goals"])
    print(f"\n{missed} goals missed; written to bench/results/{RESULTS.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
