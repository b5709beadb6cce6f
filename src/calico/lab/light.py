"""Light hosts: a namespace with a BIRD and nothing else, so that hundreds fit on one machine.

No datastore and no daemons: what each host's BGP agent would plan from a topology's resources is planned here, host by
host, and its BIRD is run with that. Whatever happens, ``calico lab down`` finds what is left by the lab's name.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from calico.bgp.birdconf.render import render
from calico.bgp.planning.plan import build_plan
from calico.bgp.planning.snapshot import SnapshotStore
from calico.dataplane.links import Links
from calico.dataplane.netns import in_netns
from calico.datastore.api import Update
from calico.errors import Transient
from calico.lab.addressing import Attachment, Layout, plan_layout
from calico.lab.birdshow import ask_bird
from calico.lab.daemons import run_dir
from calico.lab.down import take_down
from calico.lab.fabric import Member, Segment, build_segment, make_namespace
from calico.lab.processes import daemon_environment, end_processes, start_process
from calico.lab.resources import Document, lab_documents
from calico.lab.state import ProcessRecord
from calico.lab.topology import Topology
from calico.lib import packed
from calico.model.keys import ResourceKey, key_path
from calico.netlink.rtnetlink.event import GROUP_ROUTE4, decode_event
from calico.netlink.rtnetlink.route import KernelRoute
from calico.netlink.socket import NetlinkSocket

__all__ = ["LightLab", "planned_texts"]

_BIRD_PROTOCOL = 12  # RTPROT_BIRD
_EVENTS_BYTES = 1 << 22
_POLL_S = 0.2


class LightLab:
    """The hosts of a topology on one segment, for as long as a with block; ``start`` runs a BIRD on each."""

    def __init__(self, topology: Topology) -> None:
        self.layout = plan_layout(topology)
        self._records: dict[str, ProcessRecord] = {}
        self._incomplete: set[str] = set()

    def __enter__(self) -> Self:
        try:
            self._build()
        except BaseException:
            take_down(self.layout.name)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        take_down(self.layout.name)

    def start(self, texts: Mapping[str, str]) -> None:
        """Start a BIRD on each host with the configuration given for it, by the host's name."""
        environment = daemon_environment(self.layout.name)
        for plan in self.layout.hosts:
            name = plan.host.name
            directory = Path(run_dir(self.layout.name, name))
            directory.mkdir(mode=0o755, parents=True, exist_ok=True)
            (directory / "bird.conf").write_text(texts[name])
            argv = ["bird", "-f"]
            for flag, file in (("-c", "bird.conf"), ("-s", "bird.ctl"), ("-P", "bird.pid")):
                argv += [flag, str(directory / file)]
            log = str(directory / "bird.log")
            record = ProcessRecord(kind="bird", machine=name, netns=plan.netns, argv=tuple(argv), log=log)
            self._records[name] = start_process(record, environment)
        self._incomplete = {plan.host.name for plan in self.layout.hosts}

    def stop(self) -> None:
        """End all BIRDs, and with them the routes that they left in the kernels."""
        end_processes(lambda: {r.pid: r.start_ticks for r in self._records.values() if _runs(r)})
        self._records.clear()
        for plan in self.layout.hosts:
            with Links(plan.netns) as links:
                for net in _bird_routes(links):
                    links.delete_route(net)

    def await_routes(self, timeout_s: float) -> float:
        """Seconds from now until every kernel knows every other host's blocks; Transient when it takes longer."""
        begin = time.monotonic()
        while self._incomplete:
            self._incomplete = {name for name in self._incomplete if self._lacks_routes(name)}
            if self._incomplete and time.monotonic() > begin + timeout_s:
                some = ", ".join(sorted(self._incomplete)[:5])
                raise Transient(f"{len(self._incomplete)} hosts lack routes after {timeout_s:.0f} s: {some}")
            time.sleep(_POLL_S if self._incomplete else 0)
        return time.monotonic() - begin

    def configure(self, texts: Mapping[str, str]) -> None:
        """Give each BIRD another configuration while it runs."""
        for name, text in texts.items():
            directory = Path(run_dir(self.layout.name, name))
            (directory / "bird.conf").write_text(text)
            ask_bird(str(directory / "bird.ctl"), "configure")

    @contextlib.contextmanager
    def watched_routes(self) -> Iterator[list[str]]:
        """Every IPv4 route that BIRD takes out of a kernel meanwhile, as ``host prefix``; known after the block."""
        gone: list[str] = []
        with contextlib.ExitStack() as stack:
            watched = {plan.host.name: stack.enter_context(_route_events(plan.netns)) for plan in self.layout.hosts}
            yield gone
            for name, events in watched.items():
                for message in events.drain():
                    event = decode_event(message)
                    if event is not None and event.gone and isinstance(event.subject, KernelRoute):
                        gone.append(f"{name} {packed.net_str(event.subject.dst)}")

    def established(self) -> int:
        """Ends of sessions that are established; a session has two."""
        return sum(
            " Established" in line
            for name in self._records
            for line in ask_bird(f"{run_dir(self.layout.name, name)}/bird.ctl", "show protocols")
        )

    def memory_bytes(self) -> dict[str, int]:
        """By host: the proportional set size (PSS) of its BIRD, which counts what is shared once."""
        return {name: _pss(record.pid) for name, record in self._records.items()}

    def cpu_s(self) -> float:
        """What all BIRDs have used so far, in seconds of one core."""
        ticks = sum(_cpu_ticks(record.pid) for record in self._records.values())
        return ticks / os.sysconf("SC_CLK_TCK")

    def _build(self) -> None:
        fabric = self.layout.netns("fabric")
        make_namespace(fabric, router=False)
        for plan in self.layout.hosts:
            make_namespace(plan.netns, router=True)
        members = (Member(p.netns, "eth0", _without_router(p.uplink)) for p in self.layout.hosts)
        build_segment(fabric, Segment("hosts", tuple(members)))

    def _lacks_routes(self, name: str) -> bool:
        plan = next(plan for plan in self.layout.hosts if plan.host.name == name)
        with Links(plan.netns) as links:
            known = set(_bird_routes(links))
        return any(
            block not in known for other in self.layout.hosts if other is not plan for block in _ipv4(other.blocks)
        )


