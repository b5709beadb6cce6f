"""Names and content of the files that CNI plugins wait for; what cannot be written is named and tried again."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from calico.calc.messages import EndpointId, EndpointUpdate
from calico.felix.status_files import EndpointStatusFiles, file_content, file_name
from calico.lib.packed import net
from calico.model.keys import ResourceKey
from calico.obs.conditions import Conditions

ONE = EndpointId("k8s", "ns/pod", "eth0")
UPDATE = EndpointUpdate(
    id=ONE,
    key=ResourceKey("WorkloadEndpoint", "ns", "x"),
    interface="cali1",
    mac=bytes.fromhex("ee0000000001"),
    nets=(net("10.0.0.1/32"), net("fd00::1/128")),
)


def test_a_name_is_its_three_parts_escaped_so_that_it_names_no_other_file() -> None:
    assert file_name(ONE) == "k8s ns%2Fpod eth0"
    assert file_name(EndpointId("k8s", "../a b", "..")) == "k8s ..%2Fa%20b .."
    assert file_name(EndpointId("o", "a:b@c", "e%2Fx")) == "o a:b@c e%252Fx"


def test_what_an_endpoint_does_not_have_is_left_out() -> None:
    assert json.loads(file_content(UPDATE)) == {
        "ifaceName": "cali1",
        "mac": "ee:00:00:00:00:01",
        "ipv4Nets": ["10.0.0.1/32"],
        "ipv6Nets": ["fd00::1/128"],
    }
    bare = EndpointUpdate(id=ONE, key=UPDATE.key, interface="cali1")
    assert json.loads(file_content(bare)) == {"ifaceName": "cali1"}


def test_nothing_is_written_nor_removed_before_the_host_was_programmed_and_trouble_is_named(tmp_path: Path) -> None:
    async def go() -> None:
        directory, conditions = tmp_path / "endpoint-status", Conditions()
        directory.mkdir()
        (directory / "k8s ns%2Fold eth0").write_text("{}")
        programmed = [False]
        files = EndpointStatusFiles(directory, conditions)
        files.bind({ONE: UPDATE}.get, lambda: programmed[0])
        running = asyncio.create_task(files.run())
        files.on_status(ONE, "up")
        files.on_applied()
        await asyncio.sleep(0)
        assert [path.name for path in directory.iterdir()] == ["k8s ns%2Fold eth0"]
        too_long = EndpointId("k8s", "x" * 300, "eth0")
        files.bind({ONE: UPDATE, too_long: UPDATE}.get, lambda: True)
        files.on_status(too_long, "up")
        files.on_applied()
        for _ in range(5):
            await asyncio.sleep(0)
        assert [path.name for path in directory.iterdir() if " " in path.name] == ["k8s ns%2Fpod eth0"]
        (condition,) = conditions
        assert (condition.code, condition.object) == ("status-files-not-written", file_name(too_long))
        files.on_status(too_long, None)
        files.on_status(ONE, "down")
        files.on_applied()
        for _ in range(5):
            await asyncio.sleep(0)
        assert [path.name for path in directory.iterdir() if " " in path.name] == []
        assert list(conditions) == []
        running.cancel()

    asyncio.run(go())
