"""How this host's host endpoints are: which interfaces they are, and whether these carry packets.

Their policy is in the kernel with that of everything else; what is judged here is only whether there is something for
it to govern.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias

import msgspec
import structlog

from calico.calc.messages import HostEndpointRemove, HostEndpointUpdate
from calico.dataplane.interfaces import Interface
from calico.obs.conditions import Conditions
from calico.rules.host.claims import ANY

__all__ = ["HostEndpointStates", "OnHostEndpointStatus"]

log = structlog.get_logger(__name__)

OnHostEndpointStatus: TypeAlias = Callable[[str, str | None, tuple[str, ...]], None]
"""Told the name, the status (up, down or error; None when the host endpoint is gone), and why it is not up."""


class _State(msgspec.Struct, frozen=True):
    status: Literal["up", "down", "error"]
    interfaces: tuple[str, ...] = ()
    reason: str = ""


class HostEndpointStates:
    """*up*: one of its interfaces carries packets; ``*`` always is, as it stands for whatever comes. *down*: none does,
    or it is no interface. *error*: another host endpoint has what it claims."""

    def __init__(self, conditions: Conditions, on_status: OnHostEndpointStatus) -> None:
        self._conditions = conditions
        self._on_status = on_status
        self._endpoints: dict[str, HostEndpointUpdate] = {}
        self._interfaces: dict[str, Interface] = {}
        self._states: dict[str, _State] = {}
        self._dirty = False

    def on_message(self, message: HostEndpointUpdate | HostEndpointRemove) -> None:
        """A host endpoint is new, changed or gone."""
        self._dirty = True
        if isinstance(message, HostEndpointUpdate):
            self._endpoints[message.name] = message
        else:
            self._endpoints.pop(message.name, None)

    def on_interface(self, name: str, interface: Interface | None) -> None:
        """An interface of the host's own changed, appeared or (None) went."""
        self._dirty = self._dirty or bool(self._endpoints)
        if interface is None:
            self._interfaces.pop(name, None)
        else:
            self._interfaces[name] = interface

    def refresh(self, whose: Callable[[], Mapping[str, tuple[str, ...]]]) -> None:
        """Judge all and report what changed; ``whose`` says which interfaces each host endpoint is."""
        if not self._dirty:
            return
        self._dirty = False
        interfaces = whose()
        for name in self._states.keys() - self._endpoints.keys():
            del self._states[name]
            self._conditions.clear("endpoint-error", _subject(name))
            self._on_status(name, None, ())
        for name, endpoint in self._endpoints.items():
            self._note(name, self._judge(endpoint, interfaces.get(name, ())))

    def as_data(self) -> dict[str, dict[str, Any]]:
        """For the status document; ``reason`` says why one is not up."""
        return {
            name: {"status": state.status, "interfaces": list(state.interfaces), "reason": state.reason}
            for name, state in sorted(self._states.items())
        }

    def _judge(self, endpoint: HostEndpointUpdate, interfaces: tuple[str, ...]) -> _State:
        rival = next((name for name in sorted(self._endpoints) if self._has_the_same_claim(name, endpoint)), None)
        if not interfaces and rival is not None and rival < endpoint.name:
            return _State("error", reason=f"host endpoint {rival} has the same claim and comes first")
        if endpoint.interface == ANY:
            return _State("up", interfaces)
        if not interfaces:
            what = f"is named {endpoint.interface}" if endpoint.interface else "has one of the expected addresses"
            return _State("down", reason=f"no interface of the host itself {what}, or another host endpoint has it")
        is_up = any(self._interfaces[name].oper_up for name in interfaces if name in self._interfaces)
        return _State("up" if is_up else "down", interfaces, "" if is_up else "no interface of it is up")

    def _has_the_same_claim(self, name: str, endpoint: HostEndpointUpdate) -> bool:
        other = self._endpoints[name]
        if name == endpoint.name or other.interface != endpoint.interface:
            return False
        return bool(endpoint.interface) or bool(set(other.expected_ips) & set(endpoint.expected_ips))

    def _note(self, name: str, state: _State) -> None:
        before = self._states.get(name)
        if state == before:
            return
        self._states[name] = state
        if state.status == "error":
            self._conditions.set("endpoint-error", _subject(name), state.reason)
        else:
            self._conditions.clear("endpoint-error", _subject(name))
        if before is None or (before.status, before.reason) != (state.status, state.reason):
            self._on_status(name, state.status, (state.reason,) if state.reason else ())
        log.info(
            "host endpoint status changed",
            endpoint=name,
            status=state.status,
            interfaces=state.interfaces,
            reason=state.reason,
        )


def _subject(name: str) -> str:
    return f"HostEndpoint {name}"
