"""The leader's view of what hosts report, and what follows for ports.

A port is ACTIVE when its endpoint is up *and* its host says that the revision at which the endpoint was last written is
in its kernel (``datastore.barrier``): an endpoint that is up with yesterday's security groups is not what was asked.
Questions are coalesced: one key, asked again at most every ``_PAUSE_S``, holds the highest revision that is waited for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from contextlib import aclosing

import msgspec

from calico.datastore.api import Backend, KeyValue, Op, Query
from calico.datastore.barrier import ASK_PREFIX, Answer, Ask
from calico.errors import CalicoError, InvalidInput, ResyncRequired
from calico.model.keys import key_path
from calico.obs.logger import Logger
from calico.orchestrators.openstack import naming
from calico.orchestrators.openstack.convert import Options
from calico.orchestrators.openstack.driver.desired import denied_ports
from calico.orchestrators.openstack.driver.worker import feedback
from calico.orchestrators.openstack.driver.worker.agents import Agents
from calico.orchestrators.openstack.driver.worker.leader import Term
from calico.orchestrators.openstack.driver.worker.statuskeys import (
    Alive,
    Applied,
    EndpointStatus,
    read_report,
    status_prefix,
)

__all__ = ["StatusWatcher"]

log = Logger(__name__)

_BATCH = 100
_PAUSE_S = 0.3
_ASK_TTL_S = 60
_ASK_AGAIN_S = 20.0
_RECHECK_S = 2.0
_COMPLAIN_S = 30.0
_RETRY_S = 1.0

At = tuple[str, str]
"""A port and a host."""


class StatusWatcher:
    """One term's view; a new leader begins with a new one."""

    def __init__(self, backend: Backend, options: Options, agents: Agents, term: Term, *, programmed: bool) -> None:
        self._backend, self._options, self._agents, self._term = backend, options, agents, term
        self._region, self._programmed = options.region, programmed
        self._prefix = status_prefix(options.region)
        self._statuses: dict[At, EndpointStatus] = {}
        self._applied: dict[str, Answer] = {}
        self._hosts: set[str] = set()
        self._due: dict[At, None] = {}
        self._waiting: dict[At, int] = {}
        self._news, self._questions = asyncio.Event(), asyncio.Event()

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow())
            tasks.create_task(self._judge())
            tasks.create_task(self._recheck())
            if self._programmed:
                tasks.create_task(self._ask())

    # ---- what hosts report

    async def _follow(self) -> None:
        while True:
            try:
                listing = await self._backend.list(self._prefix)
                self._begin(listing.items)
                start = listing.revision + 1
                while True:
                    start = await self._watch(start)
            except ResyncRequired as error:
                log.info("calico_status_read_again", reason=str(error))
            except CalicoError as error:
                log.info("calico_status_not_followed", reason=str(error))
                await asyncio.sleep(_RETRY_S)

    async def _watch(self, start: int) -> int:
        """Follow until the stream breaks; where to go on. ResyncRequired after a compaction."""
        try:
            async with aclosing(self._backend.watch(self._prefix, start)) as batches:
                async for batch in batches:
                    for update in batch.updates:
                        self._on_key(update.key, update.value)
                    start = max(start, batch.revision + 1)
        except ResyncRequired:
            raise
        except CalicoError as error:
            log.info("calico_status_not_followed", reason=str(error))
            await asyncio.sleep(_RETRY_S)
        return start

    def _begin(self, items: Collection[KeyValue]) -> None:
        """Take the whole for what it is: what is not there any more is gone."""
        before, hosts = dict(self._statuses), set(self._hosts)
        self._applied.clear()
        there = set()
        for item in items:
            self._on_key(item.key, item.value)
            report = read_report(self._prefix, item.key, item.value)
            if isinstance(report, EndpointStatus):
                there.add((report.port_id, report.host))
            elif isinstance(report, Alive):
                hosts.discard(report.host)
        for host in hosts:
            self._on_alive(host, False)
        for at, status in before.items():
            if at not in there:
                self._on_status(msgspec.structs.replace(status, status="", revision=0))

    def _on_key(self, key: str, value: bytes | None) -> None:
        report = read_report(self._prefix, key, value)
        if isinstance(report, Alive):
            self._on_alive(report.host, report.alive)
        elif isinstance(report, Applied):
            if report.answer is not None:
                self._applied[report.host] = report.answer
                here = [at for at in self._waiting if at[1] == report.host]
                self._due.update({at: None for at in here if report.answer.reaches(self._waiting[at])})
                self._news.set()
        elif isinstance(report, EndpointStatus):
            self._on_status(report)

    def _on_alive(self, host: str, alive: bool) -> None:
        self._hosts = self._hosts | {host} if alive else self._hosts - {host}
        self._agents.on_alive(host, alive)

    def _on_status(self, report: EndpointStatus) -> None:
        at = (report.port_id, report.host)
        if report.status:
            self._statuses[at] = report
        else:
            self._statuses.pop(at, None)
        self._due[at] = None
        self._news.set()

    # ---- what follows

    async def _judge(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            while self._due:
                batch = list(self._due)[:_BATCH]
                for at in batch:
                    del self._due[at]
                try:
                    await self._judge_all(batch)
                except Exception as error:  # the database or etcd is away: tried again
                    log.warning("calico_status_not_written", ports=len(batch), reason=repr(error))
                    self._due.update(dict.fromkeys(batch))
                    await asyncio.sleep(_RETRY_S)

    async def _judge_all(self, batch: Collection[At]) -> None:
        states = await asyncio.to_thread(feedback.port_states, {port for port, _ in batch})
        up = [at for at in batch if self._is_up(at) and at[0] in states]
        written = await self._revisions(up)
        rising = [at for at in written if states[at[0]].status != "ACTIVE"]
        denied = await asyncio.to_thread(denied_ports, {port for port, _ in rising}, self._options) if rising else set()
        for at in batch:
            port, host = at
            self._waiting.pop(at, None)
            state = states.get(port)
            if state is None:
                continue
            if port in denied:
                await asyncio.to_thread(feedback.report_down, port, host, state, "ERROR")
            elif at in written:
                if (state.status == "ACTIVE" and host == state.host) or self._reached(at, written[at]):
                    await asyncio.to_thread(feedback.report_up, port, host, state)
                else:
                    self._waiting[at] = written[at]
                    self._questions.set()
            elif not self._is_up(at):
                status = self._statuses.get(at)
                failed = status is not None and status.status == "error"
                await asyncio.to_thread(feedback.report_down, port, host, state, "ERROR" if failed else "DOWN")
                log.info("calico_port_down", port=port, host=host, status=status.status if status else "gone")

    def _is_up(self, at: At) -> bool:
        status = self._statuses.get(at)
        return status is not None and status.status == "up"

    def _reached(self, at: At, revision: int) -> bool:
        if not self._programmed:
            return True
        answer = self._applied.get(at[1])
        return answer is not None and answer.reaches(revision)

    async def _revisions(self, ats: Collection[At]) -> dict[At, int]:
        """At which revision each endpoint was last written; without those that are not there."""
        paths: dict[str, At] = {}
        for at in ats:
            try:
                key = naming.endpoint_key(self._region, at[1], self._statuses[at].device_id, at[0])
            except InvalidInput:
                continue
            paths[key_path(key)] = at
        if not paths:
            return {}
        answers = await self._backend.read([Query(path) for path in paths])
        return {paths[kv.key]: kv.mod_revision for answer in answers for kv in answer}

    async def _recheck(self) -> None:
        """Look again at ports that are up and not ACTIVE: Neutron also takes a port back without moving it."""
        loop = asyncio.get_running_loop()
        complained = loop.time()
        while True:
            await asyncio.sleep(_RECHECK_S)
            try:
                inactive = await asyncio.to_thread(feedback.inactive_ports)
            except Exception as error:
                log.warning("calico_status_not_checked", reason=repr(error))
                continue
            here = [at for at in self._statuses if at[0] in inactive and at not in self._waiting]
            self._due.update(dict.fromkeys(at for at in here if self._is_up(at)))
            self._news.set()
            if loop.time() - complained > _COMPLAIN_S:
                complained = loop.time()
                self._complain()

    def _complain(self) -> None:
        for at, revision in self._waiting.items():
            answer = self._applied.get(at[1])
            why = answer.why or f"its kernel is at {answer.revision}" if answer else "its host does not answer"
            log.warning("calico_port_waits", port=at[0], host=at[1], revision=revision, why=why)

    # ---- questions

    async def _ask(self) -> None:
        key = f"{ASK_PREFIX}openstack-{naming.region_segment(self._region)}"
        asked, at = 0, 0.0
        loop = asyncio.get_running_loop()
        while True:
            try:
                async with asyncio.timeout(_ASK_AGAIN_S):
                    await self._questions.wait()
            except TimeoutError:
                pass
            self._questions.clear()
            highest = max(self._waiting.values(), default=0)
            if not highest or (highest <= asked and loop.time() - at < _ASK_AGAIN_S):
                continue
            try:
                lease = await self._backend.grant(_ASK_TTL_S)
                await self._backend.txn([Op(key, msgspec.json.encode(Ask(highest)), lease=lease), self._term.fence])
                asked, at = highest, loop.time()
            except CalicoError as error:
                log.info("calico_revision_not_asked", reason=str(error))
                self._questions.set()
                await asyncio.sleep(_RETRY_S)
            await asyncio.sleep(_PAUSE_S)
