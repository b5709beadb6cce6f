"""Gives out addresses and takes them back, beside any number of others that do the same (spec §9)."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import datetime

from calico.datastore.api import Backend
from calico.errors import AlreadyExists, InvalidInput
from calico.ipam.choice.pools import pool_for_address, usable_pools
from calico.ipam.choice.search import block_around
from calico.ipam.choice.unselected import unselected_blocks
from calico.ipam.requests import (
    Assignment,
    AssignRequest,
    InCooldown,
    Recorded,
    Released,
    ReleaseRequest,
    Use,
    owner_of,
)
from calico.ipam.steps.assigning import Assigning
from calico.ipam.steps.patience import PatientBackend
from calico.ipam.steps.releasing import Releasing
from calico.ipam.steps.tools import Tools
from calico.ipam.steps.view import View
from calico.ipam.stored.block import Attribute, Block, address_at, assign_ordinal, ordinal_of
from calico.ipam.stored.block_codec import decode_block
from calico.ipam.stored.config import read_settings
from calico.ipam.stored.keys import Address, parse_address

__all__ = ["Allocator"]


class Allocator:
    """Serves any number of hosts. ``clock`` tells the time with its zone.

    While the datastore is away calls go on for ``patience_s`` seconds, then raise Transient: whoever asked for
    addresses under a handle releases that handle, since the last write may have happened.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        clock: Callable[[], datetime],
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        patience_s: float = 10.0,
    ) -> None:
        self._tools = Tools(PatientBackend(backend, patience_s, sleep), clock)
        self._releasing = Releasing(self._tools)

    # ---- giving

    async def auto_assign(self, request: AssignRequest) -> Assignment:
        """As many addresses as can be had, up to what is asked for.

        NotFound when the host has no Node, InvalidInput when a pool that is asked for cannot be used.
        """
        owner = owner_of(request.hostname, request.use)
        wanted = {4: request.v4, 6: request.v6}
        versions = tuple(version for version, count in wanted.items() if count > 0)
        view = await self._tools.view(owner, request.hostname, versions)
        found: dict[int, list[Address]] = {4: [], 6: []}
        reasons: list[str] = []
        handle = None
        for version in versions:
            search = self._search(view, request, owner, version, wanted[version])
            handle = await search.run(handle)
            found[version] = search.found
            if len(search.found) < wanted[version]:
                head = f"{len(search.found)} of {wanted[version]} IPv{version} addresses assigned"
                reasons.append(f"{head}: {'; '.join(dict.fromkeys(search.reasons))}")
        return Assignment(
            v4=tuple(ipaddress.IPv4Interface(str(address)) for address in found[4]),
            v6=tuple(ipaddress.IPv6Interface(str(address)) for address in found[6]),
            reason="; ".join(reasons),
        )

    def _search(self, view: View, request: AssignRequest, owner: str, version: int, count: int) -> Assigning:
        asked = request.pools_v4 if version == 4 else request.pools_v6
        choice = usable_pools(view.pools, version, asked, request.use, view.node_labels, request.namespace_labels)
        return Assigning(self._tools, view, request, owner, choice, version, count)

    async def assign_ip(
        self,
        address: str,
        *,
        hostname: str,
        handle: str | None = None,
        attrs: Mapping[str, str] | None = None,
        use: Use | None = None,
    ) -> None:
        """This very address; also one that is reserved.

        AlreadyExists when it is given out, InCooldown when it was released just now, InvalidInput when it lies in no
        pool that may be used, or (with strict affinity) in a block of another host.
        """
        wanted = parse_address(address)
        owner = owner_of(hostname, use or "Workload")
        view = await self._tools.view(owner, hostname, (wanted.version,))
        pool, fault = pool_for_address(view.pools, wanted, use or "")
        if pool is None:
            raise InvalidInput(f"cannot be assigned: {fault}", subject=address)
        cidr = block_around(wanted, pool.block_size)
        attribute = Attribute(handle, dict(attrs or {}))
        if (await self._tools.cache.read([cidr]))[cidr] is None:
            async with self._tools.claiming[owner, wanted.version]:
                await self._tools.owning.claim(owner, cidr, looks_free=True)

        def choose(block: Block) -> tuple[Block, tuple[int, ...]]:
            ordinal = ordinal_of(block, wanted)
            if view.settings.strict_affinity and block.affinity != owner:
                message = f"block {cidr} belongs to {block.affinity or 'nobody'}, and strict affinity is on"
                raise InvalidInput(f"cannot be assigned: {message}", subject=address)
            after = assign_ordinal(block, ordinal, attribute)
            if after is None:
                raise _refusal(block, ordinal, address)
            return after, (ordinal,)

        placed = await self._tools.placing.place(cidr, attribute, view.settings.cooldown_s, choose)
        if not placed.ordinals:
            raise AlreadyExists(f"{address}: its block {cidr} vanished while it was assigned; try again")

    # ---- blocks of a host

    async def ensure_affinity(self, hostname: str, cidr: str) -> bool:
        """Make a block the host's; False when it is another's."""
        return await self._tools.owning.claim(owner_of(hostname, ""), cidr) is not None

    async def affinities_of(self, hostname: str) -> tuple[str, ...]:
        """The blocks that a host has claimed."""
        owner = owner_of(hostname, "")
        found = await asyncio.gather(*(self._tools.affinities(owner, version) for version in (4, 6)))
        return tuple(cidr for affinities in found for cidr in affinities)

    async def release_affinity(self, hostname: str, cidr: str, *, only_empty: bool = False) -> str:
        """Give up a block of a host: it goes when it is empty, else it belongs to nobody. Says why, when it stays."""
        settings, _ = await read_settings(self._tools.backend)
        owner = owner_of(hostname, "")
        return await self._tools.owning.release(owner, cidr, settings.cooldown_s, only_empty=only_empty)

    async def release_affinities(self, hostname: str, *, only_empty: bool = False) -> Mapping[str, str]:
        """``release_affinity`` for all blocks of a host; why each that stays does."""
        kept = {}
        for cidr in await self.affinities_of(hostname):
            if reason := await self.release_affinity(hostname, cidr, only_empty=only_empty):
                kept[cidr] = reason
        return kept

    async def unselected(self, hostname: str) -> tuple[str, ...]:
        """The blocks of a host whose pools do not select it any more. NotFound when it has no Node."""
        view = await self._tools.view(owner_of(hostname, ""), hostname, (4, 6))
        held = [cidr for version in (4, 6) for cidr in view.affinities[version]]
        return unselected_blocks(held, view.pools, view.node_labels)

    # ---- taking back

    async def release_ips(self, requests: Iterable[ReleaseRequest]) -> Released:
        """Take addresses back; what does not fit a request's handle or sequence number is refused and named."""
        return await self._releasing.release_ips(tuple(requests))

    async def release_by_handle(self, handle: str) -> tuple[str, ...]:
        """Take back all addresses of a handle; those that it had. No such handle: none, and no error."""
        return await self._releasing.release_by_handle(handle)

    # ---- asking

    async def ips_by_handle(self, handle: str) -> tuple[str, ...]:
        """The addresses of a handle."""
        blocks = await self._releasing.blocks_of(handle)
        return tuple(str(address_at(block, ordinal)) for block in blocks for ordinal in block.ordinals_of(handle))

    async def recorded_under(self, handle: str) -> tuple[Recorded, ...]:
        """What is recorded of each address of a handle."""
        blocks = await self._releasing.blocks_of(handle)
        return tuple(
            found
            for block in blocks
            for ordinal in block.ordinals_of(handle)
            if (found := _recorded(block, ordinal)) is not None
        )

    async def get_attributes(self, address: str) -> Recorded | None:
        """What is recorded of an address; None when it is not given out."""
        wanted = parse_address(address)
        stored = await self._releasing.block_with(wanted)
        if stored is None:
            return None
        block = decode_block(stored.key, stored.value)
        return _recorded(block, ordinal_of(block, wanted))


def _recorded(block: Block, ordinal: int) -> Recorded | None:
    held = block.holder(ordinal)
    if held is None:
        return None
    return Recorded(
        address=str(address_at(block, ordinal)),
        block=block.cidr,
        owner=block.affinity,
        handle=held.handle,
        attrs=held.secondary,
        sequence=block.sequences.get(ordinal),
    )


def _refusal(block: Block, ordinal: int, address: str) -> AlreadyExists:
    held = block.holder(ordinal)
    if held is None:
        return InCooldown(f"{address} was released just now and cools down")
    return AlreadyExists(f"{address} is given out already, under handle {held.handle!r}")
