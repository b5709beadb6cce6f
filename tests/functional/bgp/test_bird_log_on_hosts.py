"""What only BIRD's log tells, caused on purpose: the kernel's messages overflow while BIRD does not read them."""

from __future__ import annotations

import os
import signal
import tempfile
from typing import Any

import pytest

pytestmark = [pytest.mark.root, pytest.mark.bird, pytest.mark.etcd]

ROUTES, TURNS = 4000, 12


def test_route_messages_that_the_kernel_dropped_are_reported_and_the_routes_come_all_the_same(fabric: Any) -> None:
    fabric.put("ippools", "v4", "IPPool", {"cidr": "10.64.0.0/12"})
    first, second = fabric.add_host(1), fabric.add_host(2)
    fabric.until(lambda: first.is_settled(sessions=2) and second.is_settled(sessions=2), "the sessions are up")
    first.workload(1, "10.65.1.1")
    nets = [f"10.66.{n // 250}.{n % 250}/32 dev cali1 proto 80" for n in range(ROUTES)]
    once = [f"route add {net}\n" for net in nets] + [f"route del {net}\n" for net in nets]
    with tempfile.NamedTemporaryFile("w", suffix=".batch") as batch:
        batch.writelines(once * TURNS + once[:ROUTES])
        batch.flush()
        os.kill(first.bird_pid, signal.SIGSTOP)
        try:
            first.ip("-batch", batch.name)
        finally:
            os.kill(first.bird_pid, signal.SIGCONT)
    (condition,) = fabric.until(lambda: first.has_condition("bird-netlink-dropped"), "the drop is reported")
    assert condition["severity"] == "warning"
    last = f"10.66.{(ROUTES - 1) // 250}.{(ROUTES - 1) % 250}"
    fabric.until(lambda: second.has_route(last), "the next scan finds what was dropped")
