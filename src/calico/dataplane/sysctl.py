"""Kernel settings under /proc/sys/net of workload interfaces and of the host, kept at what Calico needs.

/proc/sys/net shows the network namespace of the thread that opens a file. Interface names become parts of paths
here and nowhere else, so they are checked here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

import structlog

from calico.dataplane.drift import Drift, OnDrift, at_once
from calico.dataplane.settings_record import ROOT
from calico.errors import InvalidInput, Transient
from calico.lib.reconcile import Plan, Reconciler
from calico.netlink.rtnetlink.family import AF_INET6
from calico.netlink.rtnetlink.netconf import NetConf

__all__ = ["HOST_SETTINGS", "INTERFACE_SETTINGS_V4", "INTERFACE_SETTINGS_V6", "Sysctls", "interface_settings"]

log = structlog.get_logger(__name__)

OnWrite = Callable[[Iterable[str]], None]

_REVERSE_PATH: Final = "ipv4/conf/{}/rp_filter"

INTERFACE_SETTINGS_V4: Final[Mapping[str, str]] = {
    "ipv4/conf/{}/route_localnet": "1",
    "ipv4/conf/{}/proxy_arp": "1",
    "ipv4/neigh/{}/proxy_delay": "0",
    "ipv4/conf/{}/forwarding": "1",
    _REVERSE_PATH: "1",
    "ipv4/conf/{}/accept_redirects": "0",
    "ipv4/conf/{}/secure_redirects": "0",
    "ipv4/conf/{}/send_redirects": "0",
    "ipv4/conf/{}/accept_source_route": "0",
}
"""Strict reverse-path check; answers ARP for what it routes, at once; tells workloads of no shorter way."""

INTERFACE_SETTINGS_V6: Final[Mapping[str, str]] = {
    "ipv6/conf/{}/accept_dad": "0",
    "ipv6/conf/{}/accept_ra": "0",
    "ipv6/conf/{}/accept_redirects": "0",
    "ipv6/conf/{}/disable_ipv6": "0",
    "ipv6/conf/{}/proxy_ndp": "1",
    "ipv6/neigh/{}/proxy_delay": "0",
    "ipv6/conf/{}/forwarding": "1",
}
"""In this order: no duplicate address detection before IPv6 starts on the interface."""

OPTIONAL: Final = frozenset({"proxy_delay", "accept_ra"})
"""Settings whose failure is logged but does no harm to the endpoint (a slower answer; forwarding implies the other)."""

HOST_SETTINGS: Final[Mapping[str, str]] = {
    "ipv4/ip_forward": "1",
    "ipv6/conf/all/forwarding": "1",
}

_RESERVED: Final = frozenset({".", "..", "all", "default"})
"""Names that are other things in these directories: an interface called ``all`` would change every interface."""


def interface_settings(name: str, *, ipv6: bool = True, any_source: bool = False) -> dict[str, str]:
    """Path below /proc/sys/net → value for a workload interface; InvalidInput if the name cannot be one.

    ``any_source``: the workload may send from networks that are not routed to it.
    """
    _check_name(name)
    wanted = {**INTERFACE_SETTINGS_V4, **(INTERFACE_SETTINGS_V6 if ipv6 else {})}
    if any_source:
        wanted[_REVERSE_PATH] = "0"
    return {path.replace("{}", name): value for path, value in wanted.items()}


class Sysctls:
    """Settings of the host and of interfaces that exist.

    Of changes by somebody else the kernel tells a few (``on_netconf``); the others are found by looking
    (``audit``), some files at a time.
    """

    def __init__(
        self, *, root: Path = ROOT, on_drift: OnDrift = at_once, before_write: OnWrite = lambda paths: None
    ) -> None:
        """``before_write`` is told the paths that are about to be written."""
        self._root = root
        self._on_drift = on_drift
        self._to_look_at: list[str] = []
        self._files: Reconciler[str, str] = Reconciler(_Files(root, self._wanted_paths, before_write))
        self._paths: dict[str, tuple[str, ...]] = {}
        self._failed: dict[str, dict[str, str]] = {}

    def want_host(self) -> None:
        """Forwarding for the whole host."""
        for path, value in HOST_SETTINGS.items():
            if self._exists(path):
                self._files.want(path, value)

    def want_interface(self, name: str, *, any_source: bool = False) -> None:
        """The settings of a workload interface that exists now; InvalidInput if the name cannot be one."""
        settings = interface_settings(name, ipv6=self._exists("ipv6"), any_source=any_source)
        self._paths[name] = tuple(settings)
        for path, value in settings.items():
            self._files.want(path, value)

    def unwant_interface(self, name: str) -> None:
        """The interface is gone or no workload's any more. Nothing is put back."""
        self._failed.pop(name, None)
        for path in self._paths.pop(name, ()):
            self._files.touch(path)
            self._files.unwant(path)

    def on_netconf(self, name: str, conf: NetConf) -> None:
        """The kernel told of settings of an interface, or of ``all``: a look at those that are not as wanted."""
        version = "ipv6" if conf.family == AF_INET6 else "ipv4"
        for setting, value in conf.values.items():
            path = _path_of(version, name, setting)
            if self._files.desired.get(path, str(value)) != str(value):
                self._look_at(path)  # the event may be older than what we wrote

    def audit(self, budget_s: float) -> None:
        """Look at as many files as the time allows, going on where the last call stopped."""
        end = time.monotonic() + budget_s
        if not self._to_look_at:
            self._to_look_at = list(self._files.desired)
        while self._to_look_at and time.monotonic() < end:
            self._look_at(self._to_look_at.pop())

    def _look_at(self, path: str) -> None:
        if path not in self._files.desired or not self._files.is_right(path):
            return
        try:
            found = (self._root / path).read_text().strip()
        except OSError:
            return  # its interface has just gone
        if found != self._files.desired[path]:
            self._on_drift(Drift("sysctls", path, f"set to {found}"), lambda: self._files.noticed(path, found))

    @property
    def repaired(self) -> set[str]:
        """What the last apply put right that others had changed."""
        return set(self._files.repaired)

    def resync(self) -> None:
        """Read every setting again at the next apply."""
        self._files.resync()

    async def apply(self) -> Mapping[str, str]:
        """Write what differs; returns what failed: interface (``""`` for the host) → sentence."""
        failed = await self._files.apply()
        self._failed = {}
        for path, error in failed:
            name = self._interface_of(path)
            if path.rsplit("/", 1)[1] in OPTIONAL:
                log.warning("sysctl failed", interface=name, path=path, error=str(error))
            else:
                self._failed.setdefault(name, {})[path] = str(error)
        return {name: "; ".join(sorted(texts.values())) for name, texts in self._failed.items()}

    def _wanted_paths(self) -> Iterable[str]:
        return self._files.desired

    def _interface_of(self, path: str) -> str:
        parts = path.split("/")
        return parts[2] if len(parts) == 4 and parts[2] in self._paths else ""

    def _exists(self, path: str) -> bool:
        return (self._root / path).exists()


