"""What a host remembers of its attachments."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from calico.orchestrators.cni.host.records import Record, Records
from calico.orchestrators.cni.workload.names import Attached


def record(number: int) -> Record:
    attached = Attached(network="net", container_id=f"{number}" * 16, interface="eth0", node="a")
    return Record(attached=attached, host_interface="cali0")


async def test_records_are_on_the_disk_with_their_folder_once_settled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    sync = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    records = Records(tmp_path)
    for number in range(3):
        records.write(record(number))
    records.forget(record(2).attached)
    await asyncio.gather(*(records.settle() for _ in range(3)))
    files = sorted(str(path) for path in tmp_path.glob("*.json"))
    assert len(files) == 2
    assert sorted(synced[:-1]) == files, "each once, although three waited"
    assert synced[-1] == str(tmp_path)


async def test_what_could_not_be_written_is_an_error_and_tried_again(tmp_path: Path) -> None:
    records = Records(tmp_path / "here")
    records.write(record(1))
    (tmp_path / "here").rename(tmp_path / "there")
    with pytest.raises(OSError, match="here"):
        await records.settle()
    (tmp_path / "there").rename(tmp_path / "here")
    await records.settle()
    assert list(records.all()) == [record(1)]
