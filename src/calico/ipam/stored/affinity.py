"""Affinities in the datastore: which owner a block is claimed for, and how far the claim is (spec §9.1)."""

from __future__ import annotations

from typing import Literal

import msgspec

from calico.errors import InvalidInput
from calico.ipam.stored.keys import parse_affinity_key

__all__ = ["CONFIRMED", "Affinity", "decode_affinity", "encode_affinity"]

State = Literal["", "pending", "confirmed", "pendingDeletion"]


class Affinity(msgspec.Struct, frozen=True):
    """``state`` empty is a claim of older clients, and holds."""

    state: State = ""
    deleted: bool = False

    @property
    def holds(self) -> bool:
        return self.state in ("", "confirmed") and not self.deleted


class _Stored(msgspec.Struct):
    state: str | None = ""
    deleted: bool | None = False


CONFIRMED = Affinity("confirmed")
_STATES: dict[str, State] = {
    "": "",
    "pending": "pending",
    "confirmed": "confirmed",
    "pendingDeletion": "pendingDeletion",
}


def decode_affinity(key: str, raw: bytes) -> Affinity:
    """The affinity under a key; InvalidInput when it cannot be read. Nothing at all is a claim that holds."""
    try:
        found = msgspec.json.decode(raw, type=_Stored) if raw.strip() else _Stored()
        return Affinity(_STATES[found.state or ""], bool(found.deleted))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(str(error), subject=_name(key)) from error
    except KeyError as error:
        raise InvalidInput(f"unknown state {str(error)[:64]}", subject=_name(key), field="state") from error


def encode_affinity(affinity: Affinity) -> bytes:
    """The JSON of an affinity."""
    return msgspec.json.encode({"state": affinity.state, "deleted": affinity.deleted})


def _name(key: str) -> str:
    parsed = parse_affinity_key(key)
    return f"BlockAffinity {parsed.cidr} of {parsed.owner}" if parsed is not None else key
