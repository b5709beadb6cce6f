"""How addresses are allocated in this cluster: the one key that Calico's allocator reads (spec §9.1, traps 1 and 3)."""

from __future__ import annotations

from typing import Protocol

import msgspec

from calico.datastore.api import Backend, KeyValue, Op
from calico.errors import InvalidInput
from calico.ipam.stored.keys import CONFIG_KEY

__all__ = ["DEFAULT_BLOCKS_PER_HOST", "IPAMSettings", "decode_settings", "read_settings", "write_settings"]

DEFAULT_BLOCKS_PER_HOST = 20
_MOST_BLOCKS = 1_000_000
_LONGEST_COOLDOWN_S = 1200
_SUBJECT = "IPAM configuration"


class IPAMSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What holds when the key is absent. In a key that exists what is absent is false and zero."""

    strict_affinity: bool = False
    auto_allocate_blocks: bool = True
    max_blocks_per_host: int = 0
    kubevirt_persistence: str = ""
    cooldown_s: int = 0
    extra: dict[str, object] = {}

    def blocks_allowed(self, asked: int = 0) -> int:
        """How many blocks a host may have, when a request asks for at most so many (0: it does not say)."""
        limits = [limit for limit in (asked, self.max_blocks_per_host) if limit > 0]
        return min(limits) if limits else DEFAULT_BLOCKS_PER_HOST


class _Reader(Protocol):
    async def get(self, key: str) -> KeyValue | None: ...


class _Stored(msgspec.Struct, omit_defaults=True):
    strict_affinity: bool = False
    auto_allocate_blocks: bool = False
    max_blocks_per_host: int = msgspec.field(default=0, name="maxBlocksPerHost")
    kubevirt_persistence: str | None = msgspec.field(default=None, name="kubeVirtVMAddressPersistence")
    cooldown_s: int | None = msgspec.field(default=None, name="ipCooldownSeconds")


def decode_settings(raw: bytes | None) -> IPAMSettings:
    """The settings stored; InvalidInput when they cannot be read."""
    if raw is None:
        return IPAMSettings()
    try:
        tree = msgspec.json.decode(raw, type=dict[str, object])
        found = msgspec.convert(tree, _Stored)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(str(error), subject=_SUBJECT) from error
    known = set(_Stored.__struct_encode_fields__)
    return IPAMSettings(
        strict_affinity=found.strict_affinity,
        auto_allocate_blocks=found.auto_allocate_blocks,
        max_blocks_per_host=found.max_blocks_per_host,
        kubevirt_persistence=found.kubevirt_persistence or "",
        cooldown_s=found.cooldown_s or 0,
        extra={name: value for name, value in tree.items() if name not in known},
    )


def check_settings(settings: IPAMSettings) -> None:
    """InvalidInput for settings with which nothing could be allocated, or that contradict each other."""
    if not settings.strict_affinity and not settings.auto_allocate_blocks:
        raise InvalidInput("cannot be off while strict affinity is off", subject=_SUBJECT, field="auto_allocate_blocks")
    if not 0 <= settings.max_blocks_per_host <= _MOST_BLOCKS:
        raise InvalidInput(f"must be 0 to {_MOST_BLOCKS}", subject=_SUBJECT, field="maxBlocksPerHost")
    if settings.max_blocks_per_host and not settings.strict_affinity:
        raise InvalidInput("needs strict affinity, otherwise hosts borrow", subject=_SUBJECT, field="maxBlocksPerHost")
    if not 0 <= settings.cooldown_s <= _LONGEST_COOLDOWN_S:
        raise InvalidInput(f"must be 0 to {_LONGEST_COOLDOWN_S}", subject=_SUBJECT, field="ipCooldownSeconds")
    if settings.kubevirt_persistence not in ("", "Enabled", "Disabled"):
        raise InvalidInput("must be Enabled or Disabled", subject=_SUBJECT, field="kubeVirtVMAddressPersistence")


async def read_settings(backend: _Reader) -> tuple[IPAMSettings, KeyValue | None]:
    """The settings that hold, and what is stored."""
    stored = await backend.get(CONFIG_KEY)
    return decode_settings(stored.value if stored is not None else None), stored


async def write_settings(backend: Backend, settings: IPAMSettings, stored: KeyValue | None) -> None:
    """Store checked settings over what was read; Conflict when that has changed. What is false is written as well."""
    check_settings(settings)
    tree: dict[str, object] = {
        "strict_affinity": settings.strict_affinity,
        "auto_allocate_blocks": settings.auto_allocate_blocks,
    }
    if settings.max_blocks_per_host:
        tree["maxBlocksPerHost"] = settings.max_blocks_per_host
    if settings.kubevirt_persistence:
        tree["kubeVirtVMAddressPersistence"] = settings.kubevirt_persistence
    if settings.cooldown_s:
        tree["ipCooldownSeconds"] = settings.cooldown_s
    value = msgspec.json.encode({**tree, **settings.extra})
    await backend.txn([Op(CONFIG_KEY, value, expect=stored.mod_revision if stored is not None else 0)])
