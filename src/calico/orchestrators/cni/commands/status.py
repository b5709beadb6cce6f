"""STATUS: whether an ADD would work now, asked of all that it needs."""

from __future__ import annotations

import asyncio

from calico.datastore.typed.ready import require_ready
from calico.errors import CalicoError, NotFound
from calico.model.ippool import IPPool
from calico.obs.programmed import SOCKET, is_programming
from calico.orchestrators.cni.addresses.delegate import call_plugin, find_plugin
from calico.orchestrators.cni.commands.agent import Agent, Call
from calico.orchestrators.cni.protocol.fault import NOT_AVAILABLE, PluginError
from calico.orchestrators.cni.protocol.netconf import NetConf
from calico.orchestrators.cni.protocol.request import Request

__all__ = ["status"]

_DATASTORE_S = 2.0


async def status(agent: Agent, call: Call) -> None:
    """PluginError 50 that names what is missing. Containers that are attached already keep their network meanwhile:
    the kernel does without any of this."""
    request = call.request
    try:
        async with asyncio.timeout(_DATASTORE_S):
            await require_ready(agent.store.backend)
            await _node(agent, request.config)
            if request.config.is_own_ipam:
                await _pools(agent, request.config)
        await is_programming(f"{agent.settings.felix_run_dir}/{SOCKET}")
        if not request.config.is_own_ipam:
            await _foreign(request)
    except TimeoutError:
        raise PluginError(NOT_AVAILABLE, "the datastore does not answer") from None
    except CalicoError as error:
        raise PluginError(NOT_AVAILABLE, f"containers cannot be attached now: {error}") from error


async def _node(agent: Agent, config: NetConf) -> None:
    name = agent.node(config)
    try:
        await agent.store.get("Node", name)
    except NotFound:
        raise NotFound(f"there is no Node {name}; `calico node run` or `calico apply` makes it") from None


async def _pools(agent: Agent, config: NetConf) -> None:
    """A pool for each family that is given by default."""
    pools = [one for one in await agent.store.list("IPPool") if isinstance(one, IPPool) and not one.spec.disabled]
    for family, wanted, colon in ((4, config.ipam.wants_v4, False), (6, config.ipam.wants_v6, True)):
        if wanted and not any((":" in pool.spec.cidr) is colon for pool in pools):
            raise NotFound(f"there is no enabled IPPool for IPv{family}")


async def _foreign(request: Request) -> None:
    """Most plugins are older than STATUS: those need only be there."""
    find_plugin(request.config.ipam.type, request.path)
    versions = (await call_plugin(request.config.ipam.type, request, "VERSION")).get("supportedVersions", ())
    if request.version in versions:
        await call_plugin(request.config.ipam.type, request, "STATUS")
