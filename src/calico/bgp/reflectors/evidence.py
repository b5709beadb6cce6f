"""What hosts say about their sessions, and what of it stands against the next step of a move. Pure but the reader.

A host that says nothing counts as one whose sessions are down: a step is taken on evidence, never for lack of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

from calico.bgp.planning.birdplan import Family
from calico.bgp.reflectors.fleet import Cluster, Fleet
from calico.bgp.remote.asking import ask
from calico.datastore.api import Backend
from calico.errors import Transient
from calico.obs.statussocket import read_status

__all__ = [
    "AskedAgents",
    "HostReport",
    "Reports",
    "SessionReport",
    "StatusSockets",
    "open_points",
    "report_of_document",
    "unlearned",
]


class SessionReport(msgspec.Struct, frozen=True):
    """One session as its host sees it; ``imported`` routes are those accepted from the far end."""

    established: bool
    state: str
    imported: int


class HostReport(msgspec.Struct, frozen=True, kw_only=True):
    """A host's own word. ``revision``: its BIRD runs what the datastore said then. ``sessions`` by far address."""

    node: str
    in_sync: bool
    revision: int
    sessions: Mapping[str, SessionReport]


class Reports(Protocol):
    """Where hosts' words are had from."""

    async def read(self, nodes: Iterable[str]) -> Mapping[str, HostReport]:
        """Those of ``nodes`` that say something now."""
        ...


class StatusSockets:
    """The agents' status sockets, where they can be reached; ``{node}`` in a directory stands for the host's name."""

    def __init__(self, directories: Sequence[str]) -> None:
        self._directories = directories

    async def read(self, nodes: Iterable[str]) -> dict[str, HostReport]:
        """Part of ``Reports``."""
        wanted, found = set(nodes), {}
        paths = {directory.replace("{node}", node) for directory in self._directories for node in wanted}
        for path in sorted(paths):
            try:
                report = report_of_document(read_status(Path(path) / "bgp.sock"))
            except Transient:
                continue
            if report.node in wanted:
                found[report.node] = report
        return found


class AskedAgents:
    """The agents themselves, asked through the datastore."""

    def __init__(self, backend: Backend, timeout_s: float = 5.0) -> None:
        self._backend, self._timeout_s = backend, timeout_s

    async def read(self, nodes: Iterable[str]) -> dict[str, HostReport]:
        """Part of ``Reports``."""
        answers = await ask(self._backend, tuple(nodes), "overview", timeout_s=self._timeout_s)
        return {
            host: report_of_document(answer.status) for host, answer in answers.items() if answer.status is not None
        }


def report_of_document(document: Mapping[str, Any]) -> HostReport:
    """The report in the BGP agent's status document."""
    return HostReport(
        node=document["node"],
        in_sync=bool(document["in_sync"]) and document["bird"]["state"] == "up",
        revision=document["config_revision"],
        sessions={
            session["peer_ip"]: SessionReport(
                session["state"] == "Established", session["state"], int(session["imported"] or 0)
            )
            for session in document["sessions"]
        },
    )


def open_points(
    fleet: Fleet,
    reports: Mapping[str, HostReport],
    pairs: Iterable[tuple[str, str]],
    *,
    revision: int = 0,
    ignored: frozenset[str] = frozenset(),
) -> list[str]:
    """What is missing for all hosts to run ``revision`` with a session between both of each pair, as sentences."""
    found = []
    for name in sorted(fleet.hosts.keys() - ignored):
        report = reports.get(name)
        if report is None:
            found.append(f"{name} says nothing about its sessions")
        elif not report.in_sync or report.revision < revision:
            found.append(f"{name} does not run the configuration of revision {revision} yet")
    for one, other in pairs:
        if one in ignored or other in ignored:
            continue
        for name, far in ((one, other), (other, one)):
            found += _down(fleet, reports.get(name), name, far)
    return found


def _down(fleet: Fleet, report: HostReport | None, name: str, far: str) -> Iterator[str]:
    if report is None:
        return
    for family in fleet.common(name, far):
        session = report.sessions.get(fleet.hosts[far].address(family))
        if session is None or not session.established:
            state = session.state if session is not None else "not there"
            yield f"the IPv{family} session of {name} with {far} is {state}"


def unlearned(
    fleet: Fleet,
    reports: Mapping[str, HostReport],
    *,
    ignored: frozenset[str] = frozenset(),
    without: str = "",
    leaves: bool = False,
) -> list[str]:
    """Hosts that have not learned from each of their reflectors as many routes as from all for whom these speak.

    Only counts are known: with several clusters a route comes by several reflectors, so that fewer could be missed.
    ``without`` is a reflector that is about to go: what it tells must come by the others; what it is told, too, once it
    ``leaves`` its clients.
    """
    found: list[str] = []
    for name, report in sorted(reports.items()):
        if name not in fleet.hosts or name in ignored:
            continue
        for cluster in fleet.clusters_of(name):
            spoken_for = _spoken_for(fleet, name, cluster, everybody=name == without and leaves)
            for member in cluster.reflectors:
                if member not in ignored and member not in (name, without):
                    found += _fewer(fleet, report, name, member, spoken_for | ({without} - {"", name}))
    return found


def _spoken_for(fleet: Fleet, name: str, cluster: Cluster, *, everybody: bool) -> set[str]:
    """The nodes whose routes a cluster's reflectors tell a host: its own clients' to a reflector, else all.

    Without reflectors, for with these no count tells their own routes from others'.
    """
    members = fleet.members
    if name not in members or everybody:
        return set(fleet.hosts.keys() - members.keys() - {name})
    if members[name] == cluster.cluster_id:
        return set()  # they drop each other's clients' routes as loops, and have them from the clients themselves
    return set(fleet.clients_of(cluster))


def _fewer(fleet: Fleet, report: HostReport, name: str, reflector: str, others: Iterable[str]) -> Iterator[str]:
    for family in fleet.common(name, reflector):
        direct = sum(_imported(fleet, report, other, family) for other in others)
        told = _imported(fleet, report, reflector, family)
        if told < direct:
            yield f"{name} has learned {told} IPv{family} routes from {reflector}, and {direct} without reflectors"


def _imported(fleet: Fleet, report: HostReport, far: str, family: Family) -> int:
    session = report.sessions.get(fleet.hosts[far].address(family))
    return session.imported if session is not None and session.established else 0
