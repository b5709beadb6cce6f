"""The keys of IPAM in the datastore (data model §2.2), built and parsed here and nowhere else."""

from __future__ import annotations

import ipaddress
from functools import lru_cache

import msgspec

from calico.errors import InvalidInput

__all__ = [
    "BLOCK_PREFIX",
    "CONFIG_KEY",
    "HANDLE_PREFIX",
    "HOST_PREFIX",
    "IPAM_PREFIX",
    "VIRTUAL_PREFIX",
    "Address",
    "AffinityKey",
    "Network",
    "affinities_prefix",
    "affinity_key",
    "block_key",
    "blocks_prefix",
    "handle_key",
    "host_key",
    "network",
    "parse_address",
    "parse_affinity_key",
    "parse_block_key",
    "parse_handle_key",
]

IPAM_PREFIX = "/calico/ipam/v2/"
BLOCK_PREFIX = f"{IPAM_PREFIX}assignment/"
HOST_PREFIX = f"{IPAM_PREFIX}host/"
VIRTUAL_PREFIX = f"{IPAM_PREFIX}virtual/"
HANDLE_PREFIX = f"{IPAM_PREFIX}handle/"
CONFIG_KEY = f"{IPAM_PREFIX}config"

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_PREFIX_OF = {"host": HOST_PREFIX, "virtual": VIRTUAL_PREFIX}


class AffinityKey(msgspec.Struct, frozen=True, order=True):
    """Whose block: ``owner`` is ``host:<name>`` or ``virtual:load-balancer``, as blocks spell it."""

    owner: str
    cidr: str


@lru_cache(maxsize=4096)
def network(cidr: str) -> Network:
    """The network of a CIDR; ValueError when it is malformed or has host bits set."""
    return ipaddress.ip_network(cidr)


def parse_address(text: str) -> Address:
    """An address; InvalidInput when it is none."""
    try:
        return ipaddress.ip_address(text)
    except ValueError as error:
        raise InvalidInput(str(error), subject=text) from error


def blocks_prefix(version: int) -> str:
    """Where all blocks of an IP version are."""
    return f"{BLOCK_PREFIX}ipv{version}/block/"


def block_key(cidr: str) -> str:
    """The key of a block."""
    return blocks_prefix(_version(cidr)) + cidr.replace("/", "-", 1)


def affinities_prefix(owner: str, version: int = 0) -> str:
    """Where the affinities of an owner are, of one IP version when given. InvalidInput for a name with a slash."""
    kind, _, name = owner.partition(":")
    if kind not in _PREFIX_OF or not name or "/" in name:
        raise InvalidInput("a block is owned by host:<name> or virtual:<name>, without slashes", subject=repr(owner))
    return f"{_PREFIX_OF[kind]}{name}/" + (f"ipv{version}/block/" if version else "")


def affinity_key(owner: str, cidr: str) -> str:
    """The key of an affinity."""
    return affinities_prefix(owner, _version(cidr)) + cidr.replace("/", "-", 1)


def host_key(host: str) -> str:
    """What older clients leave for a host; removed with it."""
    return f"{HOST_PREFIX}{host}"


def handle_key(handle: str) -> str:
    """The key of a handle, whose text is used as it is; InvalidInput for an empty one or one with a slash."""
    if not handle or "/" in handle:
        raise InvalidInput("a handle must not be empty or contain a slash", subject=f"handle {handle!r}")
    return HANDLE_PREFIX + handle


def parse_block_key(path: str) -> str:
    """The CIDR behind the key of a block; empty when it is none."""
    version, _, rest = path.removeprefix(BLOCK_PREFIX).partition("/block/")
    return _cidr(rest) if path.startswith(BLOCK_PREFIX) and version in ("ipv4", "ipv6") else ""


def parse_affinity_key(path: str) -> AffinityKey | None:
    """The owner and CIDR behind the key of an affinity, or None."""
    for kind, prefix in _PREFIX_OF.items():
        if path.startswith(prefix):
            name, _, rest = path[len(prefix) :].partition("/")
            version, _, block = rest.partition("/block/")
            cidr = _cidr(block)
            return AffinityKey(f"{kind}:{name}", cidr) if cidr and version in ("ipv4", "ipv6") else None
    return None


def parse_handle_key(path: str) -> str:
    """The handle behind a key; empty when it is none."""
    return path[len(HANDLE_PREFIX) :] if path.startswith(HANDLE_PREFIX) else ""


def _version(cidr: str) -> int:
    return 6 if ":" in cidr else 4


def _cidr(text: str) -> str:
    """Empty for what is no CIDR: anybody can write such a key, and it must not hold up whoever lists them."""
    address, dash, length = text.rpartition("-")
    if not dash or not length.isdecimal() or "/" in address:
        return ""
    cidr = f"{address}/{length}"
    try:
        network(cidr)
    except ValueError:
        return ""
    return cidr
