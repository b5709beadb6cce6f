"""Containers that went and no DEL took their attachment away: podman removes a container whatever the plugin answers,
ctr with --detach never calls it, and a host that loses power calls nobody.

The evidence is the kernel's: the container's namespace is at its path no more, and no interface of the host says that
it is the container's. Both are asked for twice, with a pause between, and once more before anything is removed.
"""

from __future__ import annotations

import asyncio
import os

from calico.dataplane.links import Links
from calico.datastore.typed.ready import require_ready
from calico.errors import CalicoError
from calico.obs.logger import Logger
from calico.orchestrators.cni.commands.agent import Agent
from calico.orchestrators.cni.commands.collect import deletion_of
from calico.orchestrators.cni.commands.detach import pods_for_removal, remove
from calico.orchestrators.cni.host.place import OWN_NETNS
from calico.orchestrators.cni.host.records import Record
from calico.orchestrators.cni.protocol.request import Request

__all__ = ["Sweeper"]

log = Logger(__name__)


class Sweeper:
    """Looks through the host's records again and again. What is not removed now is removed next time."""

    def __init__(self, agent: Agent, interval_s: float) -> None:
        self._agent, self._interval_s = agent, interval_s
        self._suspects: frozenset[Record] = frozenset()

    async def run(self) -> None:
        """Sweep until cancelled; the first look is at once."""
        while True:
            try:
                await self.sweep()
            except (CalicoError, OSError) as error:
                log.info("abandoned attachments are removed later", error=str(error))
            except Exception as error:
                log.error("a look for abandoned attachments failed unexpectedly", error=repr(error), exc_info=True)
            await asyncio.sleep(self._interval_s)

    async def sweep(self) -> None:
        """Remove what was abandoned at the last look and still is."""
        found = frozenset(await asyncio.to_thread(_abandoned, tuple(self._agent.records.all())))
        ripe, self._suspects = found & self._suspects, found
        if ripe:
            await require_ready(self._agent.store.backend)
        for record in ripe:
            try:
                await self._remove(record)
            except (CalicoError, OSError) as error:  # the others do not wait for it
                log.warning("an abandoned attachment is removed later", container=record.attached.container_id,
                            error=str(error))  # fmt: skip

    async def _remove(self, record: Record) -> None:
        attached = record.attached
        request = deletion_of(Request(command="DEL"), record)
        if not request.config.is_own_ipam:
            log.debug("an abandoned attachment is left to its IPAM plugin", container=attached.container_id)
            return
        async with self._agent.alone(attached.container_id):
            if not await asyncio.to_thread(_abandoned, (record,)):
                return
            pods = pods_for_removal(self._agent, request.config)
            await remove(self._agent, attached, record.host_interface, self._agent.addresses(request), pods)
        log.warning("an attachment without a container was removed", container=attached.container_id,
                    endpoint=attached.endpoint_name, interface=record.host_interface)  # fmt: skip


def _abandoned(records: tuple[Record, ...]) -> list[Record]:
    """The records of which nothing is left in the kernel."""
    gone = [record for record in records if record.netns and not _is_there(record)]
    if not gone:
        return []
    with Links() as host:
        aliases = {link.alias for link in host.all()}
    return [record for record in gone if record.attached.alias not in aliases]


def _is_there(record: Record) -> bool:
    """Whether the container's namespace is at its path: not the empty file on which it was mounted, and not another
    one that has the path by now. What may not be looked at counts as there."""
    try:
        found, own = os.stat(record.netns), os.stat(OWN_NETNS)
    except (FileNotFoundError, NotADirectoryError, ProcessLookupError):
        return False
    except OSError:
        return True
    return found.st_dev == own.st_dev and record.inode in (0, found.st_ino)
