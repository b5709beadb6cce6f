"""How long a mesh, and reflectors with their clients, take to come up, and how much memory they need.

``python bench/scale.py [--quick]`` (two minutes, or half of one; needs root and BIRD). Light hosts: a namespace and a
BIRD each, with the configuration that its agent would write; they are up when every kernel has a route to every other
host's block. Peer: a configuration written by hand with the same sessions, on the same hosts in the same run; the
figure to look at is the ratio. The limits are those of the design (100 nodes as a mesh: 20 s and 400 MB of PSS; 200
clients of two reflectors: 20 s and 300 MB; at rest 5 % of a core) and hold for the full sizes. ``move`` ends the mesh
of hosts that have reflectors already, and counts the routes that kernels lose. Results go to
bench/results/scale[-quick].json.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from calico.bgp.reflectors.figures import mesh_cost, reflector_cost
from calico.bgp.reflectors.fleet import DEFAULT_CLUSTER_ID, REFLECTOR_LABEL, peering_of
from calico.lab.addressing import HostPlan, Layout
from calico.lab.daemons import run_dir
from calico.lab.light import LightLab, planned_texts
from calico.lab.resources import Document, lab_documents
from calico.lab.topology import Host, Topology

RESULTS = Path(__file__).parent / "results"
LIMIT_S, WAIT_S, REST_S = 20.0, 120.0, 5.0
PLAIN = """\
log "{directory}/bird.log" {{ warning, error, fatal, bug }};
router id {address};
protocol device {{ scan time 10; }}
protocol direct {{ ipv4; interface "eth0"; }}
protocol kernel {{ learn; scan time 2; ipv4 {{ import all; export where source = RTS_BGP; }}; }}
protocol static {{ ipv4; route {block} blackhole; }}
"""
PLAIN_PEER = """\
protocol bgp p{number} {{
  local {address} as 64512; neighbor {other} as 64512; multihop; connect delay time 1; connect retry time 2;{client}
  ipv4 {{ import all; export where net ~ 10.65.0.0/16; gateway recursive; }};
}}
"""


def topology(count: int, reflectors: int) -> Topology:
    """``count`` hosts, and reflectors beside them."""
    names = [f"r{number}" for number in range(reflectors)] + [f"h{number:03}" for number in range(count)]
    hosts = tuple(Host(name=name, reflector=name.startswith("r")) for name in names)
    return Topology(name="benchscale", hosts=hosts)


def plain_texts(layout: Layout) -> dict[str, str]:
    """What a person would write for the same hosts."""
    return {plan.host.name: "".join(_plain(layout, plan)) for plan in layout.hosts}


def _plain(layout: Layout, me: HostPlan) -> Iterator[str]:
    address = me.uplink.address4
    block = next(block for block in me.blocks if ":" not in block)
    yield PLAIN.format(directory=run_dir(layout.name, me.host.name), address=address, block=block)
    mesh = not layout.topology.reflectors
    for number, other in enumerate(layout.hosts):
        if other is not me and (mesh or me.host.reflector or other.host.reflector):
            client = " rr client;" if me.host.reflector and not other.host.reflector else ""
            yield PLAIN_PEER.format(number=number, address=address, other=other.uplink.address4, client=client)


def come_up(lab: LightLab, texts: Mapping[str, str], sessions: int) -> dict[str, float]:
    """Start all, wait for all routes and sessions, let them rest, and end all."""
    begin = time.monotonic()
    lab.start(texts)
    lab.await_routes(WAIT_S)
    up_s = time.monotonic() - begin
    used = lab.cpu_s()
    while lab.established() < 2 * sessions:
        time.sleep(0.2)
        if time.monotonic() > begin + WAIT_S:
            raise SystemExit(f"{lab.established()} of {2 * sessions} ends of sessions are established")
    memory = lab.memory_bytes()
    before = lab.cpu_s()
    time.sleep(REST_S)
    rest = (lab.cpu_s() - before) / REST_S
    lab.stop()
    return {
        "up_s": round(up_s, 2),
        "cpu_s": round(used, 2),
        "pss_mb": round(sum(memory.values()) / 1e6, 1),
        "pss_most_mb": round(max(memory.values()) / 1e6, 1),
        "at_rest_percent_of_a_core": round(rest * 100, 1),
    }


def compare(count: int, reflectors: int, most_mb: float) -> dict[str, Any]:
    """One size: planned and plain configurations in turn."""
    with LightLab(topology(count, reflectors)) as lab:
        begin = time.perf_counter()
        texts = planned_texts(lab.layout)
        plan_ms = (time.perf_counter() - begin) * 1e3 / len(texts)
        cost = reflector_cost([count], reflectors) if reflectors else mesh_cost(count)
        plain = come_up(lab, plain_texts(lab.layout), cost.sessions_total)
        ours = come_up(lab, texts, cost.sessions_total)
    return {
        "sessions": cost.sessions_total,
        "plan_and_render_ms_per_host": round(plan_ms, 2),
        "ours": ours,
        "plain": plain,
        "ratio_up": round(ours["up_s"] / plain["up_s"], 2),
        "ratio_pss": round(ours["pss_mb"] / plain["pss_mb"], 2),
        "estimated_pss_mb": cost.memory_total_mb,
        "within_limits": ours["up_s"] <= LIMIT_S
        and ours["pss_mb"] <= most_mb
        and ours["at_rest_percent_of_a_core"] <= 5.0,
    }


def documents(layout: Layout, reflectors: tuple[str, ...], *, mesh: bool) -> Iterator[Document]:
    """The resources of hosts that have reflectors of ours, with or without the mesh."""
    for given in lab_documents(layout):
        document = msgspec.json.decode(msgspec.json.encode(given))
        if document["kind"] == "BGPConfiguration":
            document["spec"]["nodeToNodeMeshEnabled"] = mesh
        if document["kind"] == "Node" and document["metadata"]["name"] in reflectors:
            document["metadata"]["labels"][REFLECTOR_LABEL] = DEFAULT_CLUSTER_ID
            document["spec"]["bgp"]["routeReflectorClusterID"] = DEFAULT_CLUSTER_ID
        yield document
    peering = peering_of(DEFAULT_CLUSTER_ID, "all()", None)
    metadata = {"name": peering.metadata.name, "annotations": peering.metadata.annotations}
    yield {"kind": "BGPPeer", "metadata": metadata, "spec": msgspec.to_builtins(peering.spec)}


def move(count: int) -> dict[str, Any]:
    """The end of a mesh of ``count`` hosts, two of which reflect."""
    reflectors = ("h000", "h001")
    sessions = reflector_cost([count - 2], 2).sessions_total
    with LightLab(topology(count, 0)) as lab:
        lab.start(planned_texts(lab.layout, documents(lab.layout, reflectors, mesh=True)))
        lab.await_routes(WAIT_S)
        while lab.established() < 2 * mesh_cost(count).sessions_total:
            time.sleep(0.2)
        texts = planned_texts(lab.layout, documents(lab.layout, reflectors, mesh=False))
        with lab.watched_routes() as gone:
            begin = time.monotonic()
            lab.configure(texts)
            while lab.established() > 2 * sessions:
                time.sleep(0.2)
            took_s = time.monotonic() - begin
            time.sleep(1.0)
    return {"hosts": count, "sessions_after": sessions, "took_s": round(took_s, 2), "routes_lost": len(gone)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="20 and 30 hosts")
    quick = parser.parse_args().quick
    mesh, clients = (20, 30) if quick else (100, 200)
    results = {
        f"mesh_{mesh}": compare(mesh, 0, 400.0),
        f"reflectors_{clients}": compare(clients, 2, 300.0),
        f"move_{mesh}": move(mesh),
    }
    print(json.dumps(results, indent=2))
    RESULTS.mkdir(exist_ok=True)
    name = "scale-quick.json" if quick else "scale.json"
    (RESULTS / name).write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
