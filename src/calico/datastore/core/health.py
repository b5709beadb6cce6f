"""What the members of a core say of themselves, judged: what is wrong, how bad it is, and what helps. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec

from calico.datastore.etcd.backend import MemberStatus

__all__ = ["Finding", "findings"]

_OLDEST = (3, 5, 16)
"""From here on the known losses of watch events and leaks of access control are mended (design/etcd.md)."""

_NEARLY_FULL = 0.8
_WORTH_IT = 100 * 1024**2
_LAG = 1000


class Finding(msgspec.Struct, frozen=True):
    """``error``: the core is not, or soon not, available or trustworthy. ``about`` is a member, or empty."""

    severity: Literal["error", "warning", "note"]
    about: str
    text: str


def findings(statuses: Sequence[tuple[str, MemberStatus]], quota_bytes: int) -> list[Finding]:
    """From (name, status) of every member; worst first."""
    order = ("error", "warning", "note")
    found = [*_together(statuses), *(f for name, status in statuses for f in _alone(name, status, quota_bytes))]
    return sorted(found, key=lambda finding: order.index(finding.severity))


def _together(statuses: Sequence[tuple[str, MemberStatus]]) -> Iterator[Finding]:
    here = [(name, status) for name, status in statuses if not status.error]
    quorum = len(statuses) // 2 + 1
    if len(here) < quorum:
        yield Finding(
            "error", "", f"{len(here)} of {len(statuses)} members answer, {quorum} are needed: nothing can be written"
        )
    elif len(statuses) > 1 and len(here) == quorum:
        yield Finding("warning", "", "the next loss of a member ends all writing")
    if len({status.cluster_id for _, status in here}) > 1:
        yield Finding("error", "", "the members are not of one cluster: were they started with one token and file?")
    leaders = {status.leader for _, status in here}
    if here and (0 in leaders or len(leaders) > 1):
        yield Finding("error", "", "the members do not agree on a leader")
    versions = sorted({status.version for _, status in here})
    if len(versions) > 1:
        yield Finding("warning", "", f"the members run different versions ({', '.join(versions)}): finish the upgrade")
    if len(statuses) % 2 == 0:
        yield Finding("note", "", f"{len(statuses)} members survive no more losses than {len(statuses) - 1}")
    newest = max((status.revision for _, status in here), default=0)
    for name, status in here:
        if newest - status.revision > _LAG:
            yield Finding(
                "warning", name, f"is {newest - status.revision} revisions behind: disk or network is too slow"
            )


def _alone(name: str, status: MemberStatus, quota_bytes: int) -> Iterator[Finding]:
    if status.error:
        yield Finding("error", name, status.error)
        return
    for alarm in status.alarms:
        if "NOSPACE" in alarm:
            text = "has no space left and refuses writes: calico etcd compact, calico etcd defrag --lift-alarm"
            yield Finding("error", name, text)
        else:
            yield Finding("error", name, f"raises {alarm}: remove it, delete its data and add it again")
    if status.db_size > _NEARLY_FULL * quota_bytes:
        share = 100 * status.db_size // quota_bytes
        yield Finding(
            "warning",
            name,
            f"its database has {share} % of its quota: calico etcd compact and defrag, or raise quotaBytes",
        )
    elif status.db_size > 2 * status.db_size_in_use and status.db_size > _WORTH_IT:
        yield Finding("note", name, "less than half of its database is in use: calico etcd defrag")
    version = tuple(map(int, re.findall(r"\d+", status.version)[:3]))
    if version and version < _OLDEST:
        yield Finding(
            "note", name, f"etcd {status.version} lacks fixes for lost watch events and access control: 3.5.16 has them"
        )
