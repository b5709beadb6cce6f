from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from calico.orchestrators.openstack.compute.cache import Cache
from calico.orchestrators.openstack.compute.view import Known
from calico.orchestrators.openstack.facts import FixedIp, HostRoute
from calico.orchestrators.openstack.records import EndpointRecord, SubnetRecord

KNOWN = Known(
    {"key": EndpointRecord(namespace="openstack", host="h", device_id="d", port_id="p", interface="tap1", mac="m",
                           fixed_ips=(FixedIp(subnet_id="s", ip_address="10.0.0.5"),))},
    {"s": SubnetRecord(network_id="n", cidr="10.0.0.0/24",
                       host_routes=(HostRoute(destination="10.0.0.0/8", nexthop="10.0.0.1"),))},
)  # fmt: skip


async def written(path: Path, known: Known = KNOWN) -> None:
    cache = Cache(path, "h", "")
    task = asyncio.create_task(cache.run(lambda: known))
    await asyncio.sleep(0)
    cache.changed()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not cache.trouble


async def test_what_was_remembered_is_known_again_also_when_the_agent_ends_at_once(tmp_path: Path) -> None:
    path = tmp_path / "state" / "known.json"
    await written(path)
    assert Cache(path, "h", "").read() == KNOWN
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["known.json"]


async def test_what_another_host_or_region_knew_is_not_taken(tmp_path: Path) -> None:
    path = tmp_path / "known.json"
    await written(path)
    assert Cache(path, "other", "").read() == Known()
    assert Cache(path, "h", "r1").read() == Known()


@pytest.mark.parametrize("content", [b"", b"{", b'{"format":9,"node":"h","region":"","known":{}}', b"\xff\xfe", b"[]"])
def test_a_file_that_cannot_be_read_is_like_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "known.json"
    path.write_bytes(content)
    assert Cache(path, "h", "").read() == Known()
    assert Cache(tmp_path / "none", "h", "").read() == Known()


async def test_a_place_that_cannot_be_written_is_named_and_ends_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    cache = Cache(tmp_path / "file" / "known.json", "h", "")
    task = asyncio.create_task(cache.run(lambda: KNOWN))
    await asyncio.sleep(0)
    cache.changed()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert "known.json" in cache.trouble
