"""Which local endpoint an interface belongs to: the only one that names it, or none.

When several endpoints name one interface it is unknown whose packets come out of it; all of them count as absent, so
the interface is closed, until the conflict is resolved.
"""

from __future__ import annotations

from collections.abc import Iterator

from calico.calc.endpoints import Endpoint
from calico.model.keys import ResourceKey

__all__ = ["InterfaceClaims", "conflict"]


def conflict(interface: str, others: set[ResourceKey]) -> tuple[str, ...]:
    """What is wrong with an endpoint whose interface is claimed by ``others`` too; nothing when there are none."""
    if not others:
        return ()
    names = ", ".join(f"{other.namespace}/{other.name}" for other in sorted(others))
    return (f"spec.interfaceName: {interface!r} is also the interface of {names}",)


class InterfaceClaims:
    """Always true: ``_claims`` holds the keys of ``_endpoints`` by interface."""

    def __init__(self) -> None:
        self._endpoints: dict[ResourceKey, Endpoint] = {}
        self._claims: dict[str, set[ResourceKey]] = {}

    def on_endpoint(
        self, key: ResourceKey, endpoint: Endpoint | None
    ) -> Iterator[tuple[ResourceKey, Endpoint | None, tuple[str, ...]]]:
        """A local endpoint is new or changed; None: absent. Yields (key, endpoint or None, problems) of all touched;
        the problems are those of its resource, too."""
        touched = {key}
        old = self._endpoints.pop(key, None)
        if old is not None:
            claimants = self._claims[old.interface]
            claimants.discard(key)
            touched |= claimants
            if not claimants:
                del self._claims[old.interface]
        if endpoint is not None:
            self._endpoints[key] = endpoint
            claimants = self._claims.setdefault(endpoint.interface, set())
            claimants.add(key)
            touched |= claimants
        for other in touched:
            yield other, *self._state(other)

    def _state(self, key: ResourceKey) -> tuple[Endpoint | None, tuple[str, ...]]:
        endpoint = self._endpoints.get(key)
        if endpoint is None:
            return None, ()
        rivals = conflict(endpoint.interface, self._claims[endpoint.interface] - {key})
        return (None if rivals else endpoint), endpoint.problems + rivals
