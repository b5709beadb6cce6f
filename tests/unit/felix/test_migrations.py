"""Stages of workloads that migrate, as LiveMigrations come and go and frames are seen."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from calico.calc.messages import EndpointId, EndpointUpdate
from calico.dataplane.interfaces import Interface
from calico.felix.migrations import Migrations
from calico.lib.packed import net
from calico.model.keys import ResourceKey
from calico.model.livemigration import (
    LiveMigration,
    LiveMigrationSource,
    LiveMigrationSpec,
    LiveMigrationTarget,
    WorkloadEndpointIdentifier,
)

ID = EndpointId("openstack", "openstack/vm", "port")
MAC = bytes.fromhex("fa163e000001")
TO_US, FROM_US = "to us", "from us"


class Ear:
    """Stands for a packet socket: ``hear`` is a frame that comes in on it."""

    def __init__(self, interface: str, mac: bytes, on_seen: Callable[[], None]) -> None:
        self.interface, self.mac, self.hear, self.open = interface, mac, on_seen, True

    def close(self) -> None:
        self.open = False


class World:
    """The endpoint ``ID`` on this host, ``here``, and another host."""

    def __init__(self) -> None:
        self.stages: list[str] = []
        self.ears: list[Ear] = []
        self.hold_s = 3600.0
        self.migrations = Migrations("here", lambda: self.hold_s, self._on_stage, self._listen)

    def _on_stage(self, endpoint: EndpointId, stage: str) -> None:
        assert endpoint == ID
        self.stages.append(stage)

    def _listen(self, interface: str, mac: bytes, on_seen: Callable[[], None]) -> Any:
        self.ears.append(Ear(interface, mac, on_seen))
        return self.ears[-1]

    def open_ears(self) -> list[Ear]:
        return [ear for ear in self.ears if ear.open]

    def plug(self, index: int = 5) -> None:
        update = EndpointUpdate(
            id=ID,
            key=ResourceKey("WorkloadEndpoint", "openstack", "x"),
            interface="tap1",
            mac=MAC,
            nets=(net("10.0.0.1/32"),),
        )
        self.migrations.on_endpoint(ID, update)
        self.migrations.on_interface("tap1", Interface(name="tap1", index=index, up=True, oper_up=True))

    async def say(self, *names: str, gone: tuple[str, ...] = ()) -> None:
        for name in gone:
            self.migrations.on_resource(ResourceKey("LiveMigration", "openstack", name), None)
        for name in names:
            hosts = ("there", "here") if name == TO_US else ("here", "there")
            self.migrations.on_resource(ResourceKey("LiveMigration", "openstack", name), migration(*hosts))
        await asyncio.sleep(0)


def migration(source: str, target: str) -> LiveMigration:
    def at(host: str) -> WorkloadEndpointIdentifier:
        return WorkloadEndpointIdentifier(
            hostname=host, orchestrator_id=ID.orchestrator, workload_id=ID.workload, endpoint_id=ID.endpoint
        )

    return LiveMigration(
        spec=LiveMigrationSpec(
            source=LiveMigrationSource(workload_endpoint=at(source)),
            target=LiveMigrationTarget(workload_endpoint=at(target)),
        )
    )


@pytest.fixture
def world() -> World:
    return World()


async def test_an_endpoint_that_arrives_has_no_route_before_its_first_frame(world: World) -> None:
    await world.say(TO_US)
    world.plug()
    assert world.stages == ["arriving"]
    (ear,) = world.open_ears()
    assert (ear.interface, ear.mac) == ("tap1", MAC)
    ear.hear()
    assert world.stages == ["arriving", "arrived"]


async def test_the_order_of_migration_endpoint_and_interface_makes_no_difference(world: World) -> None:
    world.plug()
    await world.say(TO_US)
    world.open_ears()[0].hear()
    assert world.stages == ["arriving", "arrived"]


async def test_an_interface_that_is_made_anew_is_listened_to_anew(world: World) -> None:
    await world.say(TO_US)
    world.plug()
    world.migrations.on_interface("tap1", None)
    assert not world.open_ears()
    world.plug(index=6)
    world.open_ears()[0].hear()
    assert world.stages == ["arriving", "arrived"]


async def test_a_migration_that_is_cancelled_leaves_both_ends_as_before(world: World) -> None:
    world.plug()
    await world.say(TO_US)
    await world.say(gone=(TO_US,))
    assert world.stages == ["arriving", "settled"]
    assert not world.open_ears()
    await world.say(FROM_US)
    await world.say(gone=(FROM_US,))
    assert world.stages[2:] == ["leaving", "settled"]


async def test_an_activated_binding_that_turns_the_migration_around_keeps_who_arrived(world: World) -> None:
    world.plug()
    await world.say(TO_US)
    world.open_ears()[0].hear()
    await world.say(FROM_US, gone=(TO_US,))
    await world.say(gone=(FROM_US,))
    assert world.stages == ["arriving", "arrived"]


async def test_who_left_has_no_route_as_soon_as_the_migration_is_turned_around(world: World) -> None:
    world.plug()
    await world.say(FROM_US)
    await world.say(TO_US, gone=(FROM_US,))
    assert world.stages == ["leaving", "arriving"]


async def test_who_arrived_and_leaves_again_lets_the_next_host_win(world: World) -> None:
    world.plug()
    await world.say(TO_US)
    world.open_ears()[0].hear()
    await world.say(gone=(TO_US,))
    await world.say(FROM_US)
    assert world.stages == ["arriving", "arrived", "leaving"]


async def test_routes_are_normal_again_some_time_after_the_migration(world: World) -> None:
    world.hold_s = 0.0
    world.plug()
    await world.say(TO_US)
    world.open_ears()[0].hear()
    await world.say(gone=(TO_US,))
    await asyncio.sleep(0.01)
    assert world.stages == ["arriving", "arrived", "settled"]


async def test_an_endpoint_that_goes_leaves_nothing(world: World) -> None:
    world.plug()
    await world.say(TO_US)
    world.migrations.on_endpoint(ID, None)
    assert world.stages == ["arriving", "settled"]
    assert not world.open_ears()


async def test_migrations_between_other_hosts_are_not_ours(world: World) -> None:
    world.plug()
    world.migrations.on_resource(ResourceKey("LiveMigration", "openstack", "m"), migration("one", "two"))
    await asyncio.sleep(0)
    assert world.stages == []
