"""Source ports that no run has used lately, in any process of this machine.

A connection that was tracked once is let through for as long as the kernel remembers it: two minutes for a UDP flow
that was answered. A run that happened to draw the port of such a flow would see a closed door open. So ports are not
drawn: they follow the machine's monotonic clock, and come round again only when every such flow is forgotten.
"""

from __future__ import annotations

import time

__all__ = ["FIRST", "LAST", "ROUND_S", "fresh_ports", "ports_at"]

FIRST, LAST = 32768, 60999
"""The kernel's own range for clients, where no server of a workload is expected."""

ROUND_S = 180.0
"""After this long a port comes again: longer than the kernel's timeouts for UDP, ICMP and SCTP handshakes."""


def ports_at(step: int, count: int) -> tuple[int, ...]:
    """The ports of one step: disjoint from those of all other steps of a round."""
    places = (LAST - FIRST + 1) // count
    start = FIRST + step % places * count
    return tuple(range(start, start + count))


def fresh_ports(count: int) -> tuple[int, ...]:
    """``count`` ports for one run. Waits for the next step (some 20 ms), which no other run in this process has."""
    per_second = ((LAST - FIRST + 1) // count) / ROUND_S
    step = int(time.monotonic() * per_second) + 1
    while (left := step / per_second - time.monotonic()) > 0:
        time.sleep(left)
    return ports_at(step, count)
