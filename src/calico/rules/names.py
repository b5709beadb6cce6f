"""Names of chains and sets: readable in a listing, never two things with one name, always accepted by ``nft``.

A name is ``<prefix>-<parts joined by />``. Parts that are too long or hold other characters than these are replaced
by what remains of them and a hash of all of them; ``_`` marks a hash and is therefore not among the plain characters.
"""

from __future__ import annotations

import hashlib
import re
from typing import Literal, TypeAlias

from calico.model.keys import ResourceKey

__all__ = [
    "Style",
    "comment_text",
    "direction_of",
    "ifname_key",
    "list_name",
    "object_name",
    "policy_name",
    "printable",
    "profile_name",
    "styled",
]

_PLAIN = re.compile(r"[A-Za-z0-9.-]+\Z")
_OTHER = re.compile(r"[^A-Za-z0-9.-]+")
_PLAIN_MAX = 100
_HASHED_MAX = 60
_COMMENT_MAX = 127

Style: TypeAlias = Literal["plain", "untracked", "pre-dnat", "translated"]
"""What the rules of a policy do in the chain they are rendered for (see ``calico.rules.policy``)."""

_SHORT_KINDS = {
    "NetworkPolicy": "np",
    "GlobalNetworkPolicy": "gnp",
    "StagedNetworkPolicy": "snp",
    "StagedGlobalNetworkPolicy": "sgnp",
    "StagedKubernetesNetworkPolicy": "sknp",
}


def object_name(prefix: str, *parts: str) -> str:
    """The injective name of ``parts`` under ``prefix``; at most 127 bytes for a short prefix."""
    joined = "/".join(parts)
    if len(joined) <= _PLAIN_MAX and all(_PLAIN.match(part) for part in parts):
        return f"{prefix}-{joined}"
    digest = hashlib.sha256("\0".join(f"{len(part)}:{part}" for part in parts).encode()).hexdigest()[:24]
    return f"{prefix}-{_OTHER.sub('.', joined)[:_HASHED_MAX]}_{digest}"


def policy_name(direction: str, key: ResourceKey) -> str:
    """The chain of one policy in one direction (``ingress`` or ``egress``)."""
    kind = _SHORT_KINDS.get(key.kind, key.kind)
    parts = (kind, key.namespace, key.name) if key.namespace else (kind, key.name)
    return object_name("pi" if direction == "ingress" else "po", *parts)


def profile_name(direction: str, name: str) -> str:
    """The chain of one profile in one direction."""
    return object_name("fi" if direction == "ingress" else "fo", name)


def direction_of(name: str) -> Literal["ingress", "egress"]:
    """The direction of a policy or profile, by the name of its chain."""
    return "ingress" if name.startswith(("pi-", "fi-")) else "egress"


def styled(name: str, style: Style) -> str:
    """The chain of a policy or profile (by the name of its plain one) in a style."""
    return name if style == "plain" else f"{style[0]}{name}"


def list_name(direction: str, content: bytes) -> str:
    """The chain of a policy list, addressed by the list's content."""
    return f"{'gi' if direction == 'ingress' else 'go'}-{hashlib.sha256(content).hexdigest()[:24]}"


def ifname_key(interface: str) -> bytes:
    """An interface name as the kernel keeps it: NUL padded to 16 bytes."""
    return interface.encode().ljust(16, b"\0")


def comment_text(text: str) -> str:
    """A rule comment for people: ``printable``, and not longer than the kernel's."""
    return printable(text)[:_COMMENT_MAX]


def printable(text: str) -> str:
    """The text as printable ASCII without quotes or backslashes: safe on a terminal, and in what ``nft`` lists."""
    return "".join(c if c.isascii() and c.isprintable() and c not in '"\\' else "?" for c in text)
