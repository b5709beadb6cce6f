"""The syncer's states as a transition table. What is not in the table must not happen."""

from __future__ import annotations

import enum

from calico.datastore.api import SyncStatus

__all__ = ["TRANSITIONS", "Happening", "next_status"]


class Happening(enum.Enum):
    """What the syncer learnt from the store."""

    UNREACHABLE = "the store does not answer, or a stream broke"
    LISTING = "the store answers and a full listing begins"
    NOT_READY = "ClusterInformation/default is absent or says not ready, and readiness is required"
    DOUBTED = "the view found must not replace ours (see plausibility)"
    DELIVERED = "the full view of every prefix was delivered"


_W, _R, _S = SyncStatus.WAITING, SyncStatus.RESYNCING, SyncStatus.IN_SYNC
_L, _H = SyncStatus.LOCKED, SyncStatus.HELD
_X = Happening

# Once in sync, short losses and later listings do not change the status: consumers keep what they have, and the age of
# the last contact is shown separately.
TRANSITIONS: dict[tuple[SyncStatus, Happening], SyncStatus] = {
    (_W, _X.UNREACHABLE): _W,
    (_W, _X.LISTING): _R,
    (_W, _X.NOT_READY): _W,
    (_R, _X.UNREACHABLE): _W,
    (_R, _X.LISTING): _R,
    (_R, _X.NOT_READY): _W,
    (_R, _X.DELIVERED): _S,
    (_S, _X.UNREACHABLE): _S,
    (_S, _X.LISTING): _S,
    (_S, _X.NOT_READY): _L,
    (_S, _X.DOUBTED): _H,
    (_S, _X.DELIVERED): _S,
    (_L, _X.UNREACHABLE): _L,
    (_L, _X.LISTING): _L,
    (_L, _X.NOT_READY): _L,
    (_L, _X.DOUBTED): _H,
    (_L, _X.DELIVERED): _S,
    (_H, _X.UNREACHABLE): _H,
    (_H, _X.LISTING): _H,
    (_H, _X.NOT_READY): _H,
    (_H, _X.DOUBTED): _H,
    (_H, _X.DELIVERED): _S,
}


def next_status(status: SyncStatus, happening: Happening) -> SyncStatus:
    """The status after ``happening``; KeyError when the table forbids it."""
    return TRANSITIONS[status, happening]
