"""``calico-ipam`` as a plugin of its own, for main plugins that are not ours: addresses, and nothing else."""

from __future__ import annotations

from contextlib import suppress

from calico.datastore.typed.ready import require_ready
from calico.errors import CalicoError
from calico.orchestrators.cni.addresses import OwnAddresses, wish_of
from calico.orchestrators.cni.agent import Agent, Call
from calico.orchestrators.cni.annotations import read_annotations
from calico.orchestrators.cni.fault import DIFFERS, PluginError
from calico.orchestrators.cni.pods import PodFacts
from calico.orchestrators.cni.result import Result

__all__ = ["check_addresses", "give", "take_back"]


async def give(agent: Agent, call: Call) -> Result:
    """One address of each family that is wanted, as /32 and /128, with a default route each."""
    request = call.request
    attached = agent.attached(request)
    await require_ready(agent.store.backend)
    facts = await agent.pods.pod(attached.namespace, attached.pod) if attached.pod else PodFacts()
    asked = read_annotations(facts.annotations, facts.namespace_annotations, request.config.feature_control)
    source = OwnAddresses(agent.allocator)
    before = await source.held(attached) or frozenset()
    try:
        return await source.assign(attached, wish_of(attached, request, asked, facts))
    except BaseException:
        with suppress(CalicoError):
            await source.release(attached, before)
        raise


async def take_back(agent: Agent, call: Call) -> None:
    """All addresses of the container in this network; none is no error."""
    await require_ready(agent.store.backend)
    await OwnAddresses(agent.allocator).release(agent.attached(call.request))


async def check_addresses(agent: Agent, call: Call) -> None:
    """PluginError when the container has no address any more."""
    attached = agent.attached(call.request)
    if not await OwnAddresses(agent.allocator).held(attached):
        raise PluginError(DIFFERS, f"no address is allocated under {attached.handle}")
