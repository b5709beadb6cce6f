"""Neutron's API of a lab, called from outside the lab: the connection is made inside the controller's namespace."""

from __future__ import annotations

import http.client
import json
import socket
from typing import Any

from calico.dataplane.netns import in_netns
from calico.errors import CalicoError, InvalidInput, NotFound, Transient
from calico.lab.addressing import Layout, netns_name
from calico.lab.openstack.configuration import API_PORT

__all__ = ["PROJECT", "NeutronApi", "open_api"]

PROJECT = "1ab" + "0" * 29
"""The project in whose name the lab's commands call, when no other is given."""


class NeutronApi:
    """One caller with every right; ``project`` owns what it makes."""

    def __init__(self, netns: str, address: str, project: str = PROJECT, timeout_s: float = 60.0) -> None:
        self._netns, self._address, self._timeout_s = netns, address, timeout_s
        self.project = project

    def call(self, method: str, path: str, body: object = None) -> Any:
        """What ``/v2.0/PATH`` answers, None when it answers nothing.

        NotFound, InvalidInput or Transient with Neutron's own words, by the status of the answer.
        """
        headers = {
            "Content-Type": "application/json",
            "X-User-Id": "lab",
            "X-Project-Id": self.project,
            "X-Roles": "admin,member,reader,service",
            "X-Auth-Token": "none",
        }
        connection = http.client.HTTPConnection(self._address, API_PORT, timeout=self._timeout_s)
        try:
            connection.sock = in_netns(self._netns, self._connect)
            connection.request(method, f"/v2.0/{path}", json.dumps(body) if body is not None else None, headers)
            answer = connection.getresponse()
            text = answer.read().decode()
        except (OSError, http.client.HTTPException) as error:
            raise Transient(f"{method} {path}: Neutron's API does not answer: {error}") from error
        finally:
            connection.close()
        if answer.status >= 300:
            raise _refusal(answer.status, text, f"{method} {path}")
        return json.loads(text) if text else None

    def port(self, identifier: str) -> dict[str, Any]:
        """A port as the API shows it."""
        found: dict[str, Any] = self.call("GET", f"ports/{identifier}")["port"]
        return found

    def update_port(self, identifier: str, **fields: Any) -> dict[str, Any]:
        """Change fields of a port; the port afterwards."""
        found: dict[str, Any] = self.call("PUT", f"ports/{identifier}", {"port": fields})["port"]
        return found

    def create(self, kind: str, **fields: Any) -> dict[str, Any]:
        """Make one of a kind, in the singular: ``port``, ``security_group``, ``address_group``."""
        found: dict[str, Any] = self.call("POST", _plural(kind), {kind: fields})[kind]
        return found

    def _connect(self) -> socket.socket:
        return socket.create_connection((self._address, API_PORT), timeout=self._timeout_s)


def open_api(layout: Layout, project: str = PROJECT) -> NeutronApi:
    """The API of a lab; InvalidInput when it has no cloud."""
    if layout.controller is None:
        raise InvalidInput("has no `openstack` in its topology", subject=f"lab {layout.name}")
    return NeutronApi(netns_name(layout.name, "controller"), layout.controller.address4, project)


def _plural(kind: str) -> str:
    return (kind[:-1] + "ies" if kind.endswith("y") else kind + "s").replace("_", "-")


def _refusal(status: int, text: str, what: str) -> CalicoError:
    try:
        reason = json.loads(text)["NeutronError"]
        said = str(reason.get("message", text)) if isinstance(reason, dict) else str(reason)
    except (ValueError, KeyError, TypeError):
        said = text.strip()[:300]
    message = f"Neutron answers {status}: {said}"
    if status == 404:
        return NotFound(f"{what}: {message}")
    return InvalidInput(message, subject=what) if status < 500 else Transient(f"{what}: {message}")
