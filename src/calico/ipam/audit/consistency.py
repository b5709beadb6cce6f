"""Whether IPAM fits together, with itself and with who uses the addresses: what is wrong and what to do. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from itertools import pairwise

import msgspec

from calico.errors import InvalidInput
from calico.ipam.audit.state import IPAMState, User
from calico.ipam.choice.pools import pool_around
from calico.ipam.requests import INTERFACE_ATTRIBUTE
from calico.ipam.stored.block import WINDOWS_RESERVED, Attribute, Block, address_at, same_handle
from calico.ipam.stored.keys import AffinityKey, network, parse_address

__all__ = ["Finding", "findings", "inconsistencies", "misuse"]


class Finding(msgspec.Struct, frozen=True, order=True):
    """One thing that is wrong. ``code`` is stable; ``proposal`` is what to do, also as a command where there is one.

    Of a leaked address, handle and sequence number say which allocation it is.
    """

    code: str
    subject: str
    explanation: str
    proposal: str
    address: str = ""
    block: str = ""
    handle: str = ""
    sequence: int = 0
    node: str = ""


def findings(state: IPAMState) -> tuple[Finding, ...]:
    """All that is wrong."""
    return tuple(sorted((*inconsistencies(state), *misuse(state))))


def inconsistencies(state: IPAMState) -> Iterator[Finding]:
    """Where blocks, affinities and handles contradict each other."""
    for key, why in state.damaged.items():
        yield Finding("damaged", key, f"cannot be read: {why}", "look at the key with etcdctl and put it right")
    for block in state.blocks.values():
        yield from _of_block(block)
    yield from _overlaps(state.blocks)
    yield from _of_affinities(state)
    yield from _of_handles(state)


def _of_block(block: Block) -> Iterator[Finding]:
    queued = set(block.unallocated)
    lost = [o for o, index in enumerate(block.allocations) if index is None and o not in queued]
    both = [o for o, index in enumerate(block.allocations) if index is not None and o in queued]
    if lost:
        text = f"{len(lost)} addresses are neither given out nor free, the first is {address_at(block, lost[0])}"
        yield Finding("block-lost-addresses", f"block {block.cidr}", text, "release the block when it is empty")
    if both:
        text = f"{len(both)} addresses are given out and in the queue, the first is {address_at(block, both[0])}"
        yield Finding("block-double-addresses", f"block {block.cidr}", text, "none: our allocator skips them")


def _overlaps(cidrs: Iterable[str]) -> Iterator[Finding]:
    nets = sorted((network(cidr) for cidr in cidrs), key=lambda net: (net.version, int(net.network_address)))
    for one, other in pairwise(nets):
        if one.version == other.version and one.overlaps(other):
            text = f"overlaps {one}: the same address can be given out twice"
            yield Finding("block-overlap", f"block {other}", text, "empty one of the two and release its affinity")


def _of_affinities(state: IPAMState) -> Iterator[Finding]:
    for key, affinity in sorted(state.affinities.items()):
        block, subject = state.blocks.get(key.cidr), f"affinity of {key.owner} to {key.cidr}"
        if not affinity.holds:
            text = f"it is {affinity.state or 'marked as deleted'}: a claim or release that was cut short"
            yield Finding("affinity-unfinished", subject, text, "none: the owner's next assignment finishes it")
        elif block is None:
            text = "the block does not exist"
            yield Finding("affinity-without-block", subject, text, "none: the owner's next assignment makes the block")
        elif block.affinity != key.owner:
            text = f"the block belongs to {block.affinity or 'nobody'}"
            yield Finding("affinity-stale", subject, text, "none: the owner's next assignment removes it")
        kind, _, name = key.owner.partition(":")
        if kind == "host" and name not in state.nodes:
            text = f"there is no Node {name}, so its block stays claimed for ever"
            yield Finding("affinity-of-no-node", subject, text, f"calico ipam release --node {name}", block=key.cidr)
    for block in state.blocks.values():
        if block.affinity is not None and AffinityKey(block.affinity, block.cidr) not in state.affinities:
            text = f"belongs to {block.affinity}, which has no affinity to it"
            proposal = "none: it is in use until it is empty, then it can be reclaimed"
            yield Finding("block-without-affinity", f"block {block.cidr}", text, proposal, block=block.cidr)


def _of_handles(state: IPAMState) -> Iterator[Finding]:
    """Handles say how many addresses they have in each block: more than is true costs a look, fewer leaks."""
    held: dict[str, Counter[str]] = defaultdict(Counter)
    for block in state.blocks.values():
        for _, attribute in block.held():
            if attribute.handle:
                held[attribute.handle.partition("\r")[0]][block.cidr] += 1
    for handle in sorted(held.keys() | state.handles.keys()):
        stored = state.handles.get(handle)
        said = dict(stored.blocks) if stored is not None else {}
        for cidr in sorted(held[handle].keys() | said.keys()):
            count, counted = held[handle][cidr], said.get(cidr, 0)
            if count != counted:
                text = f"has {count} addresses in {cidr}, and counts {counted}"
                proposal = f"calico ipam release --handle {handle}, when its workload is gone"
                yield Finding("handle-count", f"handle {handle}", text, proposal, block=cidr, handle=handle)
        if stored is not None and not said and not held[handle]:
            text = "holds no address at all"
            proposal = f"calico ipam release --handle {handle}"
            yield Finding("handle-empty", f"handle {handle}", text, proposal, handle=handle)


# ---- who uses the addresses


def misuse(state: IPAMState) -> Iterator[Finding]:
    """Where what is given out and what endpoints and tunnels have differ."""
    users: dict[str, list[User]] = defaultdict(list)
    for user in state.users:
        users[user.address].append(user)
    given: set[str] = set()
    for block in state.blocks.values():
        for ordinal, attribute in block.held():
            address = str(address_at(block, ordinal))
            given.add(address)
            if address not in users and not _is_held_elsewhere(state, block, attribute):
                yield _leak(state, block, ordinal)
    for address, found in sorted(users.items()):
        if len({user.who for user in found}) > 1:
            text = f"is used by {', '.join(user.who for user in found)}"
            yield Finding("address-shared", address, text, "delete all but one of them", address=address)
        if address not in given:
            yield from _not_given(state, found[0])
    yield from _outside_pools(state)


def _is_held_elsewhere(state: IPAMState, block: Block, attribute: Attribute) -> bool:
    """Whether it is for what the datastore does not tell: services, stopped virtual machines, what Windows reserves,
    and containers that another main plugin attached on a host that still is there."""
    if INTERFACE_ATTRIBUTE in attribute.secondary:
        return attribute.secondary.get("node", "") in state.nodes
    if (block.affinity or "").startswith("virtual:") or same_handle(attribute.handle, WINDOWS_RESERVED):
        return True
    return "service" in attribute.secondary or "vmi-name" in attribute.secondary


def _leak(state: IPAMState, block: Block, ordinal: int) -> Finding:
    attribute = block.holder(ordinal)
    assert attribute is not None
    address, node = str(address_at(block, ordinal)), _node_of(block, ordinal)
    said = ", ".join(f"{key}={value}" for key, value in sorted(attribute.secondary.items()))
    text = f"is given out under handle {attribute.handle!r}{f' ({said})' if said else ''}, and nothing uses it"
    if node and node not in state.nodes:
        text += f"; its Node {node} does not exist"
    return Finding(
        "address-leaked",
        address,
        text,
        f"calico ipam gc, or calico ipam release --ip {address}",
        address=address,
        block=block.cidr,
        handle=attribute.handle or "",
        sequence=block.sequences.get(ordinal, 0),
        node=node,
    )


def _node_of(block: Block, ordinal: int) -> str:
    """The host that an address was given to: as recorded, else the block's owner."""
    attribute = block.holder(ordinal)
    recorded = attribute.secondary.get("node", "") if attribute is not None else ""
    kind, _, name = (block.affinity or "").partition(":")
    return recorded or (name if kind == "host" else "")


def _not_given(state: IPAMState, user: User) -> Iterator[Finding]:
    try:
        pool, _ = pool_around(state.pools, parse_address(user.address))
    except InvalidInput:
        return
    if pool is not None and state.blocks:
        text = f"is used by {user.who}, lies in IPPool {pool.name}, and is not given out: it can be given to another"
        proposal = "delete the user, or give it an address of IPAM"
        yield Finding("address-not-given", user.address, text, proposal, address=user.address, node=user.node)


def _outside_pools(state: IPAMState) -> Iterator[Finding]:
    for cidr in sorted(state.blocks):
        pool, _ = pool_around(state.pools, network(cidr).network_address)
        subject = f"block {cidr}"
        if pool is None:
            text = "lies in no IPPool, so nothing new is given from it"
            yield Finding("block-outside-pools", subject, text, "it goes with its last address", block=cidr)
        elif pool.block_size != network(cidr).prefixlen:
            text = f"its IPPool {pool.name} has blocks of /{pool.block_size}"
            proposal = "empty it, release its affinity, and do not use the pool before"
            yield Finding("block-of-other-size", subject, text, proposal, block=cidr)