def planned_texts(layout: Layout, documents: Iterable[Document] | None = None) -> dict[str, str]:
    """By host: the bird.conf that its agent would write; IPv4 alone, with no sessions but those between the hosts.

    ``documents`` are the resources to plan from, those of the lab if not given.
    """
    store = SnapshotStore("")
    store.apply(_updates(lab_documents(layout) if documents is None else documents))
    shared, texts = store.view(), {}
    for plan in layout.hosts:
        snapshot = msgspec.structs.replace(shared, blocks=tuple(_ipv4(plan.blocks)))
        planned = build_plan(snapshot, plan.host.name)
        texts[plan.host.name] = render(planned.plan, f"{run_dir(layout.name, plan.host.name)}/bird.log")
    return texts


def _updates(documents: Iterable[Document]) -> Iterable[Update]:
    for document in documents:
        if "peerIP" in document["spec"]:
            continue
        if document["kind"] == "Node":
            bgp = {field: value for field, value in document["spec"]["bgp"].items() if field != "ipv6Address"}
            document = {**document, "spec": {**document["spec"], "bgp": bgp}}
        key = ResourceKey(document["kind"], "", document["metadata"]["name"])
        yield Update(key_path(key), msgspec.json.encode(document), 1)


def _route_events(netns: str) -> NetlinkSocket:
    return in_netns(netns, lambda: NetlinkSocket(0, groups=(GROUP_ROUTE4,), rcvbuf=_EVENTS_BYTES))


def _ipv4(blocks: Iterable[str]) -> list[str]:
    return [block for block in blocks if ":" not in block]


def _without_router(end: Attachment) -> Attachment:
    return msgspec.structs.replace(end, via4="", via6="")


def _bird_routes(links: Links) -> list[str]:
    return [packed.net_str(route.dst) for route in links.routes() if route.protocol == _BIRD_PROTOCOL]


def _runs(record: ProcessRecord) -> bool:
    return Path(f"/proc/{record.pid}").exists()


def _pss(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def _cpu_ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])