class _Files:
    """Driver: the wanted files below a root."""

    def __init__(self, root: Path, wanted: Callable[[], Iterable[str]], before_write: OnWrite) -> None:
        self._root = root
        self._wanted = wanted
        self._before_write = before_write

    async def read(self) -> Mapping[str, str]:
        values: dict[str, str] = {}
        for path in self._wanted():
            try:
                values[path] = (self._root / path).read_text().strip()
            except OSError:
                continue  # writing it will tell
        return values

    async def write(self, plan: Plan[str, str]) -> Iterable[tuple[str, Exception]]:
        failed: list[tuple[str, Exception]] = []
        self._before_write(plan.put)
        for path, value in plan.put.items():
            try:
                (self._root / path).write_text(value)
            except OSError as error:
                failed.append((path, Transient(f"sysctl {path}={value}: {error.strerror}")))
        return failed


def _path_of(version: str, name: str, setting: str) -> str:
    """The file of a setting that the kernel tells of."""
    if setting == "proxy":
        setting = "proxy_ndp" if version == "ipv6" else "proxy_arp"
    if (version, name, setting) == ("ipv4", "all", "forwarding"):
        return "ipv4/ip_forward"
    return f"{version}/conf/{name}/{setting}"


def _check_name(name: str) -> None:
    """What the kernel takes for a name (``dev_valid_name``), less what these directories use for themselves."""
    size = len(name.encode())
    if not 0 < size < 16 or name in _RESERVED or any(c in "/:\0" or c.isspace() for c in name):
        raise InvalidInput(f"{name!r} cannot be the name of a workload interface", field="spec.interfaceName")
