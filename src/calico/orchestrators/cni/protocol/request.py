"""The protocol between runtime and plugin, without I/O: environment and standard input to a request. Pure.

The rules are those of the CNI specification 1.1.0, section 2, and of its reference library where that is stricter.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, Literal, TypeAlias, cast, get_args

import msgspec

from calico.orchestrators.cni.protocol.fault import (
    INCOMPATIBLE_VERSION,
    INVALID_CONFIG,
    INVALID_ENVIRONMENT,
    NothingToRemove,
    PluginError,
)
from calico.orchestrators.cni.protocol.netconf import NetConf, decode_config

__all__ = ["NEWEST", "OLDEST", "VERSIONS", "Command", "Request", "parse_arguments", "parse_request", "version_number"]

Command: TypeAlias = Literal["ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION"]

VERSIONS: Final = ("0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
OLDEST: Final = VERSIONS[0]
NEWEST: Final = VERSIONS[-1]

_REQUIRED: Final[Mapping[str, tuple[str, ...]]] = {
    "ADD": ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"),
    "CHECK": ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"),
    "DEL": ("CNI_CONTAINERID", "CNI_IFNAME", "CNI_PATH"),
    "GC": ("CNI_PATH",),
    "STATUS": ("CNI_PATH",),
    "VERSION": (),
}
_SINCE: Final[Mapping[str, str]] = {"CHECK": "0.4.0", "GC": "1.1.0", "STATUS": "1.1.0"}
_NAME: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.\-]*")
_POD: Final = re.compile(r"[a-z0-9.\-]{0,253}")
_INTERFACE_MAX: Final = 15


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One call of a plugin. ``arguments`` are those of CNI_ARGS, ``path`` the folders of CNI_PATH; ``raw`` is what
    came on standard input, for plugins that are called in turn."""

    command: Command
    plugin: str = "calico"
    container_id: str = ""
    netns: str = ""
    interface: str = ""
    arguments: Mapping[str, str] = {}
    path: tuple[str, ...] = ()
    config: NetConf = NetConf()
    raw: bytes = b""

    @property
    def version(self) -> str:
        """The version in which the runtime wants its answer."""
        return self.config.cni_version


def parse_request(environment: Mapping[str, str], stdin: bytes, plugin: str = "calico") -> Request:
    """The request, or PluginError with the specification's code; nothing is looked at outside of what is given."""
    command = _command(environment)
    arguments = parse_arguments(environment.get("CNI_ARGS", ""))
    _check_pod(arguments)
    if command == "VERSION":
        return Request(command=command, plugin=plugin)
    config = decode_config(stdin, to_remove=command == "DEL")
    if config.cni_version not in VERSIONS:
        message = f"cniVersion {config.cni_version!r} is not supported; supported are {', '.join(VERSIONS)}"
        raise PluginError(INCOMPATIBLE_VERSION, "incompatible CNI versions", message)
    if not _NAME.fullmatch(config.name):
        raise PluginError(INVALID_CONFIG, _bad_name("name of the network", config.name))
    since = _SINCE.get(command, OLDEST)
    if version_number(config.cni_version) < version_number(since):
        message = f"{command} needs cniVersion {since} or newer, not {config.cni_version}"
        raise PluginError(INCOMPATIBLE_VERSION, message)
    return Request(
        command=command,
        plugin=plugin,
        container_id=environment.get("CNI_CONTAINERID", ""),
        netns=environment.get("CNI_NETNS", ""),
        interface=environment.get("CNI_IFNAME", ""),
        arguments=arguments,
        path=tuple(part for part in environment.get("CNI_PATH", "").split(":") if part),
        config=config,
        raw=stdin,
    )


def _check_pod(arguments: Mapping[str, str]) -> None:
    """Both names are a pod's. podman gives the name of any container as K8S_POD_NAME, and no namespace."""
    names = {key: arguments.get(key, "") for key in ("K8S_POD_NAME", "K8S_POD_NAMESPACE")}
    if not all(names.values()):
        return
    for key, name in names.items():
        if not _POD.fullmatch(name):
            raise NothingToRemove(INVALID_ENVIRONMENT, f"CNI_ARGS: {key} {name!r} is not a name of Kubernetes")


def parse_arguments(text: str) -> dict[str, str]:
    """``K=V;K=V`` of CNI_ARGS."""
    found: dict[str, str] = {}
    for part in text.split(";"):
        if not part:
            continue
        key, equals, value = part.partition("=")
        if not equals or not key:
            raise PluginError(INVALID_ENVIRONMENT, f"CNI_ARGS: {part!r} is not KEY=VALUE")
        found[key] = value
    return found


def version_number(version: str) -> tuple[int, ...]:
    """A version for comparing."""
    return tuple(int(part) for part in version.split("."))


def _command(environment: Mapping[str, str]) -> Command:
    command = environment.get("CNI_COMMAND", "")
    if command not in get_args(Command):
        what = f"CNI_COMMAND {command!r} is unknown" if command else "CNI_COMMAND is missing"
        raise PluginError(INVALID_ENVIRONMENT, what)
    missing = [name for name in _REQUIRED[command] if not environment.get(name)]
    if missing:
        raise PluginError(INVALID_ENVIRONMENT, f"required env variables [{','.join(missing)}] missing")
    container = environment.get("CNI_CONTAINERID", "")
    if container and not _NAME.fullmatch(container):
        raise PluginError(INVALID_ENVIRONMENT, _bad_name("CNI_CONTAINERID", container))
    interface = environment.get("CNI_IFNAME", "")
    if interface and not _is_interface_name(interface):
        message = f"CNI_IFNAME {interface!r} is not the name of an interface (at most {_INTERFACE_MAX} characters)"
        raise PluginError(INVALID_ENVIRONMENT, message)
    return cast("Command", command)


def _is_interface_name(name: str) -> bool:
    short = len(name.encode()) <= _INTERFACE_MAX
    return short and name not in (".", "..") and not any(c in "/:" or c.isspace() for c in name)


def _bad_name(what: str, name: str) -> str:
    if not name:
        return f"the {what} is missing"
    return f"{what} {name!r} has characters other than letters, digits, '_', '.' and '-', or begins with such"
