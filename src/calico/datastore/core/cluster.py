"""The core cluster as one file that all its hosts share: who the members are, and how each of them is started. Pure.

Values and why: docs/design/datastore.md. A core has one member, or three or five, which stay available while one or two
are away; an even number survives no more losses than the odd one below it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from pathlib import Path
from typing import Any

import msgspec
import yaml

from calico.datastore.etcd.channel import TLSFiles
from calico.datastore.etcd.server import EtcdConfig
from calico.errors import InvalidInput

__all__ = [
    "DEFAULT_CORE_FILE",
    "Core",
    "CoreTLS",
    "core_warnings",
    "gateway_argv",
    "member_config",
    "own_member",
    "parse_core",
]

DEFAULT_CORE_FILE = "/etc/calico/etcd.yaml"
_MOST = 7


class CoreTLS(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """PEM files on each host, for clients and for the other members: both must show a certificate of ``ca``."""

    ca: str
    cert: str
    key: str

    @property
    def files(self) -> TLSFiles:
        """The same as paths."""
        return TLSFiles(ca=Path(self.ca), cert=Path(self.cert), key=Path(self.key))


class Core(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel", kw_only=True):
    """``members`` maps names to the IP addresses that they listen at and are reached at.

    ``token`` tells clusters apart: give another one whenever a backup is restored. ``quota_bytes`` bounds the database,
    ``retention`` is how long a host may be away and still catch up without reading everything.
    """

    members: dict[str, str]
    token: str = "calico"
    data_dir: str = "/var/lib/calico-etcd"
    client_port: int = 2379
    peer_port: int = 2380
    quota_bytes: int = 4 * 1024**3
    retention: str = "10m"
    tls: CoreTLS | None = None

    @property
    def client_urls(self) -> tuple[str, ...]:
        """Where each member answers, in the order of the file."""
        return tuple(f"{self._scheme}://{_host(at)}:{self.client_port}" for at in self.members.values())

    @property
    def peer_urls(self) -> dict[str, str]:
        """Where each member speaks with the others."""
        return {name: f"{self._scheme}://{_host(at)}:{self.peer_port}" for name, at in self.members.items()}

    @property
    def _scheme(self) -> str:
        return "https" if self.tls else "http"


def parse_core(text: str, subject: str) -> Core:
    """The core that a YAML file describes; InvalidInput names the field that is wrong."""
    try:
        document: Any = yaml.safe_load(text)
        core = msgspec.convert(document, Core)
    except (yaml.YAMLError, msgspec.ValidationError) as error:
        raise InvalidInput(f"does not describe a core cluster: {error}", subject=subject) from None
    if not 0 < len(core.members) <= _MOST:
        raise InvalidInput(
            f"a core has 1 to {_MOST} members, not {len(core.members)}", subject=subject, field="members"
        )
    seen: dict[str, str] = {}
    for name, address in core.members.items():
        if not name or not set(name) <= _NAME:
            raise InvalidInput(
                "a member's name is letters, digits, '.', '_' and '-'", subject=subject, field=f"members.{name}"
            )
        if not _is_address(address):
            raise InvalidInput(f"{address!r} is no IP address", subject=subject, field=f"members.{name}")
        if address in seen:
            raise InvalidInput(f"{address} is {seen[address]}'s already", subject=subject, field=f"members.{name}")
        seen[address] = name
    return core


_ALNUM = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
_NAME = _ALNUM | set("._-")


def core_warnings(core: Core) -> list[str]:
    """What works and is still not a good idea."""
    found = []
    count = len(core.members)
    if count % 2 == 0:
        found.append(f"{count} members survive the loss of {(count - 1) // 2}, no more than {count - 1} would")
    if core.tls is None and any(not _is_loopback(address) for address in core.members.values()):
        found.append("without tls anybody who reaches the members may read and write everything")
    return found


def member_config(core: Core, name: str, *, join: bool = False) -> EtcdConfig:
    """How a member is started; ``join``: into a cluster that runs already (after ``calico etcd add``).

    InvalidInput when the file does not name it.
    """
    if name not in core.members:
        raise InvalidInput(f"the core has no member {name!r}; it has {', '.join(core.members)}", field="members")
    client_urls = dict(zip(core.members, core.client_urls, strict=True))
    return EtcdConfig(
        name=name,
        data_dir=Path(core.data_dir),
        client_url=client_urls[name],
        peer_url=core.peer_urls[name],
        cluster=core.peer_urls,
        token=core.token,
        existing=join,
        tls=core.tls.files if core.tls else None,
        peer_tls=core.tls.files if core.tls else None,
        quota_bytes=core.quota_bytes,
        auto_compaction_retention=core.retention,
    )


def gateway_argv(core: Core, listen: str, binary: str = "etcd") -> list[str]:
    """The command line of a host's door to the core: it forwards bytes, so TLS and passwords go from end to end.

    A member that was away is tried again after a second: the default is a minute.
    """
    ends = ",".join(f"{_host(address)}:{core.client_port}" for address in core.members.values())
    return [binary, "gateway", "start", f"--listen-addr={listen}", f"--endpoints={ends}", "--retry-delay=1s"]


def own_member(core: Core, names: Collection[str]) -> str:
    """The member whose name or address is among those of this host; InvalidInput when it is not exactly one."""
    found = [name for name, address in core.members.items() if name in names or address in names]
    if len(found) != 1:
        which = ", ".join(found) or "none"
        raise InvalidInput(
            f"which member is this host? Its names and addresses fit {which}; say --name", field="members"
        )
    return found[0]


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address).is_loopback


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return "%" not in text
