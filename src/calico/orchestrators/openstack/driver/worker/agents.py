"""Neutron's list of agents, kept by what hosts report in etcd: a host takes ports only while its Felix is alive."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from neutron.db.models import agent as agent_models
from neutron_lib import context as n_context
from neutron_lib.db import api as db_api
from neutron_lib.plugins import directory
from oslo_config import cfg
from oslo_utils import timeutils

from calico.obs.logger import Logger
from calico.orchestrators.openstack.driver.settings import AGENT_TYPE

__all__ = ["Agents"]

log = Logger(__name__)

_TICK_S = 0.2


class Agents:
    """At most one write per host and ``interval_s``, however often a host reports; a host's end is written at once."""

    def __init__(self, interval_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._interval_s, self._clock = interval_s, clock
        self._written: dict[str, float] = {}
        self._alive: set[str] = set()
        self._dead: set[str] = set()

    def on_alive(self, host: str, alive: bool) -> None:
        """A host reported, or its lease expired."""
        (self._alive if alive else self._dead).add(host)
        (self._dead if alive else self._alive).discard(host)

    async def run(self) -> None:
        """Write what is due until cancelled; what the database refuses is tried again."""
        while True:
            await asyncio.sleep(_TICK_S)
            now = self._clock()
            due = [host for host in self._alive if now - self._written.get(host, -self._interval_s) >= self._interval_s]
            dead = list(self._dead)
            if not due and not dead:
                continue
            try:
                await asyncio.to_thread(_write, due, dead, set(self._written))
            except Exception as error:
                log.warning("calico_agents_not_written", hosts=len(due) + len(dead), reason=repr(error))
                await asyncio.sleep(1)
                continue
            for host in due:
                self._written[host] = now
                self._alive.discard(host)  # until it reports again
            for host in dead:
                self._written.pop(host, None)
                self._dead.discard(host)
                log.warning("calico_host_silent", host=host)


def _write(alive: Iterable[str], dead: Iterable[str], known: set[str]) -> None:
    context, plugin = n_context.get_admin_context(), directory.get_plugin()
    for host in alive:
        state: dict[str, Any] = {
            "agent_type": AGENT_TYPE,
            "binary": "calico-felix",
            "host": host,
            "topic": "N/A",
            "configurations": {},
            "start_flag": host not in known,
        }
        plugin.create_or_update_agent(context, state, None)
    table = agent_models.Agent.__table__
    for host in dead:
        long_ago = timeutils.utcnow() - timedelta(seconds=cfg.CONF.agent_down_time + 1)
        with db_api.CONTEXT_WRITER.using(context) as session:
            session.execute(
                sa.update(table)
                .where(table.c.agent_type == AGENT_TYPE, table.c.host == host, table.c.heartbeat_timestamp > long_ago)
                .values(heartbeat_timestamp=long_ago)
            )
