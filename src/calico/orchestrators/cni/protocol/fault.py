"""What a plugin answers when it fails: the specification's error object and its codes (CNI 1.1.0, section 5). Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from calico.errors import CalicoError, Conflict, InvalidInput, NotFound, ResyncRequired, Transient

__all__ = [
    "DIFFERS",
    "EXISTS",
    "INCOMPATIBLE_VERSION",
    "INTERNAL",
    "INVALID_CONFIG",
    "INVALID_ENVIRONMENT",
    "IO_FAILURE",
    "NOT_AVAILABLE",
    "NO_ADDRESS",
    "TRY_AGAIN",
    "UNDECODABLE",
    "UNKNOWN_CONTAINER",
    "UNSUPPORTED_FIELD",
    "WRONG_NAMESPACE",
    "NothingToRemove",
    "PluginError",
    "error_object",
    "fault_of",
]

INCOMPATIBLE_VERSION: Final = 1
UNSUPPORTED_FIELD: Final = 2
UNKNOWN_CONTAINER: Final = 3
INVALID_ENVIRONMENT: Final = 4
IO_FAILURE: Final = 5
UNDECODABLE: Final = 6
INVALID_CONFIG: Final = 7
WRONG_NAMESPACE: Final = 8
"""Not in the specification; what the reference library uses when CNI_NETNS is the host's own namespace."""
TRY_AGAIN: Final = 11
NOT_AVAILABLE: Final = 50
EXISTS: Final = 100
"""Ours: the container has an interface of that name, or the host one of the name that it would get."""
DIFFERS: Final = 101
"""Ours: CHECK found something that is not as ADD left it."""
NO_ADDRESS: Final = 102
"""Ours: there is no address to give."""
INTERNAL: Final = 999


class PluginError(CalicoError):
    """Ends a command. ``code`` and ``details`` are the specification's; ``version`` the one asked for, if known."""

    def __init__(self, code: int, message: str, details: str = "") -> None:
        self.code, self.message, self.details = code, message, details
        super().__init__(message)


class NothingToRemove(PluginError):
    """The names are such that ADD refuses them before it does anything: what is asked of them by DEL is done."""


def error_object(error: PluginError, version: str) -> dict[str, Any]:
    """The error as the runtime reads it from standard output."""
    found: dict[str, Any] = {"cniVersion": version, "code": error.code, "msg": _told(error.message)}
    if error.details:
        found["details"] = _told(error.details)
    return found


def _told(text: str) -> str:
    """As JSON can have it: a path in the environment may be no UTF-8."""
    return text.encode(errors="backslashreplace").decode()


def fault_of(error: BaseException) -> PluginError:
    """Any error as the one that the runtime is told: what may pass is to be tried again, what is wrong is named."""
    if isinstance(error, PluginError):
        return error
    if isinstance(error, BaseExceptionGroup):
        return _worst([fault_of(one) for one in error.exceptions])
    if isinstance(error, InvalidInput):
        return PluginError(INVALID_CONFIG, str(error))
    if isinstance(error, Transient | Conflict | ResyncRequired | TimeoutError):
        return PluginError(TRY_AGAIN, str(error) or "timed out")
    if isinstance(error, NotFound):
        return PluginError(INTERNAL, str(error))
    if isinstance(error, OSError):
        return PluginError(IO_FAILURE, str(error))
    return PluginError(INTERNAL, f"{type(error).__name__}: {error}")


def _worst(found: Sequence[PluginError]) -> PluginError:
    """One for several: trying again helps only when it helps all."""
    lasting = [one for one in found if one.code != TRY_AGAIN]
    code = (lasting or found)[0].code
    return PluginError(code, "; ".join(one.message for one in found))
