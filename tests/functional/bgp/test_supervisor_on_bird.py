"""The supervisor with a real BIRD, given texts that no planner would make."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest

from calico.bgp.bird.supervisor import Applied, Supervisor
from calico.dataplane.netns import in_netns

pytestmark = [pytest.mark.root, pytest.mark.bird]

BASE = """\
log "{directory}/bird.log" all;
router id 10.99.0.{number};
define HOLD = {hold};
protocol device device_all {{ scan time 10; }}
protocol direct direct_all {{ ipv4; interface "*"; }}
protocol static blocks4 {{
  ipv4;
  {routes}
}}
protocol bgp Mesh_other {{
  local 10.99.0.{number} as 64512;
  neighbor 10.99.0.{other} as 64512;
  multihop;
  hold time HOLD;
  connect delay time 1;
  connect retry time 1;
  graceful restart on;
  ipv4 {{ import all; export where source = RTS_STATIC; }};
}}
"""


def _text(host: Any, other: Any, *, hold: int = 90, routes: str = "") -> str:
    return BASE.format(directory=host.run_dir, number=host.number, other=other.number, hold=hold, routes=routes)


def _inside(host: Any, scenario: Callable[[Supervisor], Awaitable[None]]) -> None:
    """Run a scenario in the host's namespace beside a running supervisor."""
    host.run_dir.mkdir(exist_ok=True)

    async def main() -> None:
        supervisor = Supervisor(host.run_dir)
        running = asyncio.create_task(supervisor.run())
        try:
            async with asyncio.timeout(60):
                await scenario(supervisor)
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running

    in_netns(host.netns, lambda: asyncio.run(main()))


def _start(host: Any, other: Any) -> None:
    async def scenario(supervisor: Supervisor) -> None:
        assert await supervisor.apply(_text(host, other)) is Applied.STARTED

    _inside(host, scenario)


async def _settled(host: Any) -> None:
    while True:
        with suppress(OSError, ValueError):
            if host.is_settled(sessions=1):
                return
        await asyncio.sleep(0.05)


@pytest.fixture
def pair(wires: Any) -> tuple[Any, Any]:
    """Two hosts; the second runs a plain BIRD that its supervisor has already left alone."""
    first, second = wires.bare_host(1), wires.bare_host(2)
    _start(second, first)
    return first, second


def test_a_soft_change_is_confirmed_and_becomes_the_last_good_file(pair: Any, wires: Any) -> None:
    first, second = pair

    async def scenario(supervisor: Supervisor) -> None:
        assert await supervisor.apply(_text(first, second)) is Applied.STARTED
        await _settled(first)
        since, pid = first.since(), supervisor.pid
        wanted = _text(first, second, routes="route 10.65.1.0/26 blackhole;")
        assert await supervisor.apply(wanted) is Applied.RECONFIGURED
        assert await supervisor.apply(wanted) is Applied.UNCHANGED
        assert (first.since(), supervisor.pid) == (since, pid)
        assert supervisor.files.conf.read_text() == wanted

    _inside(first, scenario)
    wires.until(lambda: "10.65.1.0/26" in second.ask_bird("show route protocol Mesh_other"), "the route arrives")


def test_a_recovering_bird_learns_the_kernels_routes_before_its_sessions_come_up(pair: Any) -> None:
    first, second = pair
    kernel = "protocol kernel kernel4 { learn; graceful restart; ipv4 { import all; export none; }; }\n"
    first.workload(1, "10.65.1.1")

    async def scenario(supervisor: Supervisor) -> None:
        await supervisor.apply("debug protocols all;\n" + _text(first, second) + kernel)
        await _settled(first)
        supervisor.files.log.write_text("")
        assert supervisor.pid is not None
        os.kill(supervisor.pid, signal.SIGKILL)
        while "BGP session established" not in supervisor.files.log.read_text():
            await asyncio.sleep(0.05)

    _inside(first, scenario)
    log = (first.run_dir / "bird.log").read_text()
    assert 0 < log.find("10.65.1.1/32: [alien] created") < log.index("BGP session established")


def test_a_change_that_loses_sessions_unexpectedly_is_undone_and_named(pair: Any) -> None:
    first, second = pair

    async def scenario(supervisor: Supervisor) -> None:
        good = _text(first, second)
        await supervisor.apply(good)
        await _settled(first)
        assert await supervisor.apply(_text(first, second, hold=33)) is Applied.UNDONE
        assert [problem.code for problem in supervisor.problems] == ["bird-reconfigure-undone"]
        assert supervisor.files.conf.read_text() == good
        await _settled(first)
        assert "/90" in first.ask_bird("show protocols all Mesh_other"), "the hold time is the old one"

    _inside(first, scenario)


def test_a_text_that_bird_refuses_leaves_the_running_one_and_says_where_it_is_wrong(pair: Any) -> None:
    first, second = pair

    async def scenario(supervisor: Supervisor) -> None:
        good = _text(first, second)
        await supervisor.apply(good)
        assert await supervisor.apply(good + "nonsense;\n") is Applied.REFUSED
        (problem,) = supervisor.problems
        assert problem.code == "bird-check-failed"
        assert "syntax error" in problem.message
        assert supervisor.files.conf.read_text() == good
        assert await supervisor.apply(good) is Applied.UNCHANGED
        assert supervisor.problems == ()

    _inside(first, scenario)


def test_a_graceful_restart_waits_for_its_turn(pair: Any) -> None:
    first, second = pair

    async def scenario(supervisor: Supervisor) -> None:
        await supervisor.apply(_text(first, second))
        await _settled(first)
        pid, wanted = supervisor.pid, _text(first, second).replace("connect retry time 1", "connect retry time 2")
        assert await supervisor.apply(wanted, may_restart=False) is Applied.POSTPONED
        assert supervisor.pid == pid
        assert await supervisor.apply(wanted) is Applied.RESTARTED
        assert supervisor.pid != pid
        assert supervisor.restarts == 0, "a planned restart is no failure"
        await _settled(first)

    _inside(first, scenario)


def test_a_bird_whose_pid_file_is_gone_is_still_found(pair: Any) -> None:
    first, second = pair
    _start(first, second)
    pid = first.bird_pid
    (first.run_dir / "bird.pid").unlink()

    async def scenario(supervisor: Supervisor) -> None:
        await supervisor.apply(_text(first, second, routes="route 10.65.1.0/26 blackhole;"))
        assert supervisor.pid == pid
        (first.run_dir / "bird.pid").write_text(f"{pid}\n")

    _inside(first, scenario)


def test_a_pid_file_that_names_another_process_is_not_believed(pair: Any) -> None:
    first, second = pair
    first.run_dir.mkdir()
    (first.run_dir / "bird.pid").write_text("1\n")
    _start(first, second)
    assert first.bird_pid != 1


def test_a_bird_that_is_killed_again_and_again_comes_back_each_time(pair: Any) -> None:
    first, second = pair

    async def scenario(supervisor: Supervisor) -> None:
        import os

        await supervisor.apply(_text(first, second))
        for count in range(1, 4):
            assert supervisor.pid is not None
            os.kill(supervisor.pid, signal.SIGKILL)
            while supervisor.restarts < count or supervisor.pid is None:
                await asyncio.sleep(0.02)
            await _settled(first)

    _inside(first, scenario)
