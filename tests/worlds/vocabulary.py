"""The few words that worlds are made of."""

from __future__ import annotations

from typing import Final

from calico.model.policy import ICMPFields, ServiceAccountMatch, ServiceMatch
from calico.model.workload import EndpointPort
from worlds.scene import OUTSIDE, POOLS

__all__ = [
    "ACCOUNTS",
    "ACTIONS",
    "ENTITY_NAMESPACES",
    "ICMPS",
    "LABEL_NAMES",
    "NAMESPACES",
    "NETS",
    "ORDERS",
    "PORTS",
    "PORT_ENTRIES",
    "PROFILES",
    "PROTOCOLS",
    "SELECTORS",
    "SERVICE",
    "TIERS",
    "VALUES",
]

NAMESPACES: Final = ("red", "blue")
LABEL_NAMES: Final = ("a", "b", "pcns.a", "pcsa.a")
VALUES: Final = ("x", "y")
TIERS: Final = ("default", "one", "two")
ORDERS: Final = (None, 1.0, 2.0)
PROFILES: Final = ("kns.red", "kns.blue", "ksa.red.robot", "other")
SELECTORS: Final = (
    "",
    "all()",
    "has(a)",
    "a == 'x'",
    "a != 'x'",
    "a in {'x', 'y'} && b == 'y'",
    "has(b)",
    "!has(b)",
    "b not in {'x'} || a == 'y'",
    "projectcalico.org/namespace == 'red'",
    "projectcalico.org/serviceaccount == 'robot'",
    "pcns.a == 'x'",
)
ENTITY_NAMESPACES: Final = ("all()", "a == 'x'", "has(a)", "global()")
ACCOUNTS: Final = (
    ServiceAccountMatch(names=("robot",)),
    ServiceAccountMatch(names=("robot", "human")),
    ServiceAccountMatch(selector="a == 'x'"),
    ServiceAccountMatch(names=("robot",), selector="has(a)"),
)
SERVICE: Final = ServiceMatch(name="web", namespace="red")
_ADDRESSES = tuple(address for pool in POOLS.values() for address in pool) + OUTSIDE
NETS_V4: Final = (
    "0.0.0.0/0",
    "10.64.0.0/15",
    "10.65.0.0/16",
    "10.65.1.0/24",
    "10.65.1.7/30",
    "10.65.2.0/31",
    "10.65.3.1/32",
    "10.66.0.128/25",
    "128.0.0.0/1",
    *(address for address in _ADDRESSES if ":" not in address),
)
NETS_V6: Final = (
    "::/0",
    "fd00:64::/31",
    "fd00:65::/32",
    "fd00:65:1::/48",
    "fd00:65:2::2/127",
    "fd00:65:3::1/128",
    "fd00:66::8000/113",
    "8000::/1",
    *(address for address in _ADDRESSES if ":" in address),
)
NETS: Final = NETS_V4 + NETS_V6
PORTS: Final = (
    EndpointPort(name="http", protocol="TCP", port=80),
    EndpointPort(name="http", protocol="TCP", port=8080),
    EndpointPort(name="http", protocol="UDP", port=81),
    EndpointPort(name="dns", protocol=17, port=53),
    EndpointPort(name="dns", protocol="SCTP", port=53),
    EndpointPort(protocol="TCP", port=80, host_port=8080),
)
PORT_ENTRIES: Final[tuple[int | str, ...]] = (
    80, 82, 53, 1, 65535, "80:81", "1:1024", "1000:65535", "http", "dns", "ghost"
)  # fmt: skip
PROTOCOLS: Final[tuple[int | str, ...]] = ("TCP", "UDP", "SCTP", "ICMP", "ICMPv6", "UDPLite", 6, "17", 4, 47, 255)
ACTIONS: Final = ("Allow", "Allow", "Allow", "Deny", "Pass", "Log")
ICMPS: Final = (
    ICMPFields(type=8),
    ICMPFields(type=8, code=0),
    ICMPFields(type=8, code=1),
    ICMPFields(type=128),
    ICMPFields(type=128, code=0),
    ICMPFields(type=0),
    ICMPFields(type=254, code=255),
    ICMPFields(),
)
