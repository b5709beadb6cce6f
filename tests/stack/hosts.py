"""A compute host as etcd sees it: what its Felix would report, said by a test."""

from __future__ import annotations

import threading
import uuid
from typing import Any

from stack.stack import Stack

__all__ = ["Host"]

_TTL_S = 600


class Host:
    """A host with a name of its own. It answers questions for its revision only when it is told to."""

    def __init__(self, stack: Stack, region: str = "no-region") -> None:
        self.name = f"host-{uuid.uuid4().hex[:8]}"
        self._stack = stack
        self._prefix = f"/calico/felix/v2/{region}/host/{self.name}/"

    def report(self) -> Host:
        """Say that Felix runs, and wait until Neutron knows."""
        self._stack.put(f"{self._prefix}status", {"time": "2026-01-01T00:00:00Z", "uptime": 1}, ttl_s=_TTL_S)
        self._stack.until(f"Neutron knows {self.name}", lambda: self.agent().get("alive"))
        return self

    def die(self) -> None:
        """The lease of the report ends."""
        self._stack.etcdctl("del", f"{self._prefix}status")

    def agent(self) -> dict[str, Any]:
        """Neutron's agent of the host; empty when there is none."""
        found = self._stack.client().list("agent", f"host={self.name}")
        return found[0] if found else {}

    def endpoint(self, port: dict[str, Any], status: str) -> None:
        """Report the status of a port's endpoint; empty: withdraw it."""
        key = f"{self._prefix}workload/openstack/openstack%2f{port['device_id']}/endpoint/{port['id']}"
        if status:
            self._stack.put(key, {"status": status})
        else:
            self._stack.etcdctl("del", key)

    def applied(self, revision: int, why: str = "") -> None:
        """Say how far the kernel is."""
        self._stack.put(f"{self._prefix}applied", {"revision": revision, "why": why}, ttl_s=60)

    def answers(self) -> Answering:
        """As a context: answer every question at once."""
        return Answering(self._stack, self)


class Answering:
    """Says of every revision that is asked for that it is in the kernel."""

    def __init__(self, stack: Stack, host: Host) -> None:
        self._stack, self._host = stack, host
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Answering:
        self._thread.start()
        return self

    def __exit__(self, *ignored: object) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        told = 0
        while not self._end.wait(0.1):
            try:
                asked = [ask["revision"] for ask in self._stack.stored("/calico/wait/v1/").values()]
                if max(asked, default=0) > told:
                    told = max(asked)
                    self._host.applied(told)
            except AssertionError:
                continue  # etcd is away: a test stopped it
