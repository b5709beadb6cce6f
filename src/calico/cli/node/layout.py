"""What of Calico is on a host, and where: one list, for whoever installs, packages or removes it. Pure.

Paths are absolute and below no root. What is *kept* belongs to the operator or to the host: an upgrade leaves it as it
is, and only whoever wants nothing of Calico left removes it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec

__all__ = [
    "CNI_UNITS",
    "CONFIG_DIR",
    "ENVIRONMENT_FILE",
    "HOST_UNITS",
    "LAYOUT",
    "MEMBER_UNITS",
    "MTU_FILE",
    "OTHER_UNITS",
    "PACKAGED_UNIT_DIR",
    "PROGRAM",
    "RUN_DIR",
    "STATE_DIR",
    "UNITS",
    "UNIT_DIR",
    "UNIT_SOURCES",
    "Item",
    "items",
]

UNIT_SOURCES = Path(__file__).with_name("units")
"""The units as they are in the wheel."""

PROGRAM = "/usr/bin/calico"
UNIT_DIR = "/etc/systemd/system"
PACKAGED_UNIT_DIR = "/lib/systemd/system"
CONFIG_DIR = "/etc/calico"
STATE_DIR = "/var/lib/calico"
RUN_DIR = "/run/calico"
ENVIRONMENT_FILE = f"{CONFIG_DIR}/calico.env"
MTU_FILE = f"{STATE_DIR}/mtu"

HOST_UNITS = (
    "calico-boot-guard.service",
    "calico-etcd-gateway.service",
    "calico-felix.service",
    "calico-bgp.service",
)
"""What every host enables, in the order in which they start."""
CNI_UNITS = ("calico-cni.service", "calico-ipam-gc.timer")
"""What hosts with containers enable as well."""
OTHER_UNITS = ("calico-ipam-gc.service", "calico-kube-controllers.service", "calico-openstack-agent.service")
"""Started by its timer; enabled where Kubernetes' controllers run; enabled on compute hosts of OpenStack."""
MEMBER_UNITS = ("calico-etcd.service",)
"""On hosts of the datastore's core only."""
UNITS = HOST_UNITS + CNI_UNITS + OTHER_UNITS + MEMBER_UNITS


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """One thing on a host. ``mode`` is what install gives it; ``runtime``: a daemon makes it, install does not."""

    path: str
    kind: Literal["directory", "file", "unit", "link"]
    purpose: str
    mode: int = 0o644
    kept: bool = False
    runtime: bool = False


LAYOUT: tuple[Item, ...] = (
    Item(path=PROGRAM, kind="link", purpose="the command", mode=0o755),
    *(Item(path=f"{UNIT_DIR}/{name}", kind="unit", purpose="a service or its timer") for name in UNITS),
    Item(path=CONFIG_DIR, kind="directory", purpose="configuration", mode=0o755, kept=True),
    Item(
        path=ENVIRONMENT_FILE, kind="file", purpose="the name of this host's Node, where etcd is", mode=0o640, kept=True
    ),
    Item(path=f"{CONFIG_DIR}/bgp-secrets", kind="directory", purpose="passwords of sessions", mode=0o700, kept=True),
    Item(path=STATE_DIR, kind="directory", purpose="state", mode=0o755, kept=True),
    Item(path=f"{STATE_DIR}/cni", kind="directory", purpose="what the CNI daemon attached", mode=0o700, kept=True),
    Item(path=MTU_FILE, kind="file", purpose="the MTU of workloads", kept=True, runtime=True),
    Item(path=RUN_DIR, kind="directory", purpose="sockets, bird.conf", mode=0o700, runtime=True),
)


def items(*, unit_dir: str = UNIT_DIR, link: bool = True) -> Iterator[Item]:
    """The list for units that are elsewhere, with or without the link to the program."""
    for item in LAYOUT:
        if item.kind == "unit":
            yield msgspec.structs.replace(item, path=f"{unit_dir}/{Path(item.path).name}")
        elif item.kind != "link" or link:
            yield item
