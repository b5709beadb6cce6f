from __future__ import annotations

import os
from pathlib import Path

from calico.bgp.bird.log import LogFollower, happenings

BIND = "2026-11-23 10:11:05.250 <ERR> Mesh_10_0_0_2: bind: Address already in use\n"
DROP = "2026-11-23 10:11:05.250 <WARN> Kernel dropped some netlink messages, will resync on next scan.\n"
NOISE = "2026-11-23 10:11:05.250 <INFO> Reconfigured\n"


def test_the_two_signs_are_found_among_other_lines() -> None:
    assert happenings([NOISE, BIND, NOISE, DROP]) == ["bird-listen-failed", "bird-netlink-dropped"]


def test_what_was_in_the_log_before_us_is_not_news(tmp_path: Path) -> None:
    path = tmp_path / "bird.log"
    path.write_text(BIND)
    follower = LogFollower(path)
    assert follower.read() == []
    with open(path, "a") as file:
        file.write(DROP)
    assert follower.read() == ["bird-netlink-dropped"]
    assert follower.read() == []


def test_a_line_is_read_once_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "bird.log"
    follower = LogFollower(path)
    path.write_text(BIND[:40])
    assert follower.read() == []
    path.write_text(BIND)
    assert follower.read() == ["bird-listen-failed"]


def test_rotation_is_followed(tmp_path: Path) -> None:
    path = tmp_path / "bird.log"
    path.write_text(NOISE * 3)
    follower = LogFollower(path)
    os.replace(path, tmp_path / "bird.log.1")
    path.write_text(DROP)
    assert follower.read() == ["bird-netlink-dropped"]
