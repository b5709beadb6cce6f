"""An instance of a lab's cloud, as the lab remembers it."""

from __future__ import annotations

import msgspec

__all__ = ["Instance", "tap_name"]


class Instance(msgspec.Struct, frozen=True, kw_only=True):
    """``device`` is Nova's identifier of it; ``interface`` the one inside its namespace; ``mac`` the port's."""

    name: str
    netns: str
    host: str
    port: str
    device: str
    mac: str
    interface: str = "eth0"
    own_port: bool = False
    """Whether the port was made for it, and goes with it."""

    @property
    def tap(self) -> str:
        """The interface on its host."""
        return tap_name(self.port)


def tap_name(port: str) -> str:
    """The name that Nova gives the interface of a port: the first eleven characters of its identifier."""
    return f"tap{port[:11]}"
