"""What presses a host: full disks, full connection tracking, storms of kernel events, jumps of the clock."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from felix_world import World

from calico.dataplane.netns import in_netns
from calico.netlink import wire
from calico.netlink.conntrack import count_flows, decode_count
from calico.netlink.socket import NETLINK_NETFILTER, NetlinkSocket

__all__ = ["Clock", "fill_connection_tracking", "fill_disk", "forget_connections", "memory_mb", "small_disk"]

_NEW, _DELETE = 1 << 8, 1 << 8 | 2
_SEEN_REPLY_ASSURED_CONFIRMED = 2 | 4 | 8
_BATCH = 4000
_FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), Path("libfaketime.so.1"))


@contextmanager
def small_disk(world: World, kilobytes: int) -> Iterator[Path]:
    """While it lasts, Felix has its sockets, records and log on a disk of this size."""
    disk = world.directory / "disk"
    disk.mkdir()
    options = f"size={kilobytes}k,mode=700"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, f"{world.prefix}disk", str(disk)], check=True)
    before = world.run_dir, world.log_file
    try:
        world.run_dir, world.log_file = disk / "run", disk / "felix.log"
        world.run_dir.mkdir()
        yield disk
    finally:
        world.kill_felix()
        world.run_dir, world.log_file = before
        subprocess.run(["umount", str(disk)], check=True)


def fill_disk(disk: Path) -> None:
    """Until not one byte more fits."""
    with (disk / "filler").open("ab", buffering=0) as file:
        for size in (4096, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise


def fill_connection_tracking(world: World) -> int:
    """Track as many connections on the host as the kernel takes, none of which it may drop; how many there are."""
    most = int(Path("/proc/sys/net/netfilter/nf_conntrack_max").read_text())
    with in_netns(world.netns("h"), lambda: NetlinkSocket(NETLINK_NETFILTER)) as sock:
        for start in range(0, most, _BATCH):
            first = sock.next_seq(_BATCH)
            sock.transact([_new_flow(first + n, start + n) for n in range(_BATCH)])
        return sum(decode_count(answer.payload) for answer in sock.request(count_flows(sock.next_seq())))


def forget_connections(world: World) -> None:
    """Track none any more."""
    with in_netns(world.netns("h"), lambda: NetlinkSocket(NETLINK_NETFILTER)) as sock:
        sock.request(wire.message(_DELETE, wire.NLM_F_REQUEST, sock.next_seq(), b"\2\0\0\0"))


def _new_flow(seq: int, number: int) -> bytes:
    source, target = bytes((172, 16 + (number >> 16 & 15), number >> 8 & 255, number & 255)), bytes((203, 0, 113, 1))
    body = b"\2\0\0\0" + _tuple(1, source, target, 1000, 2000) + _tuple(2, target, source, 2000, 1000)
    body += wire.attr_be32(3, _SEEN_REPLY_ASSURED_CONFIRMED) + wire.attr_be32(7, 600)
    return wire.message(_NEW, wire.NLM_F_REQUEST | wire.NLM_F_CREATE, seq, body)


def _tuple(kind: int, source: bytes, target: bytes, sport: int, dport: int) -> bytes:
    ends = wire.nested(1, wire.attr(1, source), wire.attr(2, target))
    ports = (wire.attr(2, sport.to_bytes(2, "big")), wire.attr(3, dport.to_bytes(2, "big")))
    return wire.nested(kind, ends, wire.nested(2, wire.attr(1, b"\x11"), *ports))


class Clock:
    """The wall clock that a Felix sees: ``jump`` moves it for good. The machine's own is left alone."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.jump(0)
        self.environment = {
            "LD_PRELOAD": str(_FAKETIME),
            "FAKETIME_TIMESTAMP_FILE": str(file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def jump(self, seconds: int) -> None:
        partial = self._file.with_suffix(".new")
        partial.write_text(f"{seconds:+d}")
        os.replace(partial, self._file)


def memory_mb(pid: int) -> float:
    """The resident memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
