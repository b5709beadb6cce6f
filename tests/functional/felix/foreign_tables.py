"""A service proxy that is not ours: cluster addresses led to workloads a and b, by iptables-nft or by nft.

As kube-proxy does: every second connection goes to each endpoint; what does not come from the workloads' network is
marked, let through by its own filter and masqueraded.
"""

from __future__ import annotations

import subprocess

from felix_world import World

__all__ = ["SERVICE", "SERVICE_NETS", "Proxy"]

MARK = "0x4000"
PORT, TARGET_PORT = 80, 8080
SERVICE_NETS = {4: "10.96.0.0/24", 6: "fd00:96::/64"}
SERVICE = {
    ("iptables", 4): "10.96.0.10",
    ("iptables", 6): "fd00:96::10",
    ("nft", 4): "10.96.0.20",
    ("nft", 6): "fd00:96::20",
}
_WORKLOADS = {4: "10.65.0.0/16", 6: "fd00:65::/64"}


class Proxy:
    """The foreign tables of a host, made with the tools that others use."""

    def __init__(self, world: World) -> None:
        self._world = world

    def run(self, *words: str, text: str | None = None) -> str:
        """A command on the host."""
        command = [*self._world.enter("h"), *words]
        done = subprocess.run(command, input=text, text=True, capture_output=True, check=False)
        assert done.returncode == 0, f"{words}: {done.stderr}"
        return done.stdout

    def install(self, kind: str, family: int) -> None:
        """The chains of one service."""
        if kind == "nft":
            self.run("nft", "-f", "-", text=self._nft(family))
            return
        tool = "iptables-nft" if family == 4 else "ip6tables-nft"
        for line in self._iptables(family):
            self.run(tool, *line.split())

    def listing(self) -> str:
        """All tables that are not ours, without what counts packets."""
        tables = [line for line in self.run("nft", "list", "tables").splitlines() if not line.endswith("calico")]
        shown = "".join(self.run("nft", "-s", "list", *line.split()) for line in sorted(tables))
        return "\n".join(line for line in shown.splitlines() if not line.startswith("#"))

    def remove(self) -> None:
        """Away with everything that its owner lets go: all but ours."""
        self.run("nft", "flush", "ruleset")

    def _iptables(self, family: int) -> list[str]:
        def end(address: str) -> str:
            return f"{address}:{TARGET_PORT}" if family == 4 else f"[{address}]:{TARGET_PORT}"

        first, second = (self._world.address(name, family) for name in "ab")
        return [
            "-t nat -N SERVICES",
            "-t nat -N MARK-MASQ",
            "-t nat -N SVC",
            "-t nat -N SEP-A",
            "-t nat -N SEP-B",
            f"-t nat -A MARK-MASQ -j MARK --or-mark {MARK}",
            f"-t nat -A SERVICES -d {SERVICE['iptables', family]} -p tcp --dport {PORT} -j SVC",
            f"-t nat -A SVC ! -s {_WORKLOADS[family]} -j MARK-MASQ",
            "-t nat -A SVC -m statistic --mode nth --every 2 --packet 0 -j SEP-A",
            "-t nat -A SVC -j SEP-B",
            f"-t nat -A SEP-A -s {first} -j MARK-MASQ",
            f"-t nat -A SEP-A -p tcp -j DNAT --to-destination {end(first)}",
            f"-t nat -A SEP-B -s {second} -j MARK-MASQ",
            f"-t nat -A SEP-B -p tcp -j DNAT --to-destination {end(second)}",
            "-t nat -A PREROUTING -j SERVICES",
            "-t nat -A OUTPUT -j SERVICES",
            f"-t nat -A POSTROUTING -m mark --mark {MARK}/{MARK} -j MASQUERADE",
            f"-A FORWARD -m mark --mark {MARK}/{MARK} -j ACCEPT",
        ]

    def _nft(self, family: int) -> str:
        ip = "ip" if family == 4 else "ip6"
        first, second = (self._world.address(name, family) for name in "ab")
        service = f"{ip} daddr {SERVICE['nft', family]} tcp dport {PORT} goto svc"
        return f"""
        table {ip} kube-like {{
            chain mark-masq {{ meta mark set meta mark | {MARK}; }}
            chain sep-a {{
                {ip} saddr {first} jump mark-masq
                meta l4proto tcp dnat to {first if family == 4 else f"[{first}]"}:{TARGET_PORT}
            }}
            chain sep-b {{
                {ip} saddr {second} jump mark-masq
                meta l4proto tcp dnat to {second if family == 4 else f"[{second}]"}:{TARGET_PORT}
            }}
            chain svc {{
                {ip} saddr != {_WORKLOADS[family]} jump mark-masq
                numgen inc mod 2 vmap {{ 0 : goto sep-a, 1 : goto sep-b }}
            }}
            chain prerouting {{ type nat hook prerouting priority dstnat; {service}; }}
            chain output {{ type nat hook output priority -100; {service}; }}
            chain postrouting {{ type nat hook postrouting priority srcnat; meta mark & {MARK} != 0 masquerade; }}
            chain forward {{ type filter hook forward priority filter; meta mark & {MARK} != 0 accept; }}
        }}
        """
