"""Both agents' ways from the store to what they would program, and what they must make of a damaged store.

What a damaged object may do is what a well-formed object would do that says what is left of it, or nothing at all
where nothing is left. So the expectation is computed from a clean store, by the calculation's specification.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager

import msgspec

from calico.bgp.birdconf.render import render
from calico.bgp.planning.plan import Planned, build_plan
from calico.bgp.planning.snapshot import SnapshotStore, watched_prefixes
from calico.calc.dataplane_state import DataplaneState
from calico.calc.graph import Graph
from calico.calc.messages import ProblemUpdate
from calico.calc.settings import CalcSettings
from calico.calc.spec import recompute
from calico.datastore.api import Backend, SyncStatus, Update
from calico.datastore.sync.syncer import Syncer
from calico.felix.config.merging import Merged, merge_config
from calico.felix.inputs import Inputs
from calico.model.codec import Decoded, decode, encode
from calico.model.keys import RESOURCE_PREFIX, ResourceKey, key_path, parse_key
from calico.model.meta import Resource
from calico.model.policy import NetworkPolicySpec, ProfileSpec
from calico.obs.conditions import Conditions
from damage.good import HOST

__all__ = ["BGPSide", "FelixSide", "away", "check", "cleaned", "following", "reached"]

SETTINGS = CalcSettings(floating_ips=True, nat_excludes_hosts=True, source_spoofing=True)
BGP_PREFIXES = watched_prefixes(HOST)
Values = Mapping[str, bytes]


class FelixSide:
    """The sink of Felix's syncer, its calculation, and a host that is programmed with what comes out of it."""

    def __init__(self) -> None:
        self.graph = Graph(HOST, SETTINGS)
        self.conditions = Conditions()
        self.inputs = Inputs(HOST, self.graph, self.conditions, lambda: None)
        self.dataplane = DataplaneState()
        self.seen: dict[str, bytes] = {}
        self.status = SyncStatus.WAITING

    def on_status(self, status: SyncStatus, reason: str = "") -> None:
        self.status = status
        self.inputs.on_status(status, reason)

    def on_updates(self, updates: Sequence[Update], revision: int) -> None:
        _record(self.seen, updates)
        self.inputs.on_updates(updates, revision)

    def settle(self) -> None:
        """Program the host with what has changed."""
        messages = self.graph.flush()
        self.dataplane.replay(messages)
        for message in messages:
            if isinstance(message, ProblemUpdate):
                self.inputs.on_graph_problems(message.key, message.problems)

    def settings(self) -> Merged:
        return merge_config(self.inputs.config_sources())

    def named(self) -> set[str]:
        """The objects of which a condition says that they are invalid."""
        return {condition.object for condition in self.conditions if condition.code == "resource-invalid"}


class BGPSide:
    """The sink of the BGP agent's syncer, and its plan."""

    def __init__(self) -> None:
        self.store = SnapshotStore(HOST)
        self.seen: dict[str, bytes] = {}
        self.status = SyncStatus.WAITING

    def on_status(self, status: SyncStatus, reason: str = "") -> None:
        self.status = status

    def on_updates(self, updates: Sequence[Update], revision: int) -> None:
        _record(self.seen, updates)
        self.store.apply(updates)

    def plan(self) -> Planned:
        return build_plan(self.store.view(), HOST)


def _record(seen: dict[str, bytes], updates: Sequence[Update]) -> None:
    for update in updates:
        if update.value is None:
            seen.pop(update.key, None)
        else:
            seen[update.key] = update.value


class Cleaned(msgspec.Struct):
    """A store without damage that means the same; whom each agent must name; what is there and cannot be read."""

    values: dict[str, bytes] = {}
    resources: dict[ResourceKey, Resource] = {}
    felix_names: set[str] = set()
    bgp_names: set[str] = set()
    unreadable: set[ResourceKey] = set()


def cleaned(values: Values) -> Cleaned:
    """What is left of a store when every damaged object is replaced by a well-formed one, or removed."""
    clean = Cleaned()
    for path, value in values.items():
        key = parse_key(path)
        if key is None:
            _keep_other(clean, path, value)
            continue
        found = decode(key, value)
        if found.problems:
            _check_denial(found)
            clean.felix_names.add(str(key))
            # of what the cluster is BGP only asks whether it is ready: Felix names the damage
            clean.bgp_names |= {str(key)} if _is_of_bgp(path) and key.kind != "ClusterInformation" else set()
        if found.resource is None:
            clean.unreadable.add(key)
            continue
        clean.resources[key] = found.resource
        clean.values[path] = encode(found.resource)
        again = decode(key, clean.values[path])
        assert again.resource is not None, f"what is left of {path} cannot be read: {clean.values[path]!r}"
        assert again.problems == (), f"what is left of {path} is not well-formed: {again.problems}"
    return clean


def _check_denial(found: Decoded) -> None:
    """Whoever is said to deny everything does so."""
    if found.resource is not None and any("everything is denied" in problem for problem in found.problems):
        spec = getattr(found.resource, "spec", None)
        assert isinstance(spec, NetworkPolicySpec | ProfileSpec)
        assert spec.ingress or spec.egress
        assert {rule.action for rule in spec.ingress + spec.egress} == {"Deny"}


