"""HostEndpoint: one or all interfaces of a host itself, so that policy protects the host (spec §16.4)."""

from __future__ import annotations

from msgspec import field

from calico.model.meta import Model, Resource

__all__ = ["HostEndpoint", "HostEndpointPort", "HostEndpointSpec"]


class HostEndpointPort(Model, frozen=True, kw_only=True):
    """A named port; ``protocol`` as in JSON. All three are required."""

    name: str = ""
    protocol: int | str = ""
    port: int = 0


class HostEndpointSpec(Model, frozen=True, kw_only=True):
    """Which interface of ``node`` is meant: the one of that name (``*``: all), else one with an expected address.

    ``expected_ips`` are plain addresses.
    """

    node: str = ""
    interface_name: str = ""
    expected_ips: tuple[str, ...] = field(default=(), name="expectedIPs")
    profiles: tuple[str, ...] = ()
    ports: tuple[HostEndpointPort, ...] = ()


class HostEndpoint(Resource, frozen=True, kw_only=True):
    """An interface of a host; its labels are what global policies select it by."""

    spec: HostEndpointSpec = HostEndpointSpec()
