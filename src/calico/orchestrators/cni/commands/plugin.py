"""One call of the plugin: which command is done by whom, and how every outcome is told to the runtime."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import msgspec

from calico.errors import CalicoError
from calico.obs.logger import Logger
from calico.orchestrators.cni.commands.agent import Agent, Call
from calico.orchestrators.cni.commands.attach import attach
from calico.orchestrators.cni.commands.check import check
from calico.orchestrators.cni.commands.collect import collect
from calico.orchestrators.cni.commands.detach import detach
from calico.orchestrators.cni.commands.ipam import check_addresses, collect_addresses, give, take_back
from calico.orchestrators.cni.commands.status import status
from calico.orchestrators.cni.protocol.fault import NothingToRemove, PluginError, error_object, fault_of
from calico.orchestrators.cni.protocol.netconf import MALFORMED, OUR_IPAM
from calico.orchestrators.cni.protocol.request import NEWEST, VERSIONS, Request, parse_request
from calico.orchestrators.cni.protocol.result import Result, render_result

__all__ = ["Reply", "answer", "failure", "version_of"]

log = Logger(__name__)

_Done = Callable[[Agent, Call], Awaitable[Result | None]]


_MAIN: Final[Mapping[str, _Done]] = {"ADD": attach, "DEL": detach, "CHECK": check, "GC": collect, "STATUS": status}
_IPAM: Final[Mapping[str, _Done]] = {
    "ADD": give,
    "DEL": take_back,
    "CHECK": check_addresses,
    "GC": collect_addresses,
    "STATUS": status,
}


class Reply(msgspec.Struct, frozen=True):
    """What the runtime sees of a call: exit code and standard output."""

    code: int = 0
    out: bytes = b""


Place = Callable[[Request], Call]
"""Finds the container's namespace, which depends on how the call came."""


async def answer(agent: Agent, environment: Mapping[str, str], stdin: bytes, plugin: str, place: Place) -> Reply:
    """Do what is asked. Every error becomes the specification's error object; nothing is raised but cancellation."""
    try:
        request = parse_request(environment, stdin, plugin)
        if request.command == "VERSION":
            return Reply(0, _encode({"cniVersion": NEWEST, "supportedVersions": VERSIONS}))
        call = place(request)
        if request.command in ("GC", "STATUS"):
            result = await _run(agent, call)
        else:
            async with agent.alone(request.container_id):
                result = await _run(agent, call)
        return Reply(0, _encode(render_result(result, request.version)) if result is not None else b"")
    except NothingToRemove as error:
        return Reply() if environment.get("CNI_COMMAND") == "DEL" else failure(error, stdin)
    except (CalicoError, OSError, TimeoutError, ExceptionGroup) as error:
        return failure(error, stdin)
    except Exception as error:
        log.error("a command failed unexpectedly", error=repr(error), exc_info=True)
        return failure(error, stdin)


def failure(error: BaseException, stdin: bytes) -> Reply:
    """An error as the runtime reads it."""
    fault: PluginError = fault_of(error)
    return Reply(1, _encode(error_object(fault, version_of(stdin))))


def version_of(stdin: bytes) -> str:
    """The version in which an error is told: the one asked for, when we know it."""
    try:
        document = msgspec.json.decode(stdin)
        asked = document.get("cniVersion") if isinstance(document, dict) else None
    except MALFORMED:
        asked = None
    return asked if asked in VERSIONS else NEWEST


async def _run(agent: Agent, call: Call) -> Result | None:
    commands = _IPAM if call.request.plugin == OUR_IPAM else _MAIN
    return await commands[call.request.command](agent, call)


def _encode(document: Mapping[str, Any]) -> bytes:
    return msgspec.json.encode(document)
