"""Changes without end that never change what a stream of packets may do.

In every state that the datastore goes through, port 9999 of workload b is denied to workload a and ports 7000 and 8000
are allowed; but which policy says so, in which tier and order, through which set, changes all the time. What denies
stands before a policy that would allow, and what allows before a tier that would deny, so that any state in between
(a policy without its set, a list without its policy) would be seen in packets.
"""

from __future__ import annotations

import json
import random
import time
from typing import Any

from felix_world import RESOURCES, World, resource

__all__ = ["Dance"]

_PLURALS = {
    "GlobalNetworkPolicy": "globalnetworkpolicies",
    "GlobalNetworkSet": "globalnetworksets",
    "Tier": "tiers",
    "WorkloadEndpoint": "workloadendpoints",
}


class Dance:
    """``begin`` makes the first state; each ``step`` is one write of one resource. ``steps`` counts them."""

    def __init__(self, world: World, seed: int) -> None:
        self.steps = 0
        self._world = world
        self._random = random.Random(seed)
        self._there: dict[str, set[int]] = {"deny": {0}, "allow": {0}, "bad": {0}}
        self._endpoints = {"c", "d"}

    def begin(self) -> None:
        """Everything that is there from the first; returns when it is in the kernel."""
        tail = [_rule("Allow", 9999)]
        self._put(self._tier())
        for which in self._there:
            self._put(self._make(which, 0))
        self._put(_policy("tail", {"order": 1000, "ingress": tail}))
        self._world.settle()

    def step(self) -> None:
        """One change; returns when the datastore has it."""
        self.steps += 1
        kinds = [self._pair, self._pair, self._pair, self._retier, self._endpoint, self._relabel, self._noise]
        self._random.choice(kinds)()

    def open_window(self) -> None:
        """Do what a dance never does: for a moment nothing denies, and then nothing allows."""
        for which in ("deny", "allow"):
            self._delete(self._make(which, 0))
            self._world.settle()
            time.sleep(0.1)
            self._put(self._make(which, 0))
            self._world.settle()

    # -- kinds of changes --------------------------------------------------------------------------------------------

    def _pair(self) -> None:
        """One of a pair that say the same comes, changes or goes; one of them always stays."""
        which = self._random.choice(list(self._there))
        there, number = self._there[which], self._random.randrange(2)
        if there == {0, 1} and self._random.random() < 0.5:
            there.remove(number)
            self._delete(self._make(which, number))
        else:
            there.add(number)
            self._put(self._make(which, number))

    def _retier(self) -> None:
        self._put(self._tier())

    def _endpoint(self) -> None:
        """Another workload comes or goes."""
        name = self._random.choice("cd")
        if name in self._endpoints:
            self._endpoints.remove(name)
            self._delete(self._world.endpoint(name))
        else:
            self._endpoints.add(name)
            self._put(self._world.endpoint(name))

    def _relabel(self) -> None:
        """The workloads of the stream, or one of the others, get other labels, so other policies that do not matter."""
        name = self._random.choice(["a", "b", *sorted(self._endpoints)])
        self._put(self._world.endpoint(name, labels={"extra": str(self._random.randrange(4))}))

    def _noise(self) -> None:
        """Policies and sets that say nothing about the stream."""
        number = self._random.randrange(4)
        nets = [f"10.{self._random.randrange(200)}.{n}.0/24" for n in range(self._random.randrange(20))]
        noise = resource("GlobalNetworkSet", f"noise{number}", {"nets": nets}, noise=str(number))
        rules = [_rule("Allow", port, f"noise == '{number}'") for port in range(100, 100 + self._random.randrange(4))]
        spec = {"order": 2 + number, "ingress": rules, "selector": f"extra == '{number}' && app == 'b'"}
        policy = _policy(f"noise{number}", spec)
        if self._random.random() < 0.3:
            self._delete(policy)
        else:
            self._put(noise if self._random.random() < 0.5 else policy)

    # -- resources ---------------------------------------------------------------------------------------------------

    def _tier(self) -> dict[str, Any]:
        return resource("Tier", "first", {"order": self._random.choice((1, 2, 500)), "defaultAction": "Pass"})

    def _make(self, which: str, number: int) -> dict[str, Any]:
        order, more = self._random.randrange(1, 9), self._random.randrange(3)
        others = [_rule("Allow", 200 + n) for n in range(more)]
        if which == "bad":
            a4, a6 = (self._world.address("a", family) for family in (4, 6))
            nets = [self._random.choice((f"{a4}/32", f"{a4}/31")), f"{a6}/128", f"203.0.113.{order}/32"]
            return resource("GlobalNetworkSet", f"bad{number}", {"nets": nets}, role="bad")
        if which == "deny":
            rules = [*others, _rule("Deny", 9999, "role == 'bad'")]
            return _policy(f"deny{number}", {"tier": "first", "order": order, "ingress": rules})
        return _policy(
            f"allow{number}", {"order": order, "ingress": [*others, _rule("Allow", 7000), _rule("Allow", 8000)]}
        )

    def _put(self, document: dict[str, Any]) -> None:
        """Several writes a millisecond: past the store's checks."""
        self._world.put_raw({_path(document): json.dumps(document)}, settle=False)

    def _delete(self, document: dict[str, Any]) -> None:
        self._world.put_raw({_path(document): None}, settle=False)


def _rule(action: str, port: int, selector: str = "") -> dict[str, Any]:
    rule: dict[str, Any] = {"action": action, "protocol": "UDP", "destination": {"ports": [port]}}
    return {**rule, "source": {"selector": selector}} if selector else rule


def _policy(name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return resource("GlobalNetworkPolicy", name, {"selector": "app == 'b'", "types": ["Ingress"], **spec})


def _path(document: dict[str, Any]) -> str:
    metadata = document["metadata"]
    parts = (_PLURALS[document["kind"]], metadata.get("namespace", ""), metadata["name"])
    return f"{RESOURCES}/{'/'.join(filter(None, parts))}"
