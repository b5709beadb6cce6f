"""The profile that everyone can read and nobody stores: ``projectcalico-default-allow`` (data model, section 4)."""

from __future__ import annotations

from calico.errors import AlreadyExists, InvalidInput
from calico.model.keys import ResourceKey
from calico.model.meta import Metadata
from calico.model.policy import Profile, ProfileSpec, Rule

__all__ = ["DEFAULT_ALLOW", "DEFAULT_ALLOW_KEY", "refuse_create", "refuse_write"]

DEFAULT_ALLOW_KEY = ResourceKey("Profile", "", "projectcalico-default-allow")
DEFAULT_ALLOW = Profile(
    kind="Profile",
    metadata=Metadata(name=DEFAULT_ALLOW_KEY.name, resource_version="1"),
    spec=ProfileSpec(ingress=(Rule(action="Allow"),), egress=(Rule(action="Allow"),)),
)


def refuse_create(key: ResourceKey) -> None:
    """AlreadyExists for the virtual profile."""
    if key == DEFAULT_ALLOW_KEY:
        raise AlreadyExists(f"{key} exists always and cannot be created")


def refuse_write(key: ResourceKey) -> None:
    """InvalidInput for a change of the virtual profile."""
    if key == DEFAULT_ALLOW_KEY:
        raise InvalidInput("it is built in and can be neither changed nor deleted", subject=str(key))
