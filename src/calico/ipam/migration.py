"""Moves the workloads of one pool to another: nothing new from the old one, and the end of it when nobody is left.

Addresses of running workloads cannot be changed: whoever runs them starts them anew. What is left is told.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import msgspec

from calico.errors import InvalidInput
from calico.ipam.audit.state import IPAMState
from calico.ipam.choice.pools import Pool, enabled_fault, pool_of
from calico.ipam.stored.block import address_at
from calico.ipam.stored.keys import network
from calico.model.ippool import IPPool

__all__ = ["Remaining", "check_migration", "remaining"]


class Remaining(msgspec.Struct, frozen=True):
    """What the old pool still gives to: users by host, and addresses that nothing uses."""

    by_node: Mapping[str, tuple[str, ...]]
    leaked: tuple[str, ...]

    @property
    def count(self) -> int:
        return sum(map(len, self.by_node.values())) + len(self.leaked)


def check_migration(old: IPPool, new: IPPool) -> None:
    """InvalidInput when workloads of the old pool could not get addresses from the new one."""
    subject = f"IPPool {new.metadata.name}"
    if old.metadata.name == new.metadata.name:
        raise InvalidInput("is the old pool and the new one", subject=subject)
    if fault := enabled_fault(new):
        raise InvalidInput(f"nothing can be given from it: {fault}", subject=subject)
    before, after = pool_of(old), pool_of(new)
    if before.version != after.version:
        raise InvalidInput(f"is IPv{after.version}, and the old one IPv{before.version}", subject=subject)
    if missing := sorted(set(before.uses) - set(after.uses)):
        raise InvalidInput(f"must allow what the old one does: {', '.join(missing)}", subject=subject)


def remaining(state: IPAMState, pool: Pool) -> Remaining:
    """Who has addresses of a pool."""
    users = defaultdict(list)
    for user in state.users:
        users[user.address].append(user)
    by_node: dict[str, list[str]] = defaultdict(list)
    leaked = []
    for cidr, block in state.blocks.items():
        if network(cidr).version != pool.version or not network(cidr).overlaps(pool.network):
            continue
        for ordinal, _ in block.held():
            address = str(address_at(block, ordinal))
            for user in users[address]:
                by_node[user.node].append(f"{address} {user.who}")
            if not users[address]:
                leaked.append(address)
    return Remaining({node: tuple(found) for node, found in sorted(by_node.items())}, tuple(leaked))
