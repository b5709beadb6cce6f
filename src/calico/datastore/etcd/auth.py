"""etcd's users, roles and whether it asks for them: administration, for which one must be root once it is enabled."""

from __future__ import annotations

from typing import Any

from calico.datastore.access.plan import AuthState, Step
from calico.datastore.access.roles import Access, Permission
from calico.datastore.etcd.backend import EtcdBackend
from calico.datastore.etcd.wire import METHODS, key_of, message, raw_key
from calico.errors import InvalidInput, NotFound

__all__ = ["EtcdAuth"]

_ACCESS: tuple[Access, ...] = ("read", "write", "readwrite")  # authpb.Permission.Type
ROOT_USER = "root"


class EtcdAuth:
    """The administration of one cluster, over a backend's connections."""

    def __init__(self, backend: EtcdBackend) -> None:
        self._client = backend.client

    async def is_enabled(self) -> bool:
        """Whether etcd asks who one is (etcd 3.4 has no call for it: logging in is refused for a different reason)."""
        try:
            await self._call("Authenticate", "asking whether users are enabled", name=ROOT_USER, password="")
        except InvalidInput as error:
            return "authentication is not enabled" not in str(error)
        return True

    async def read(self) -> AuthState:
        """All users and roles."""
        users = (await self._call("UserList", "listing users")).users
        roles = (await self._call("RoleList", "listing roles")).roles
        return AuthState(
            {name: frozenset((await self._call("UserGet", f"reading user {name}", name=name)).roles) for name in users},
            {name: await self._permissions(name) for name in roles},
        )

    async def apply(self, step: Step, password: str = "") -> None:
        """One step of a plan; ``password`` for a user to be added, who is known by certificates alone without one."""
        doing = f"to {step}"
        match step.verb:
            case "add role":
                await self._call("RoleAdd", doing, name=step.subject)
            case "delete role":
                await self._call("RoleDelete", doing, role=step.subject)
            case "add user":
                options = message("UserAddOptions")(no_password=not password)
                await self._call("UserAdd", doing, name=step.subject, password=password, options=options)
            case "delete user":
                await self._call("UserDelete", doing, name=step.subject)
            case "give role":
                await self._call("UserGrantRole", doing, user=step.subject, role=step.role)
            case "take role":
                await self._call("UserRevokeRole", doing, name=step.subject, role=step.role)
            case "grant" | "revoke":
                await self._permit(step, doing)

    async def set_password(self, user: str, password: str) -> None:
        """A new password; connections that are logged in must log in again."""
        await self._call("UserChangePassword", f"changing the password of {user}", name=user, password=password)

    async def enable(self, root_password: str) -> None:
        """Make ``root`` with this password, and ask everybody who they are from now on."""
        state = await self.read()
        if ROOT_USER in state.users:
            await self.set_password(ROOT_USER, root_password)
        else:
            await self.apply(Step("add user", ROOT_USER), root_password)
        if ROOT_USER not in state.roles:
            await self.apply(Step("add role", ROOT_USER))
        if ROOT_USER not in state.users.get(ROOT_USER, ()):
            await self.apply(Step("give role", ROOT_USER, ROOT_USER))
        await self._call("AuthEnable", "enabling users")

    async def _permissions(self, role: str) -> frozenset[Permission]:
        try:
            found = (await self._call("RoleGet", f"reading role {role}", role=role)).perm
        except NotFound:
            return frozenset()
        return frozenset(map(_permission, found))

    async def _permit(self, step: Step, doing: str) -> None:
        permission = step.permission
        assert permission is not None
        key, end = raw_key(permission.key), raw_key(permission.end)
        if step.verb == "revoke":
            await self._call("RoleRevokePermission", doing, role=step.subject, key=key, range_end=end)
            return
        perm = message("Permission")(permType=_ACCESS.index(permission.access), key=key, range_end=end)
        await self._call("RoleGrantPermission", doing, name=step.subject, perm=perm)

    async def _call(self, rpc: str, doing: str, /, **fields: Any) -> Any:
        return await self._client.call(rpc, message(METHODS[rpc].request)(**fields), doing)


def _permission(found: Any) -> Permission:
    return Permission(key_of(found.key), key_of(found.range_end), _ACCESS[found.permType])
