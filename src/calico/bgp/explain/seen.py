"""A route of BIRD's with what has become of it on its host."""

from __future__ import annotations

import msgspec

from calico.bgp.bird.routes import KnownRoute

__all__ = ["SeenRoute"]


class SeenRoute(msgspec.Struct, frozen=True):
    """A route of BIRD's, the sessions that are told of it, and whether the kernel has it."""

    route: KnownRoute
    told: tuple[str, ...]
    in_kernel: bool
