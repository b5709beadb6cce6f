"""``calico bgp drain``: lets neighbours route around a host before its maintenance, and ends that."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import click
import msgspec

from calico.datastore.connection import DEFAULT_CONFIG, load_connection, open_store
from calico.errors import Conflict, Transient

if TYPE_CHECKING:
    from calico.bgp.remote.documents import Answer
    from calico.datastore.typed.store import Store

__all__ = ["drain"]

_ATTEMPTS = 5
_ASK_AGAIN_S = 0.3


@click.command()
@click.argument("host", required=False)
@click.option("--undo", is_flag=True, help="Take the host into service again.")
@click.option(
    "-c", "--config", help=f"CalicoAPIConfig file; default {DEFAULT_CONFIG}. ETCD_... in the environment wins."
)
@click.option(
    "--timeout",
    type=click.FloatRange(0, 300),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait until the host's agent confirms; 0: do not.",
)
@click.pass_context
def drain(context: click.Context, host: str | None, undo: bool, config: str | None, timeout: float) -> None:
    """Let neighbours route around HOST (this host, unless named) wherever they know another way; no session is reset.

    Its routes bear the community GRACEFUL_SHUTDOWN (65535:0, RFC 8326), and within the own AS the lowest local
    preference. Routers of other systems must honour the community. What only HOST has stays reachable. It holds, over
    restarts too, until --undo. Exit code 1 when the agent of HOST does not confirm in time.
    """
    given = context.parent.params["node"] if context.parent is not None else None
    name = host or given or socket.gethostname().lower()
    click.echo(asyncio.run(_drain(name, config, timeout, wanted=not undo)))


async def _drain(name: str, config: str | None, timeout_s: float, *, wanted: bool) -> str:
    what = "drained" if wanted else "in service"
    async with open_store(load_connection(config)) as store:
        revision = await _write(store, name, wanted=wanted)
        if not timeout_s:
            return f"{name} is to be {what}"
        answer = await _confirmation(store, name, revision, timeout_s, wanted=wanted)
    up = sum(session.established for session in answer.sessions)
    told = f"; {up} of {len(answer.sessions)} sessions are told" if wanted else ""
    return f"{name} is {what}{told}"


async def _write(store: Store, name: str, *, wanted: bool) -> int:
    """Set or remove the annotation of the Node; the revision from which on it holds."""
    from calico.bgp.planning.peerannotations import DRAIN

    for _ in range(_ATTEMPTS):
        node = await store.get("Node", name)
        annotations = {key: value for key, value in node.metadata.annotations.items() if key != DRAIN}
        if wanted:
            annotations[DRAIN] = "true"
        if annotations == node.metadata.annotations:
            return int(node.metadata.resource_version)
        metadata = msgspec.structs.replace(node.metadata, annotations=annotations)
        try:
            written = await store.replace(msgspec.structs.replace(node, metadata=metadata))
        except Conflict:
            continue
        return int(written.metadata.resource_version)
    raise Conflict(f"Node {name} keeps changing: try again")


async def _confirmation(store: Store, name: str, revision: int, timeout_s: float, *, wanted: bool) -> Answer:
    """What the host says once its BIRD runs with it."""
    from calico.bgp.remote.asking import ask

    loop = asyncio.get_running_loop()
    end, said = loop.time() + timeout_s, ""
    while (left := end - loop.time()) > 0:
        answer = (await ask(store.backend, (name,), "overview", timeout_s=left))[name]
        status = answer.status or {}
        done = status.get("in_sync") and status.get("config_revision", 0) >= revision
        if answer.bird is not None and done and status.get("drained") is wanted:
            return answer
        said = answer.error or status.get("not_ready") or "its BIRD does not run with it yet"
        await asyncio.sleep(_ASK_AGAIN_S)
    raise Transient(f"it is written to Node {name}, but not in force there: {said}")
