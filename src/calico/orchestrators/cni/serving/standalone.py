"""The plugin without a daemon: one process per call that connects to etcd anew. Slow, but nothing must run before."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec

from calico.datastore.connection import Connection, load_connection, open_store
from calico.errors import CalicoError
from calico.ipam.allocator import Allocator
from calico.orchestrators.cni.commands.agent import Agent, Call, Settings
from calico.orchestrators.cni.commands.plugin import Reply, answer, failure
from calico.orchestrators.cni.host.place import place_at
from calico.orchestrators.cni.protocol.fault import PluginError
from calico.orchestrators.cni.protocol.netconf import NetConf, decode_config
from calico.orchestrators.cni.protocol.request import Request
from calico.orchestrators.cni.serving.daemon import utc_now

__all__ = ["answer_alone", "etcd_of", "place_by_path"]


async def answer_alone(
    settings: Settings, environment: Mapping[str, str], stdin: bytes, plugin: str, config: str | None = None
) -> Reply:
    """One call. Calls of one container exclude one another by a lock on a file of the records' folder."""
    try:
        connection = etcd_of(stdin, config)
    except CalicoError as error:
        return failure(error, stdin)
    async with open_store(connection) as store:
        agent = Agent(
            msgspec.structs.replace(settings, standalone=True), store, Allocator(store.backend, clock=utc_now)
        )
        with _alone(settings, environment.get("CNI_CONTAINERID", "")):
            try:
                return await answer(agent, environment, stdin, plugin, place_by_path)
            finally:
                await agent.close()


def etcd_of(stdin: bytes, config: str | None) -> Connection:
    """Where etcd is: what the network configuration says, then the environment, then the file."""
    try:
        found = decode_config(stdin)
    except PluginError:
        found = NetConf()  # the command will say what is wrong with it
    given: dict[str, str | None] = {
        "etcdEndpoints": found.etcd_endpoints,
        "etcdKeyFile": found.etcd_key_file,
        "etcdCertFile": found.etcd_cert_file,
        "etcdCACertFile": found.etcd_ca_cert_file,
    }
    return load_connection(config, given=given)


def place_by_path(request: Request) -> Call:
    """The namespace that CNI_NETNS leads to, if it is one."""
    return place_at(request, os.path.abspath(request.netns)) if request.netns else Call(request=request)


@contextmanager
def _alone(settings: Settings, container_id: str) -> Iterator[None]:
    """One lock for all that have no id: a damaged call holds up nobody else for long."""
    directory = Path(settings.records)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    number = sum(container_id.encode()) % 64
    with open(directory / f"lock{number}", "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
