"""Damage: bytes that stand where a good value should stand, drawn from a seeded generator."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

from calico.model.kinds import KINDS

__all__ = ["a_damaged_key", "damaged"]

_STRANGE: list[Any] = [
    None, True, False, 0, 1, -1, 4, 6, 255, 256, 65535, 65536, 2**31, 2**32, 2**63, 2**64, 2**200, 1.5, -0.0, 1e308,
    "", " ", "\n", "\t", "\x00", "a", "A", "x" * 15, "x" * 64, "x" * 300, "ä", "\ud800", "\U0001f600", "\u2028",
    "all()", "global()", "has(a", "a == 'b'", "!" * 50 + "all()", "(" * 400, "a in {", "default", "first", "Allow",
    "Deny", "Pass", "Log", "allow", "Set", "Delete", "Ignore", "TCP", "tcp", "6", "256", "ICMP", "1:2:3", "5:1", "http",
    "10.0.0.1", "10.0.0.1/8", "10.0.0.0/33", "0.0.0.0/0", "::/0", "fd00::1", "fe80::1%eth0", "::ffff:10.0.0.1",
    "٣.٣.٣.٣",
    "10.65.0.1", "10.65.0.0/16", "ee:ee:ee:ee:ee:ee", "cali0", "*", ".", "..", "a/b", "h1", "h2", "node.h1",
    "30s", "-5s", "1e3", "99999999999999999999", "Enabled", "Disabled", "Always", "true", "false", "kns.prod",
    "65000:1", "1.10",
    [], {}, [[]], [{}], [None], ["x"], {"x": "y"}, {"": ""}, [1, "a", None], {"action": "Allow"}, [{"action": "Deny"}],
]  # fmt: skip
_BROKEN = [
    b"", b" ", b"null", b"[]", b"{}", b"5", b'"x"', b"{", b"}", b"\x00", b"\xff\xfe", b"\xef\xbb\xbf{}", b"NaN",
    b'{"spec":null}', b'{"spec":[]}', b'{"metadata":null,"spec":{}}', b'{"metadata":[],"spec":{}}',
    b'{"spec":{},"spec":5}',
    b"[" * 5000, b'{"spec":' * 5000, b'{"spec":{"x":' + b"[" * 5000 + b"]" * 5000 + b"}}",
    b'{"a":' + b"9" * 5000 + b"}",
    b'{"spec":{"order":1e999}}', b"apiVersion: v1\nkind: Node\n", b"\x1f\x8b\x08\x00", b"k8s\x00\n\x02v1",
]  # fmt: skip


def damaged(draw: random.Random, value: bytes, others: list[bytes]) -> bytes:
    """Bytes in place of a value: broken ones, those of another object, or its own with some of them exchanged."""
    chance = draw.random()
    if chance < 0.1:
        return draw.choice(_BROKEN)
    if chance < 0.15:
        return draw.randbytes(draw.randint(0, 60))
    if chance < 0.2:
        return draw.choice(others)
    if chance < 0.3:
        return value[: draw.randint(0, len(value))] + draw.choice([b"", b"}", b"}}", b"\xff"])
    if chance < 0.45:
        return _flipped(draw, value)
    return _exchanged(draw, value)


def a_damaged_key(draw: random.Random, keys: list[str]) -> str:
    """A key of the store, or (one in ten) one that is not there or names nothing."""
    if draw.random() < 0.9:
        return draw.choice(keys)
    plural = draw.choice([info.plural for info in KINDS] + ["bogus", "services", ""])
    rest = draw.choice(["x", "a/x", "a/b/x", "", "/", "a//x", "A_B", "é", "x" * 300, "%2f", " ", "default.old", "'"])
    return f"/calico/resources/v3/projectcalico.org/{plural}/{rest}"


def _flipped(draw: random.Random, value: bytes) -> bytes:
    raw = bytearray(value)
    for _ in range(draw.randint(1, 6)):
        if raw:
            raw[draw.randrange(len(raw))] ^= 1 << draw.randrange(8)
    return bytes(raw)


def _exchanged(draw: random.Random, value: bytes) -> bytes:
    """The document with one to three members exchanged for something strange, gone, or doubled."""
    try:
        tree = json.loads(value)
    except ValueError:
        return draw.choice(_BROKEN)
    for _ in range(draw.randint(1, 3)):
        places = list(_places(tree))
        if not places:
            break
        container, where = draw.choice(places)
        chance = draw.random()
        if chance < 0.15:
            del container[where]
        elif chance < 0.25 and isinstance(container, list):
            container.append(container[where])
        else:
            container[where] = draw.choice(_STRANGE)
    return json.dumps(tree, ensure_ascii=draw.random() < 0.5).encode(errors="surrogatepass")


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    pairs = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for where, value in list(pairs):
        yield tree, where
        yield from _places(value)
