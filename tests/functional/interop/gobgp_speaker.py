"""GoBGP: gobgpd, and its own client over gRPC; it knows routes but puts none into the kernel."""

from __future__ import annotations

import json
from typing import Any, ClassVar

from speaker import FarEnd, LearnedPath, Speaker, family_of

_ORIGIN, _AS_PATH, _NEXT_HOP, _COMMUNITIES, _MP_REACH, _LARGE = 1, 2, 3, 8, 14, 32


class GoBgp(Speaker):
    """Debian's gobgpd."""

    name: ClassVar[str] = "gobgp"

    def start(self, *sessions: FarEnd) -> None:
        conf = self.directory / "gobgpd.toml"
        head = f'[global.config]\nas = {self.as_number}\nrouter-id = "{self.host.ipv4}"\n'
        head += "[global.use-multiple-paths.config]\nenabled = true\n"
        conf.write_text(head + "".join(_neighbor(far) for far in sessions))
        self.spawn("gobgpd", "-t", "toml", "-f", str(conf), "--api-hosts", "127.0.0.1:50051", "-p")
        self.host.fabric.until(lambda: len(self._ask("neighbor")) == len(sessions), "gobgpd answers")

    def announce(self, prefix: str, *communities: str) -> None:
        standard = [text for text in communities if text.count(":") == 1]
        large = [text for text in communities if text.count(":") == 2]
        options = ["community", ",".join(standard)] if standard else []
        options += ["large-community", ",".join(large)] if large else []
        options += ["origin", "igp", "nexthop", self.own(family_of(prefix))]
        self.run("gobgp", "global", "rib", "add", "-a", f"ipv{family_of(prefix)}", prefix, *options)

    def withdraw(self, prefix: str) -> None:
        self.run("gobgp", "global", "rib", "del", "-a", f"ipv{family_of(prefix)}", prefix)

    def paths(self, prefix: str) -> list[LearnedPath]:
        known = self._ask("global", "rib", "-a", f"ipv{family_of(prefix)}")
        return [_path(path) for path in known.get(prefix, []) if path.get("neighbor-ip", "<nil>") != "<nil>"]

    def is_up(self, far: str) -> bool:
        states = {
            peer["conf"]["neighbor_address"]: peer["state"].get("session_state") for peer in self._ask("neighbor")
        }
        return states.get(far) == 6

    def _ask(self, *question: str) -> Any:
        return json.loads(self.run("gobgp", "-j", *question))


def _neighbor(far: FarEnd) -> str:
    text = "[[neighbors]]\n[neighbors.config]\n"
    text += f'neighbor-address = "{far.address}"\npeer-as = {far.as_number}\n'
    text += f'auth-password = "{far.password}"\n' if far.password else ""
    text += "[neighbors.timers.config]\nconnect-retry = 1\nidle-hold-time-after-reset = 1\n"
    if far.client:
        text += "[neighbors.route-reflector.config]\nroute-reflector-client = true\n"
        text += 'route-reflector-cluster-id = "10.0.0.99"\n'
    text += "[neighbors.graceful-restart.config]\nenabled = true\nrestart-time = 60\n"
    text += "[[neighbors.afi-safis]]\n[neighbors.afi-safis.mp-graceful-restart.config]\nenabled = true\n"
    return text + f'[neighbors.afi-safis.config]\nafi-safi-name = "ipv{far.family}-unicast"\n'


def _path(found: dict[str, Any]) -> LearnedPath:
    attributes = {attribute["type"]: attribute for attribute in found["attrs"]}
    communities = [
        f"{value >> 16}:{value & 0xFFFF}" for value in attributes.get(_COMMUNITIES, {}).get("communities", [])
    ]
    for item in attributes.get(_LARGE, {}).get("value", []):
        communities.append(":".join(str(item[part]) for part in ("ASN", "LocalData1", "LocalData2")))
    hop = attributes.get(_NEXT_HOP, attributes.get(_MP_REACH, {})).get("nexthop", "")
    segments = attributes.get(_AS_PATH, {}).get("as_paths") or []
    return LearnedPath(hop, frozenset(communities), tuple(number for segment in segments for number in segment["asns"]))