def _keep_other(clean: Cleaned, path: str, value: bytes) -> None:
    """Keys that name no resource: under the resources they are named; elsewhere they may be BGP's."""
    if path.startswith(RESOURCE_PREFIX):
        clean.felix_names.add(path)
        return
    alone = SnapshotStore(HOST)
    alone.apply([Update(path, value, 1)])
    problems = alone.view().problems
    clean.bgp_names |= {problem.object for problem in problems}
    if not problems:
        clean.values[path] = value


def told(values: Values) -> FelixSide:
    """Felix that has been told a whole store at once."""
    side = FelixSide()
    side.on_updates([Update(path, value, 1) for path, value in values.items() if path.startswith(RESOURCE_PREFIX)], 1)
    side.on_status(SyncStatus.IN_SYNC)
    side.settle()
    return side


def expected_bgp(clean: Cleaned) -> Planned:
    """The plan for a clean store, and what is known to be there without being readable."""
    store = SnapshotStore(HOST)
    store.apply([Update(path, value, 1) for path, value in clean.values.items() if _is_of_bgp(path)])
    unreadable = frozenset(key for key in clean.unreadable if _is_of_bgp(key_path(key)))
    return build_plan(msgspec.structs.replace(store.view(), unreadable=unreadable), HOST)


def _is_of_bgp(path: str) -> bool:
    return path.startswith(BGP_PREFIXES)


@asynccontextmanager
async def following(backend: Backend, felix: FelixSide, bgp: BGPSide) -> AsyncIterator[None]:
    """Both syncers follow the store until the end."""
    syncers = [Syncer(backend, [RESOURCE_PREFIX], felix, require_ready=True, sleep=_soon)]
    syncers.append(Syncer(backend, BGP_PREFIXES, bgp, require_ready=True, sleep=_soon))
    tasks = [asyncio.create_task(syncer.run()) for syncer in syncers]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(end, asyncio.CancelledError) for end in ends), ends


async def _soon(_: float) -> None:
    await asyncio.sleep(0.001)


async def reached(felix: FelixSide, bgp: BGPSide, values: Values) -> None:
    """Wait until both have been told exactly these values."""
    of_felix = {path: value for path, value in values.items() if path.startswith(RESOURCE_PREFIX)}
    of_bgp = {path: value for path, value in values.items() if _is_of_bgp(path)}
    async with asyncio.timeout(60):
        while felix.seen != of_felix or bgp.seen != of_bgp or not _in_sync(felix, bgp):
            await asyncio.sleep(0.001)


async def away(felix: FelixSide) -> None:
    """Wait until Felix does not follow the store any more. (BGP looks at what the cluster is when it lists.)"""
    async with asyncio.timeout(60):
        while felix.status is SyncStatus.IN_SYNC:
            await asyncio.sleep(0.001)


def _in_sync(*sides: FelixSide | BGPSide) -> bool:
    return all(side.status is SyncStatus.IN_SYNC for side in sides)


def check(felix: FelixSide, bgp: BGPSide, values: Values) -> None:
    """Nobody is affected but whom the damage concerns, and that one is named."""
    clean = cleaned(values)
    felix.settle()
    alone = told(clean.values)
    _same("the dataplane", felix.dataplane, recompute(HOST, clean.resources, settings=SETTINGS))
    _same("Felix's settings", felix.settings(), alone.settings())
    _same("whom Felix names", felix.named(), alone.named() | clean.felix_names)
    planned, wanted = bgp.plan(), expected_bgp(clean)
    _same("the plan", (planned.plan, planned.held), (wanted.plan, wanted.held))
    _same("whom BGP names", _objects(planned), _objects(wanted) | clean.bgp_names)
    render(planned.plan, "/run/bird.log")


def _same(what: str, found: object, wanted: object) -> None:
    assert found == wanted, f"{what}: " + "; ".join(_differences(found, wanted, ""))


def _differences(found: object, wanted: object, where: str) -> Iterator[str]:
    """Where two values differ, as deep as they are of one shape."""
    if found == wanted:
        return
    if isinstance(found, dict) and isinstance(wanted, dict):
        for key in found.keys() | wanted.keys():
            yield from _differences(found.get(key), wanted.get(key), f"{where}[{key}]")
    elif isinstance(found, msgspec.Struct) and type(found) is type(wanted):
        for name in found.__struct_fields__:
            yield from _differences(getattr(found, name), getattr(wanted, name), f"{where}.{name}")
    elif isinstance(found, tuple) and isinstance(wanted, tuple) and len(found) == len(wanted):
        for at, pair in enumerate(zip(found, wanted, strict=True)):
            yield from _differences(*pair, f"{where}[{at}]")
    else:
        yield f"{where} is {found!r}, not {wanted!r}"


def _objects(planned: Planned) -> set[str]:
    return {problem.object for problem in planned.problems}
