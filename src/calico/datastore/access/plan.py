"""What must change in etcd's users and roles so that they are as wanted: a plan that can be printed. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

import msgspec

from calico.datastore.access.roles import OURS, Account, Permission

__all__ = ["AuthState", "Step", "plan_roles"]

Verb = Literal["add role", "grant", "revoke", "add user", "give role", "take role", "delete user", "delete role"]


class AuthState(msgspec.Struct, frozen=True):
    """Users with the names of their roles, and roles with their permissions."""

    users: Mapping[str, frozenset[str]]
    roles: Mapping[str, frozenset[Permission]]


class Step(msgspec.Struct, frozen=True):
    """One change. ``role`` is given to or taken from the user ``subject``; ``permission`` belongs to the role."""

    verb: Verb
    subject: str
    role: str = ""
    permission: Permission | None = None

    def __str__(self) -> str:
        detail = self.role or (str(self.permission) if self.permission is not None else "")
        return f"{self.verb} {self.subject}{f': {detail}' if detail else ''}"


def plan_roles(wanted: Iterable[Account], found: AuthState, *, prune: bool = False) -> tuple[Step, ...]:
    """The steps, empty when all is as wanted; rights first, so that no user works without its own.

    What wanted users and roles have too much is taken away. ``prune``: users and roles of ours that are not wanted go.
    """
    wanted = tuple(wanted)
    roles = {role.name: frozenset(role.permissions) for account in wanted for role in account.roles}
    users = {account.user: frozenset(role.name for role in account.roles) for account in wanted}
    steps = [step for name in sorted(roles) for step in _role_steps(name, roles[name], found)]
    steps += [step for name in sorted(users) for step in _user_steps(name, users[name], found)]
    if prune:
        steps += [Step("delete user", name) for name in sorted(found.users) if _is_surplus(name, users)]
        steps += [Step("delete role", name) for name in sorted(found.roles) if _is_surplus(name, roles)]
    return tuple(steps)


def _role_steps(name: str, wanted: frozenset[Permission], found: AuthState) -> Iterator[Step]:
    if name not in found.roles:
        yield Step("add role", name)
    has = found.roles.get(name, frozenset())
    kept = {(item.key, item.end) for item in wanted}
    for permission in sorted(has - wanted):
        if (permission.key, permission.end) not in kept:  # else granting replaces it
            yield Step("revoke", name, permission=permission)
    for permission in sorted(wanted - has):
        yield Step("grant", name, permission=permission)


def _user_steps(name: str, wanted: frozenset[str], found: AuthState) -> Iterator[Step]:
    if name not in found.users:
        yield Step("add user", name)
    has = found.users.get(name, frozenset())
    for role in sorted(wanted - has):
        yield Step("give role", name, role)
    for role in sorted(has - wanted):
        yield Step("take role", name, role)


def _is_surplus(name: str, wanted: Mapping[str, object]) -> bool:
    return name.startswith(OURS) and name not in wanted
