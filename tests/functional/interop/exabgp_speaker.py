"""ExaBGP: it keeps no table; a process of its API writes down what arrives and tells it what to announce."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any, ClassVar

from speaker import FarEnd, LearnedPath, Speaker, family_of


class ExaBgp(Speaker):
    """ExaBGP of the virtual environment."""

    name: ClassVar[str] = "exabgp"

    def start(self, *sessions: FarEnd) -> None:
        self._events, self._commands = self.directory / "events", self.directory / "commands"
        for path in (self._events, self._commands):
            path.touch()
        self._announced: dict[str, str] = {}
        conf = self.directory / "exabgp.conf"
        program = self.directory / "api"
        hear = f"exec 3<&0\ncat <&3 >>{self._events} &"  # stdin of what runs in the background is not the shell's
        say = f"exec tail -n +1 -s 0.1 -f --pid=$PPID {self._commands}"
        program.write_text(f"#!/bin/sh\n{hear}\n{say}\n")
        program.chmod(0o755)
        text = f"process api {{ run {program}; encoder json; }}\n"
        conf.write_text(text + "".join(self._neighbor(far) for far in sessions))
        env = {**os.environ, "exabgp_api_cli": "false", "exabgp_api_ack": "false", "exabgp_daemon_user": "root",
               "exabgp_daemon_drop": "false", "exabgp_log_level": "INFO"}  # fmt: skip
        self.spawn(str(Path(sys.executable).parent / "exabgp"), "server", str(conf), env=env)

    def _neighbor(self, far: FarEnd) -> str:
        password = f"md5-password '{far.password}';" if far.password else ""
        return f"""
neighbor {far.address} {{
  router-id {self.host.ipv4}; local-address {self.own(far.family)}; local-as {self.as_number}; peer-as {far.as_number};
  {password}
  family {{ ipv{far.family} unicast; }}
  api {{ processes [ api ]; neighbor-changes; receive {{ parsed; update; }} }}
}}
"""

    def announce(self, prefix: str, *communities: str) -> None:
        standard = [text for text in communities if text.count(":") == 1]
        large = [text for text in communities if text.count(":") == 2]
        text = f"{prefix} next-hop {self.own(family_of(prefix))}"
        text += f" community [ {' '.join(standard)} ]" if standard else ""
        text += f" large-community [ {' '.join(large)} ]" if large else ""
        self._announced[prefix] = text
        self._say(f"announce route {text}")

    def withdraw(self, prefix: str) -> None:
        self._say(f"withdraw route {self._announced.pop(prefix)}")

    def paths(self, prefix: str) -> list[LearnedPath]:
        known: dict[str, LearnedPath] = {}
        for event in self._told():
            far = event["neighbor"]["address"]["peer"]
            if event["type"] == "state" and event["neighbor"]["state"] == "down":
                known.pop(far, None)
            if event["type"] == "update":
                _take_in(known, far, event["neighbor"]["message"].get("update", {}), prefix)
        return list(known.values())

    def is_up(self, far: str) -> bool:
        states = {event["neighbor"]["address"]["peer"]: event["neighbor"]["state"] for event in self._told()
                  if event["type"] == "state"}  # fmt: skip
        return states.get(far) == "up"

    def _say(self, command: str) -> None:
        with open(self._commands, "a") as file:
            file.write(command + "\n")

    def _told(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._events.read_text().splitlines() if line.endswith("}")]


def _take_in(known: dict[str, LearnedPath], far: str, update: dict[str, Any], prefix: str) -> None:
    family = f"ipv{family_of(prefix)} unicast"
    if any(entry["nlri"] == prefix for entry in update.get("withdraw", {}).get(family, [])):
        known.pop(far, None)
    for hop, entries in update.get("announce", {}).get(family, {}).items():
        if any(entry.get("nlri") == prefix for entry in entries):
            known[far] = _path(hop, update["attribute"])


def _path(hop: str, attributes: dict[str, Any]) -> LearnedPath:
    both = [*attributes.get("community", []), *attributes.get("large-community", [])]
    communities = frozenset(":".join(str(part) for part in community) for community in both)
    return LearnedPath(hop, communities, tuple(_numbers(attributes.get("as-path", []))))


def _numbers(as_path: Any) -> list[int]:
    if isinstance(as_path, dict):
        return [number for segment in as_path.values() for number in segment["value"]]
    return [int(number) for number in as_path]
