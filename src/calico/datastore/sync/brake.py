"""What a syncer holds back and until when: the doubt that a store raised, and an operator's word that it is right.

No I/O of its own but the reads that tell whether anything changed.
"""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from calico.datastore.api import Backend
from calico.datastore.sync.acceptance import is_accepted
from calico.datastore.sync.plausibility import CLUSTER_INFO_KEY, ClusterFacts, cluster_facts

__all__ = ["Brake"]

log = structlog.get_logger(__name__)

_LOOK_ANYWAY_EVERY = 12  # rechecks


class Brake:
    """Open until ``hold``; ``release`` opens it again. Accepted: what was held may be followed, and nothing else."""

    def __init__(self, backend: Backend, accept_keys: Sequence[str]) -> None:
        self._backend, self._accept_keys = backend, tuple(accept_keys)
        self._at: tuple[int, int] | None = None  # (revision, cluster id) of the view held back
        self._facts: ClusterFacts | None = None
        self._since = 0  # the revision at which this doubt began
        self._rechecks = 0
        self.accepted = False

    @property
    def is_holding(self) -> bool:
        """Whether a view is held back for doubt."""
        return self._at is not None

    def accept(self) -> bool:
        """Follow what is held back; False when nothing is."""
        self.accepted = self.accepted or self.is_holding
        return self.is_holding

    def hold(self, revision: int, cluster_id: int, facts: ClusterFacts | None) -> None:
        """A view must not be followed."""
        if self._at is None or self._at[1] != cluster_id or revision < self._since:
            self._since = revision
        self._at, self._facts, self.accepted = (revision, cluster_id), facts, False

    def release(self) -> None:
        """A view is being followed."""
        self._at = self._facts = None
        self.accepted = False

    def lets_through(self, cluster_id: int, facts: ClusterFacts | None) -> bool:
        """Whether exactly this store was accepted."""
        return self.accepted and self._at is not None and (self._at[1], self._facts) == (cluster_id, facts)

    async def look_for_acceptance(self, revision: int, cluster_id: int) -> None:
        """Whether an operator has written that the store held back is right."""
        if self._at is None or self._facts is None or self.accepted:
            return
        if self._at[1] != cluster_id or revision < self._since:
            return
        if await is_accepted(self._backend, self._accept_keys, cluster_id, self._facts, self._since):
            log.warning("datastore_accepted", cluster=f"{cluster_id:x}", guid=self._facts.guid, rev=revision)
            self.accepted = True

    async def is_doubted_still(self, revision: int, cluster_id: int) -> bool:
        """Nothing seems to have changed since the view was held back: spares most of the listings meanwhile."""
        self._rechecks += 1
        if self.accepted or self._at != (revision, cluster_id) or self._rechecks % _LOOK_ANYWAY_EVERY == 0:
            return False
        kv = await self._backend.get(CLUSTER_INFO_KEY)
        return self._facts == (cluster_facts(kv.value) if kv is not None else None)
