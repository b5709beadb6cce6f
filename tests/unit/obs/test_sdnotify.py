"""What systemd hears of a service, through a real socket."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from calico.obs.sdnotify import Notifier


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(5)
        yield sock


def test_states_arrive_one_a_line(systemd: socket.socket) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": systemd.getsockname()})
    notifier.tell(READY=1, STATUS="in sync")
    assert systemd.recv(1000) == b"READY=1\nSTATUS=in sync"


def test_a_text_cannot_say_another_state(systemd: socket.socket) -> None:
    Notifier({"NOTIFY_SOCKET": systemd.getsockname()}).tell(STATUS="bad\nSTOPPING=1")
    assert systemd.recv(1000) == b"STATUS=bad STOPPING=1"


def test_a_socket_may_be_abstract() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        name = f"calico-test-{os.getpid()}"
        sock.bind(f"\0{name}")
        sock.settimeout(5)
        Notifier({"NOTIFY_SOCKET": f"@{name}"}).tell(WATCHDOG=1)
        assert sock.recv(1000) == b"WATCHDOG=1"


@pytest.mark.parametrize(
    ("environment", "watchdog_s"),
    [
        ({"WATCHDOG_USEC": "3000000"}, 3.0),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid())}, 3.0),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}, 0.0),
        ({"WATCHDOG_USEC": "soon"}, 0.0),
        ({}, 0.0),
    ],
)
def test_the_watchdog_is_that_of_this_process(environment: dict[str, str], watchdog_s: float) -> None:
    assert Notifier({"NOTIFY_SOCKET": "/nowhere", **environment}).watchdog_s == watchdog_s


def test_outside_of_systemd_and_when_it_is_gone_nothing_happens(tmp_path: Path) -> None:
    Notifier({"WATCHDOG_USEC": "3000000"}).tell(READY=1)
    assert Notifier({"WATCHDOG_USEC": "3000000"}).watchdog_s == 0.0
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "none")}).tell(READY=1)
