"""The host's private keys: one file each, which nobody else may read. Made where there is none."""

from __future__ import annotations

import base64
import binascii
import os
import stat
from pathlib import Path
from typing import Final

from calico.errors import Transient
from calico.netlink.wireguard import KEY_SIZE

__all__ = ["private_key"]

_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


def private_key(path: Path) -> bytes:
    """The key in a file. One that others could read, that is another user's, a link or damaged, is a key no more:
    another is made in its place. Transient when the file cannot be written."""
    try:
        return _read(path)
    except (OSError, ValueError):
        pass
    key = os.urandom(KEY_SIZE)
    fresh = path.with_name(f"{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh.unlink(missing_ok=True)
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(base64.b64encode(key) + b"\n")
        fresh.replace(path)
    except OSError as error:
        raise Transient(f"{path}: the private key cannot be kept: {error.strerror}") from error
    return key


def _read(path: Path) -> bytes:
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode) or found.st_mode & _OTHERS or found.st_uid != os.geteuid():
            raise ValueError("not private")
        try:
            key = base64.b64decode(file.read(4 * KEY_SIZE).strip(), validate=True)
        except binascii.Error as error:
            raise ValueError("no key") from error
    if len(key) != KEY_SIZE:
        raise ValueError("no key")
    return key
