"""The error classes of the whole system, sorted by what the caller must do about them."""

from __future__ import annotations


class CalicoError(Exception):
    """Root of all errors that this package raises on purpose."""


class InvalidInput(CalicoError):
    """A person or a peer gave us something malformed: report it with its name, never retry.

    ``subject`` names the object (for example ``NetworkPolicy default/allow-web``), ``field`` the place in it
    (for example ``spec.ingress[0].source.nets[1]``); either may be empty when unknown.
    """

    def __init__(self, message: str, *, subject: str = "", field: str = "") -> None:
        self.message = message
        self.subject = subject
        self.field = field
        super().__init__(": ".join(part for part in (subject, field, message) if part))


class Conflict(CalicoError):
    """A compare-and-swap lost: re-read, recompute, try again at once."""


class NotFound(CalicoError):
    """The object asked for does not exist."""


class AlreadyExists(Conflict):
    """The object to be created exists."""


class Transient(CalicoError):
    """The world is briefly unavailable: keep the work dirty, back off, retry."""


class Uncertain(Transient):
    """A write was sent but its answer was lost: it may or may not have happened. Re-read before deciding."""


class ResyncRequired(CalicoError):
    """Our cached view is wrong (overflow, compaction, foreign change): re-read everything, then go on."""


class Fatal(CalicoError):
    """Going on would leave the host insecure or undefined: stop the process."""
