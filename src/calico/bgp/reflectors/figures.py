"""What a mesh and what reflectors cost, from measurements with BIRD 2.0.12 on two cores (``bench/scale.py``). Pure.

Memory is PSS of BIRD, in MB of 10^6 bytes, with one block a host; CPU is what all BIRDs together use to come up.
"""

from __future__ import annotations

import msgspec

__all__ = ["MESH_COMFORTABLE", "MESH_MOST", "Cost", "mesh_cost", "reflector_cost"]

MESH_COMFORTABLE, MESH_MOST = 50, 100
_BIRD_MB, _MB_PER_SESSION, _MB_PER_CLIENT, _CLIENT_MB = 1.0, 0.021, 0.023, 1.2
_MESH_CPU_S, _CLIENT_CPU_S = 1.9e-4, 1.6e-2  # times nodes squared, and for each host


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """Per address family. ``sessions_most`` are those of the host that has most: a reflector, where there are any."""

    sessions_total: int
    sessions_host: int
    sessions_most: int
    memory_host_mb: float
    memory_most_mb: float
    memory_total_mb: float
    cpu_start_s: float


def mesh_cost(nodes: int) -> Cost:
    """A full mesh: every host has a session with every other."""
    each = max(0, nodes - 1)
    memory = _BIRD_MB + _MB_PER_SESSION * each
    return Cost(
        sessions_total=nodes * each // 2,
        sessions_host=each,
        sessions_most=each,
        memory_host_mb=round(memory, 1),
        memory_most_mb=round(memory, 1),
        memory_total_mb=round(memory * nodes, 1),
        cpu_start_s=round(_MESH_CPU_S * nodes * nodes, 2),
    )


def reflector_cost(clients: list[int], reflectors: int) -> Cost:
    """Clusters with so many clients each, and so many reflectors each, that all know each other."""
    count, nodes = len(clients), sum(clients)
    among = count * reflectors
    most = max(clients, default=0) + max(0, among - 1)
    reflector = _BIRD_MB + _MB_PER_CLIENT * most
    return Cost(
        sessions_total=nodes * reflectors + among * (among - 1) // 2,
        sessions_host=reflectors,
        sessions_most=most,
        memory_host_mb=_CLIENT_MB,
        memory_most_mb=round(reflector, 1),
        memory_total_mb=round(_CLIENT_MB * nodes + reflector * among, 1),
        cpu_start_s=round(_CLIENT_CPU_S * (nodes + among), 2),
    )
