"""Keys of policies as versions before 3.29 wrote them: ``default.web`` for the policy ``web`` of the default tier.

Lists show such a policy under its name. Whoever asks for it by name is told where it is, and nobody writes a second
policy of that name beside it, which would leave the old one in force unseen.
"""

from __future__ import annotations

import msgspec

from calico.datastore.api import Backend, KeyValue, Op
from calico.errors import AlreadyExists, NotFound
from calico.model.codec import decode
from calico.model.keys import ResourceKey, key_path, parse_key

__all__ = ["POLICY_KINDS", "absent", "not_under_older_name", "older_name_condition"]

POLICY_KINDS = ("GlobalNetworkPolicy", "NetworkPolicy", "StagedGlobalNetworkPolicy", "StagedNetworkPolicy")
_HELP = "is stored under the key of an older version ({}); `calico datastore migrate-policy-names` moves it"


def not_under_older_name(key: ResourceKey) -> tuple[Op, ...]:
    """The condition for a new policy: there is none under the older key."""
    path = _older_path(key)
    return (Op(path, expect=0, check_only=True),) if path else ()


def older_name_condition(key: ResourceKey, there: KeyValue) -> tuple[Op, ...]:
    """The condition when one is there: that it stays, if it has another name; AlreadyExists if it has this one."""
    if _is(key, there):
        raise AlreadyExists(f"{key} {_HELP.format(there.key)}")
    return (Op(there.key, expect=there.mod_revision, check_only=True),)


async def absent(backend: Backend, key: ResourceKey) -> NotFound:
    """The error for a resource that has no key of its own."""
    path = _older_path(key)
    there = await backend.get(path) if path else None
    if there is not None and _is(key, there):
        return NotFound(f"{key} {_HELP.format(path)}")
    return NotFound(f"{key} does not exist")


def _older_path(key: ResourceKey) -> str:
    return key_path(msgspec.structs.replace(key, name=f"default.{key.name}")) if key.kind in POLICY_KINDS else ""


def _is(key: ResourceKey, there: KeyValue) -> bool:
    """Whether what is stored there is that policy. What cannot be read may be."""
    own = parse_key(there.key)
    found = decode(own, there.value, there.mod_revision).resource if own is not None else None
    return found is None or found.metadata.name == key.name
