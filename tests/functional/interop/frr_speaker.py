"""FRR: zebra, bgpd and bfdd, each with sockets of its own; its routes reach the kernel of its namespace."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, ClassVar

from speaker import FarEnd, LearnedPath, Speaker, family_of

_DAEMONS = "/usr/lib/frr"


class Frr(Speaker):
    """Debian's FRR, configured by vtysh."""

    name: ClassVar[str] = "frr"

    def start(self, *sessions: FarEnd) -> None:
        shutil.chown(self.directory, "frr", "frr")
        self.host.fabric.directory.chmod(0o755)  # the daemons give up root
        self._daemon("zebra", "")
        if any(far.bfd for far in sessions):
            self._daemon("bfdd", "", "--bfdctl", str(self.directory / "bfdd.sock"))
            # bgpd asks for its sessions once, through zebra, when somebody is there to take it
            clients = ("vtysh", *self._vty, "-c", "show zebra client summary")
            self.host.fabric.until(lambda: "bfd " in self.run(*clients), "zebra knows bfdd")
        self._daemon("bgpd", self._bgp(sessions))
        self.host.fabric.until(lambda: self.ask("show bgp summary json"), "FRR answers")

    def stop(self) -> None:
        super().stop()
        for process in self._processes:
            for directory in Path("/var/tmp/frr").glob(f"*.{process.pid}"):
                shutil.rmtree(directory, ignore_errors=True)

    def _daemon(self, name: str, text: str, *options: str) -> None:
        conf = self.directory / f"{name}.conf"
        conf.write_text(text + "\n")
        conf.chmod(0o644)
        directory = str(self.directory)
        command = [f"{_DAEMONS}/{name}", "-f", str(conf), "-i", f"{directory}/{name}.pid", "-A", "127.0.0.1"]
        command += ["--vty_socket", directory, "-z", f"{directory}/zserv.api", "--log", f"file:{directory}/{name}.log"]
        self.spawn(*command, *options)

    def _bgp(self, sessions: tuple[FarEnd, ...]) -> str:
        lines = [
            f"router bgp {self.as_number}",
            f" bgp router-id {self.host.ipv4}",
            " no bgp ebgp-requires-policy",
            " no bgp default ipv4-unicast",
            " no bgp network import-check",
            " bgp bestpath as-path multipath-relax",
        ]
        for far in sessions:
            at_link = (
                f"interface remote-as {far.as_number}" if far.address == far.link else f"remote-as {far.as_number}"
            )
            lines.append(f" neighbor {far.address} {at_link}")
            lines.append(f" neighbor {far.address} timers connect 1")
            lines.append(f" neighbor {far.address} advertisement-interval 0")
            if far.password:
                lines.append(f" neighbor {far.address} password {far.password}")
            if far.bfd:
                lines.append(f" neighbor {far.address} bfd 3 400 400")
            if far.link and far.address != far.link:
                lines.append(f" neighbor {far.address} interface {far.link}")
                lines.append(f" neighbor {far.address} capability extended-nexthop")
        for family in (4, 6):
            lines.append(f" address-family ipv{family} unicast")
            lines += [line for far in sessions if family == far.family or far.link for line in _channel(far)]
            lines += ["  maximum-paths 8", "  maximum-paths ibgp 8", " exit-address-family"]
        return "\n".join(lines)

    def announce(self, prefix: str, *communities: str) -> None:
        name = "rm-" + prefix.replace("/", "-")
        standard = [text for text in communities if text.count(":") == 1]
        large = [text for text in communities if text.count(":") == 2]
        lines = [f"route-map {name} permit 10"]
        lines += [f"set community {' '.join(standard)}"] if standard else []
        lines += [f"set large-community {' '.join(large)}"] if large else []
        self._configure(*lines, "exit", *self._family(prefix), f"network {prefix} route-map {name}")

    def withdraw(self, prefix: str) -> None:
        self._configure(*self._family(prefix), f"no network {prefix}")

    def paths(self, prefix: str) -> list[LearnedPath]:
        found = self.ask(f"show bgp ipv{family_of(prefix)} unicast {prefix} json").get("paths", [])
        return [_path(path) for path in found if path.get("aspath", {}).get("string") != "Local" or "peer" in path]

    def is_up(self, far: str) -> bool:
        state = self.ask(f"show bgp neighbors {far} json").get(far, {})
        return bool(state.get("bgpState") == "Established")

    def ask(self, question: str) -> Any:
        """The answer to a question that can be answered in JSON."""
        return json.loads(self.run("vtysh", *self._vty, "-c", question) or "{}")

    @property
    def _vty(self) -> tuple[str, str]:
        return "--vty_socket", str(self.directory)

    def _family(self, prefix: str) -> list[str]:
        return [f"router bgp {self.as_number}", f"address-family ipv{family_of(prefix)} unicast"]

    def _configure(self, *lines: str) -> None:
        commands = [part for line in ("configure terminal", *lines) for part in ("-c", line)]
        self.run("vtysh", *self._vty, *commands)


def _channel(far: FarEnd) -> list[str]:
    client = [f"  neighbor {far.address} route-reflector-client"] if far.client else []
    return [f"  neighbor {far.address} activate", *client]


def _path(found: dict[str, Any]) -> LearnedPath:
    communities = found.get("community", {}).get("string", "").split()
    communities += found.get("largeCommunity", {}).get("string", "").split()
    hops = [hop["ip"] for hop in found["nexthops"] if hop.get("scope", "global") == "global"]
    hops = hops or [hop["ip"] for hop in found["nexthops"]]
    numbers = found.get("aspath", {}).get("string", "").split()
    return LearnedPath(hops[0], frozenset(communities), tuple(int(number) for number in numbers if number.isdigit()))
