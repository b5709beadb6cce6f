"""Network namespaces with names, as ``ip netns`` keeps them: one file each under /run/netns, bound to the namespace.

Python 3.11 has no setns; the few system calls needed come from the C library. A namespace is a property of a thread,
so work inside one is done by a thread made for it, which ends afterwards: no thread of the pool is ever left inside.
"""

from __future__ import annotations

import ctypes
import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, TypeVar

from calico.errors import AlreadyExists, InvalidInput, NotFound, Transient

__all__ = ["create_netns", "delete_netns", "enter_netns", "in_netns", "list_netns", "open_netns", "temporary_netns"]

T = TypeVar("T")

_DIRECTORY: Final = Path("/run/netns")
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")

_CLONE_NEWNET: Final = 0x40000000
_MS_BIND: Final = 0x1000
_MS_REC: Final = 0x4000
_MS_SHARED: Final = 1 << 20
_MNT_DETACH: Final = 2

_libc = ctypes.CDLL(None, use_errno=True)
_mount = _libc.mount
_mount.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_void_p)


def create_netns(name: str) -> None:
    """Make a namespace (its ``lo`` is down) that lives until it is deleted. AlreadyExists if the name is taken."""
    path = _path(name)
    _share_directory()
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL, 0))
    except FileExistsError:
        raise AlreadyExists(f"network namespace {name} exists") from None

    def make() -> None:
        _check(_libc.unshare(_CLONE_NEWNET), "unshare")
        _check(_mount(b"/proc/thread-self/ns/net", bytes(path), b"none", _MS_BIND, None), f"mount {path}")

    try:
        _in_thread(make)
    except BaseException:
        path.unlink()
        raise


def delete_netns(name: str) -> None:
    """Take the name away; the namespace ends when nobody uses it any more. NotFound if there is none."""
    path = _path(name)
    if not path.exists():
        raise NotFound(f"network namespace {name} does not exist")
    _libc.umount2(bytes(path), _MNT_DETACH)  # EINVAL: a leftover file without a namespace
    with suppress(FileNotFoundError):
        path.unlink()


def list_netns() -> list[str]:
    """The names there are, sorted."""
    try:
        return sorted(entry.name for entry in _DIRECTORY.iterdir())
    except FileNotFoundError:
        return []


def open_netns(name: str) -> int:
    """A descriptor of the namespace, given by name or absolute path, which the caller closes.

    NotFound if there is none. ``/proc/self/fd/N`` is the path of one that is open already.
    """
    try:
        return os.open(name if name.startswith("/") else _path(name), os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound(f"network namespace {name} does not exist") from None


def enter_netns(fd: int) -> None:
    """Put the calling thread into a namespace for good: for threads and processes made for that."""
    _check(_libc.setns(fd, _CLONE_NEWNET), "setns")


def in_netns(name: str, work: Callable[[], T]) -> T:
    """Run ``work`` inside the namespace (by name or path), in a thread of its own, and return (or raise) what it did.

    Sockets made by ``work`` belong to the namespace for ever and may be used from any thread afterwards.
    """
    fd = open_netns(name)

    def inside() -> T:
        enter_netns(fd)
        return work()

    try:
        return _in_thread(inside)
    finally:
        os.close(fd)


@contextmanager
def temporary_netns(name: str) -> Iterator[str]:
    """A namespace for the length of a with block."""
    create_netns(name)
    try:
        yield name
    finally:
        with suppress(NotFound):
            delete_netns(name)


def _path(name: str) -> Path:
    if not _NAME.fullmatch(name):
        raise InvalidInput(f"{name!r} is not a name for a network namespace")
    return _DIRECTORY / name


def _share_directory() -> None:
    """Make /run/netns a shared mount, as iproute2 does, so that the names are seen in every mount namespace."""
    _DIRECTORY.mkdir(mode=0o755, parents=True, exist_ok=True)
    directory = bytes(_DIRECTORY)
    if _mount(b"", directory, b"none", _MS_SHARED | _MS_REC, None) == 0:
        return
    _check(_mount(directory, directory, b"none", _MS_BIND | _MS_REC, None), f"mount {_DIRECTORY}")
    _check(_mount(b"", directory, b"none", _MS_SHARED | _MS_REC, None), f"share {_DIRECTORY}")


def _in_thread(work: Callable[[], T]) -> T:
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:  # handed to the caller's thread
            errors.append(error)

    thread = threading.Thread(target=run, name="netns")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise Transient(f"{what}: {os.strerror(number)}")
