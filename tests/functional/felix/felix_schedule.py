"""Schedules of what may happen to a Felix, drawn from a seed: the same seed draws the same again.

Everything is undone before a schedule ends, so that afterwards the host must be as its datastore says.
"""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from felix_dance import Dance
from felix_world import World, until

from calico.felix.steps import STEPS

__all__ = ["Event", "Schedule", "draw", "kernel_tokens"]

_ENDING = str(Path(__file__).with_name("felix_ending.py"))
_EVENTS_MIN, _EVENTS_MAX = 4, 7


class Event(NamedTuple):
    """What happens, for how many seconds (0: at once), and with what."""

    what: str
    lasts_s: float
    detail: str = ""


def draw(seed: int) -> list[Event]:
    """The events of a seed."""
    chance = random.Random(seed)
    return [_draw_one(chance) for _ in range(chance.randint(_EVENTS_MIN, _EVENTS_MAX))]


def _draw_one(chance: random.Random) -> Event:
    what = chance.choice(sorted(_HAPPENS))
    detail = ""
    if what == "end-at":
        detail = f"{chance.choice((*STEPS, 'sending', 'sent'))}:{chance.randint(1, 4)}"
    elif what == "slow-kernel":
        detail = f"{chance.uniform(0.005, 0.08):.3f}"
    elif what == "drift":
        detail = chance.choice(("route", "neighbour", "setting", "gateway"))
    elif what == "flap":
        detail = chance.choice("cd")
    return Event(what, round(chance.uniform(0.1, 1.5), 2), detail)


