"""What flow logs and the counters of drops cost a forwarded packet, as ratios to the same ruleset without them.

The paths and the measuring are those of ``forwarding.py``: slots of packets over all structures in turn within one run.
*est*: packets of known connections, which no log rule sees; *new*: every packet is a connection's first that is never
answered, so that every packet is logged twice (egress and ingress); *setup*: each begins a connection. "read": Felix's
reader takes the messages, on the same processors, and the kernel counts what goes over connections. Writes
bench/results/flow_logs.json.

    python bench/flow_logs.py [--quick]
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import msgspec

from calico.netlink.nftables.expr import CountIn
from calico.rules.config import RulesConfig
from calico.rules.ruleset import Ruleset
from calico.rules.table import TableState
from forwarding import Figures, measure, messages, open_path

RESULTS = Path(__file__).resolve().parent / "results" / "flow_logs.json"
GROUP = 80
EST_GOAL = 1.10
"""Established packets with flow logs on, over off: no rule more; what is left is the kernel's accounting.
That there is no rule more is proved by ``tests/unit/rules/test_flowlogs.py``; this bound allows for a busy machine."""

READER = """
import os, select, sys, time
from calico.dataplane.flows.log_reader import FlowReader
from calico.felix.flows.table import FlowTable, flow_key
from calico.rules.flowlogs import decision_of
reader, table, packets = FlowReader(80), FlowTable(), [0]
def on_packet(packet):
    packets[0] += 1
    table.on_packet(time.monotonic(), flow_key(packet.data), packet.data, decision_of(packet.prefix))
print("ready", flush=True)
while True:
    started = time.monotonic()
    if select.select([*reader.filenos(), 0], [], [], 1)[0] and select.select([0], [], [], 0)[0]:
        break
    reader.read(0.005, on_packet, lambda payload: None)
    table.take(time.monotonic())
    time.sleep(max(0.005, time.monotonic() - started))
print(packets[0], reader.lost, flush=True)
"""


def ours(*, group: int | None = None, counters: bool = True) -> TableState:
    """The ruleset of 1000 endpoints; without ``counters`` its drops say nothing."""
    state = TableState()
    ruleset = Ruleset(state, RulesConfig(flow_log_group=group))
    for message in messages():
        ruleset.on_message(message)
    if not counters:
        for chain in list(state.chains.values()):
            rules = tuple(
                msgspec.structs.replace(rule, exprs=tuple(e for e in rule.exprs if not isinstance(e, CountIn)))
                for rule in chain.rules
            )
            state.want_chain(msgspec.structs.replace(chain, rules=rules))
    return state


STRUCTURES = {
    "off": ours,
    "off, drops not counted": lambda: ours(counters=False),
    "on, nobody reads": lambda: ours(group=GROUP),
    "on, read": lambda: ours(group=GROUP),
}


def read_in(stack: ExitStack, netns: str) -> subprocess.Popen[str]:
    """A reader of flow logs in a namespace; it ends with its standard input."""
    command = ["nsenter", f"--net=/run/netns/{netns}", sys.executable, "-c", READER]
    reader = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    stack.callback(reader.kill)
    assert reader.stdout is not None
    if reader.stdout.readline() != "ready\n":
        raise RuntimeError("the reader did not start")
    return reader


def show(figures: Figures) -> None:
    kinds = [f"{kind}{version}" for version in (4, 6) for kind in ("est", "new", "setup")]
    print(f"{'':26}" + "".join(f"{kind:>18}" for kind in kinds))
    for name, found in figures.items():
        cells = []
        for kind in kinds:
            base = figures["off"][kind]
            cells.append(f"{base:.0f} ns" if name == "off" else f"{found[kind] / base:.3f} ({base / found[kind]:.1%})")
        print(f"{name:26}" + "".join(f"{cell:>18}" for cell in cells))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    quick = parser.parse_args().quick
    with ExitStack() as stack:
        paths = {name: open_path(stack, 50 + n, make()) for n, (name, make) in enumerate(STRUCTURES.items())}
        reader = read_in(stack, f"fwbench{50 + list(STRUCTURES).index('on, read')}-h")
        figures = measure(paths, rounds=3 if quick else 7, slots=160, setups=60)
        told, _ = reader.communicate("\n", timeout=30)
    show(figures)
    packets, lost = map(int, told.split())
    print(f"  the reader took {packets} messages and missed {lost}")
    failed = False
    for name in ("off, drops not counted", "on, nobody reads", "on, read"):
        for version in (4, 6):
            ratio = figures[name][f"est{version}"] / figures["off"][f"est{version}"]
            met = ratio <= EST_GOAL
            failed |= not met
            print(f"  {'met   ' if met else 'MISSED'} IPv{version} established, {name} / off {ratio:.3f} <= {EST_GOAL}")
    RESULTS.parent.mkdir(exist_ok=True)
    machine = {"kernel": platform.release(), "python": platform.python_version()}
    RESULTS.write_text(json.dumps({"machine": machine, "figures": figures, "read": packets, "lost": lost}, indent=2))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
