"""Which addresses are whose by IPAM's records: what each host may tell routes to. Pure.

A block is a host's when its affinity holds and the block itself names the host, too: a host writes its affinities by
itself. Of the blocks' contents only what crosses hosts is kept, so most allocations change nothing here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from calico.bgp.problem import Problem
from calico.datastore.api import Update
from calico.errors import InvalidInput
from calico.ipam.stored.affinity import decode_affinity
from calico.ipam.stored.block import Attribute, Block, address_at
from calico.ipam.stored.block_codec import decode_block
from calico.ipam.stored.keys import BLOCK_PREFIX, HOST_PREFIX, parse_affinity_key, parse_block_key

__all__ = ["OWNERSHIP_PREFIXES", "Owned", "OwnershipView"]

OWNERSHIP_PREFIXES = (BLOCK_PREFIX, HOST_PREFIX)
_OF_HOST = "host:"


class Owned(msgspec.Struct, frozen=True):
    """What is a host's, as sorted prefixes: its blocks, single addresses ``borrowed`` from others' blocks, and those of
    its own blocks that are ``lent`` to others."""

    blocks: tuple[str, ...] = ()
    borrowed: tuple[str, ...] = ()
    lent: tuple[str, ...] = ()


class _Facts(msgspec.Struct, frozen=True):
    """A block: whose it says it is, and the single addresses that are given to other hosts, each with these."""

    owner: str = ""
    abroad: tuple[tuple[str, frozenset[str]], ...] = ()

    @property
    def hosts(self) -> frozenset[str]:
        return frozenset((self.owner,)).union(*(hosts for _, hosts in self.abroad)) - {""}


_NOTHING = _Facts()


class OwnershipView:
    """The last value of every key under ``OWNERSHIP_PREFIXES``. An update costs what it names, not what there is."""

    def __init__(self) -> None:
        self._claims: set[tuple[str, str]] = set()  # (host, block) by affinities
        self._blocks: dict[str, _Facts] = {}
        self._concerned: dict[str, set[str]] = {}  # host -> blocks that have to do with it
        self._owned: dict[str, Owned] = {}
        self._problems: dict[str, Problem] = {}

    def apply(self, updates: Iterable[Update]) -> bool:
        """Take in changes; whether anything is whose it was not before, or a record became good or bad."""
        hosts: set[str] = set()
        problems = dict(self._problems)
        for update in updates:
            if update.key.startswith(BLOCK_PREFIX):
                hosts |= self._on_block(update)
            else:
                hosts |= self._on_affinity(update)
        before = {host: self._owned.get(host) for host in hosts}
        for host in hosts:
            found = self._of(host)
            if found == Owned():
                self._owned.pop(host, None)
            else:
                self._owned[host] = found
        return problems != self._problems or any(self._owned.get(host) != was for host, was in before.items())

    def owned(self) -> Mapping[str, Owned]:
        """By host; who has nothing is left out."""
        return dict(self._owned)

    def problems(self) -> tuple[Problem, ...]:
        """What cannot be read; nothing in it is anybody's."""
        return tuple(self._problems.values())

    def _on_affinity(self, update: Update) -> set[str]:
        key = parse_affinity_key(update.key)
        if key is None or not key.owner.startswith(_OF_HOST):
            return set()
        host = key.owner.removeprefix(_OF_HOST)
        self._claims.discard((host, key.cidr))
        self._problems.pop(update.key, None)
        try:
            if update.value is not None and decode_affinity(update.key, update.value).holds:
                self._claims.add((host, key.cidr))
        except InvalidInput as error:
            self._report(update.key, f"BlockAffinity {key.cidr}", error)
        return {host}

    def _on_block(self, update: Update) -> set[str]:
        cidr = parse_block_key(update.key)
        if not cidr:
            return set()
        self._problems.pop(update.key, None)
        facts = _NOTHING
        try:
            if update.value is not None:
                facts = _facts(decode_block(update.key, update.value))
        except InvalidInput as error:
            self._report(update.key, f"block {cidr}", error)
        before = self._blocks.pop(cidr, _NOTHING)
        if facts != _NOTHING:
            self._blocks[cidr] = facts
        if facts == before:
            return set()
        for host in before.hosts - facts.hosts:
            self._concerned[host].discard(cidr)
            if not self._concerned[host]:
                del self._concerned[host]
        for host in facts.hosts - before.hosts:
            self._concerned.setdefault(host, set()).add(cidr)
        return set(before.hosts | facts.hosts)

    def _report(self, key: str, subject: str, error: InvalidInput) -> None:
        self._problems[key] = Problem("bgp-resource-invalid", subject, f"{error.message}; no host may tell its routes")

    def _of(self, host: str) -> Owned:
        blocks, borrowed, lent = [], [], []
        for cidr in self._concerned.get(host, ()):
            facts = self._blocks[cidr]
            if facts.owner == host and (host, cidr) in self._claims:
                blocks.append(cidr)
                lent += [address for address, hosts in facts.abroad if host not in hosts]
            else:
                borrowed += [address for address, hosts in facts.abroad if host in hosts]
        return Owned(tuple(sorted(blocks)), tuple(sorted(borrowed)), tuple(sorted(lent)))


def _facts(block: Block) -> _Facts:
    if block.deleted:
        return _NOTHING
    affinity = block.affinity or ""
    owner = affinity.removeprefix(_OF_HOST) if affinity.startswith(_OF_HOST) else ""
    return _Facts(owner, tuple(_abroad(block, owner)))


def _abroad(block: Block, owner: str) -> Iterator[tuple[str, frozenset[str]]]:
    length = block.network.max_prefixlen
    for ordinal, attribute in block.held():
        hosts = _hosts(attribute)
        if hosts - {owner}:
            yield f"{address_at(block, ordinal)}/{length}", hosts


def _hosts(attribute: Attribute) -> frozenset[str]:
    """The host that has an address, and the one that it is about to move to."""
    return frozenset(owner.get("node", "") for owner in (attribute.secondary, attribute.alternate)) - {""}