class Schedule:
    """Runs events on a host while a dance goes on: ``run`` returns when all is undone and Felix runs as ever."""

    def __init__(self, world: World, dance: Dance) -> None:
        self.world, self._dance = world, dance

    def run(self, events: list[Event]) -> None:
        for event in events:
            _HAPPENS[event.what](self, event)
            self.dance_for(0.2)
        if self.world.felix is None or self.world.felix.poll() is not None:
            self.world.felix = None
        self.world.kill_felix()
        self.world.start_felix()
        until(lambda: self.world.status["in_sync"], "Felix was in sync again", deadline_s=90)

    def dance_for(self, seconds: float) -> None:
        """Changes without end for a while."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._dance.step()

    def kill(self, event: Event) -> None:
        self.world.kill_felix()
        self.dance_for(event.lasts_s / 3)
        self.world.start_felix()

    def restart(self, event: Event) -> None:
        self._signal(signal.SIGTERM)
        process = self.world.felix
        assert process is not None
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGABRT)  # says where it is
            process.wait()
            output = (self.world.directory / "felix.out").read_text()
            raise AssertionError(f"Felix did not end:\n{output[-6000:]}\n{self.world.log()[-2000:]}") from None
        self.world.felix = None
        self.world.start_felix()
        self.dance_for(event.lasts_s)

    def end_at(self, event: Event) -> None:
        """It ends at a step, if it gets there in time."""
        self.world.kill_felix()
        self.world.start_felix(_ENDING, "--end-at", event.detail)
        process, end = self.world.felix, time.monotonic() + 5
        assert process is not None
        while process.poll() is None and time.monotonic() < end:
            self._dance.step()
        self.world.kill_felix()
        self.world.start_felix()

    def slow_kernel(self, event: Event) -> None:
        self.world.kill_felix()
        self.world.start_felix(_ENDING, "--slow", event.detail)
        self.dance_for(1 + event.lasts_s)

    def pause(self, event: Event) -> None:
        self._signal(signal.SIGSTOP)
        self.dance_for(event.lasts_s)
        self._signal(signal.SIGCONT)

    def pause_etcd(self, event: Event) -> None:
        """Nobody can write meanwhile, either."""
        assert self.world.etcd is not None
        self.world.etcd.send_signal(signal.SIGSTOP)
        time.sleep(event.lasts_s)
        self.world.etcd.send_signal(signal.SIGCONT)

    def partition(self, event: Event) -> None:
        """What Felix has open to etcd is lost without a word; new connections are possible."""
        assert self.world.felix is not None
        words = ["ss", "-Htnp", "state", "established", "( dport = :2379 )"]
        shown = subprocess.run([*self.world.enter("h"), *words], capture_output=True, text=True, check=True).stdout
        mine = [line.split() for line in shown.splitlines() if f"pid={self.world.felix.pid}," in line]
        ports = {words[2].rpartition(":")[2] for words in mine}
        if not ports:
            return
        rule = f"tcp dport 2379 tcp sport {{ {', '.join(ports)} }} drop"
        with self.world.foreign(f"chain c {{ type filter hook output priority 0; {rule}; }}"):
            self.dance_for(event.lasts_s)

    def interrupt(self, event: Event) -> None:
        """Thousands of signals: every call of the kernel is interrupted now and then."""
        self.world.kill_felix()
        self.world.start_felix(_ENDING, "--handle-signals")
        until(lambda: self.world.status["in_sync"], "Felix was in sync", deadline_s=90)
        stop = threading.Event()

        def storm() -> None:
            while not stop.is_set():
                self._signal(signal.SIGUSR2)
                time.sleep(0.0002)

        thread = threading.Thread(target=storm)
        thread.start()
        try:
            self.dance_for(event.lasts_s)
        finally:
            stop.set()
            thread.join()

    def drift(self, event: Event) -> None:
        """Somebody else changes what is ours, of workloads that the stream does not use."""
        world = self.world
        address = world.address("c", 4)
        commands = {
            "route": ["route", "del", f"{address}/32"],
            "neighbour": ["neigh", "del", address, "dev", "calic"],
            "gateway": ["addr", "del", "169.254.1.1/32", "dev", "lo"],
        }
        if event.detail == "setting":
            world.sysctl("h", "ipv4/conf/calic/rp_filter", "0")
        else:
            subprocess.run(["ip", "-n", world.netns("h"), *commands[event.detail]], capture_output=True, check=False)
        self.dance_for(event.lasts_s)

    def flap(self, event: Event) -> None:
        """The interface of another workload goes down and comes up."""
        self.world.ip("h", f"link set cali{event.detail} down")
        self.dance_for(event.lasts_s / 3)
        self.world.ip("h", f"link set cali{event.detail} up")

    def _signal(self, number: signal.Signals) -> None:
        if self.world.felix is not None and self.world.felix.poll() is None:
            os.kill(self.world.felix.pid, number)


_HAPPENS: dict[str, Callable[[Schedule, Event], None]] = {
    "drift": Schedule.drift,
    "end-at": Schedule.end_at,
    "flap": Schedule.flap,
    "interrupt": Schedule.interrupt,
    "kill": Schedule.kill,
    "partition": Schedule.partition,
    "pause": Schedule.pause,
    "pause-etcd": Schedule.pause_etcd,
    "restart": Schedule.restart,
    "slow-kernel": Schedule.slow_kernel,
}

_KERNEL_NAMES = re.compile(r"((?:set|map) |@)([\w-]+?)\.\d+(?= |$)", re.MULTILINE)
_SIZES = re.compile(r"\bsize \d+")
_ENDED = re.compile(r"set ended-[^}]*?\{[^{}]*(?:elements = \{[^}]*\}\s*)?\}")


def kernel_tokens(world: World) -> dict[str, list[str]]:
    """What the kernel has of ours, in any order: without what remembers history (sizes and the kernel's names of sets
    that had to grow, and which connections were ended)."""
    ruleset = _SIZES.sub("", _KERNEL_NAMES.sub(r"\1\2", _ENDED.sub("", world.ruleset())))
    found = {"ruleset": ruleset}
    for family in (4, 6):
        found[f"routes {family}"] = world.show("h", f"-{family} route show proto 80")
    found["neighbours"] = world.show("h", "neigh show nud permanent")
    found["gateways"] = "169.254.1.1" * ("169.254.1.1" in world.show("h", "addr show dev lo"))
    for name in world.workloads:
        found[f"settings {name}"] = world.sysctl("h", f"ipv4/conf/cali{name}/rp_filter")
    return {what: sorted(re.findall(r"[^\s,]+", text)) for what, text in found.items()}
