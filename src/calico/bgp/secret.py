"""Passwords of BGP sessions: a type that never shows what it holds, and what can be wrong with one. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NoReturn

import msgspec

from calico.bgp.birdconf.text import is_expressible
from calico.errors import InvalidInput
from calico.model.bgp import BGPPassword

__all__ = ["SECRETS_PREFIX", "PasswordRef", "Refused", "Secret", "SecretRef", "Secrets", "choose", "secret_of_key"]

SECRETS_PREFIX = "/calico/bgp/v1/secrets/"
LONGEST = 80  # the kernel's TCP_MD5SIG_MAXKEYLEN
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?", re.ASCII)
_KEY = re.compile(r"(?!\.\.)(?!\.\Z)[A-Za-z0-9._-]{1,253}", re.ASCII)


class Secret:
    """A password. It compares and hashes by value, and shows it in no other way than by ``reveal``."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    @classmethod
    def of_bytes(cls, raw: bytes) -> Secret:
        """The content of a file or key, less one final line end; InvalidInput (which does not quote it) if unusable."""
        try:
            text = raw.removesuffix(b"\n").removesuffix(b"\r").decode("ascii")
        except UnicodeDecodeError:
            raise InvalidInput("holds characters that BIRD's language cannot express") from None
        if not text:
            raise InvalidInput("is empty")
        if len(text) > LONGEST:
            raise InvalidInput(f"is longer than the {LONGEST} characters that the kernel takes")
        if not is_expressible(text):
            raise InvalidInput("holds characters that BIRD's language cannot express")
        return cls(text)

    def reveal(self) -> str:
        """The password itself: for the emitter of bird.conf, and nobody else."""
        return self._text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._text == other._text

    def __hash__(self) -> int:
        return hash((Secret, self._text))

    def __repr__(self) -> str:
        return "Secret(hidden)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not written anywhere")


class Refused(msgspec.Struct, frozen=True):
    """A secret that is there and must not, or cannot, be used. ``reason`` does not quote it."""

    reason: str


class SecretRef(msgspec.Struct, frozen=True, order=True):
    """A key of a named secret."""

    name: str
    key: str

    def __str__(self) -> str:
        return f"{self.name}/{self.key}"


class PasswordRef(msgspec.Struct, frozen=True):
    """What a resource says about a password. ``optional``: where the secret or its key is absent, go without."""

    secret: SecretRef
    optional: bool = False

    @classmethod
    def of_spec(cls, password: BGPPassword, where: str) -> PasswordRef:
        """The reference; InvalidInput when there is none, or it could not be the name of a file or key."""
        selector = password.secret_key_ref
        if selector is None:
            raise InvalidInput("is required", field=f"{where}.secretKeyRef")
        if not _NAME.fullmatch(selector.name):
            raise InvalidInput(f"{selector.name[:60]!r} is no name of a secret", field=f"{where}.secretKeyRef.name")
        if not _KEY.fullmatch(selector.key):
            raise InvalidInput(f"{selector.key[:60]!r} is no key of a secret", field=f"{where}.secretKeyRef.key")
        return cls(SecretRef(selector.name, selector.key), bool(selector.optional))


Secrets = Mapping[SecretRef, Secret | Refused]


def choose(password: PasswordRef, secrets: Secrets, where: str) -> Secret | None:
    """The password to use, None when there is none and none is needed; InvalidInput when the peering must not run."""
    found = secrets.get(password.secret)
    if isinstance(found, Secret):
        return found
    if isinstance(found, Refused):
        raise InvalidInput(f"secret {password.secret}: {found.reason}", field=where)
    if password.optional:
        return None
    raise InvalidInput(f"secret {password.secret} is absent", field=where)


def secret_of_key(path: str) -> SecretRef | None:
    """The secret behind a key of the datastore, None when it is none."""
    name, slash, key = path.removeprefix(SECRETS_PREFIX).partition("/")
    if not path.startswith(SECRETS_PREFIX) or not slash or not _NAME.fullmatch(name) or not _KEY.fullmatch(key):
        return None
    return SecretRef(name, key)
