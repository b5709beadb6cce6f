"""Writing to a lab's datastore from inside the lab: a short process that runs in one of its namespaces.

etcd listens within the lab only. ``register`` is called from outside and starts ``python -m calico.lab.registrar``
in a namespace that reaches etcd; the process reads one request on standard input and answers on standard output.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Any

import msgspec

from calico.errors import CalicoError, NotFound, Transient

__all__ = ["Request", "register", "to_resource"]

_WAIT_S = 20.0


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """Apply documents, then delete (kind, namespace, name); ``initialise`` first on a new datastore."""

    endpoints: tuple[str, ...]
    initialise: bool = False
    apply: tuple[dict[str, Any], ...] = ()
    delete: tuple[tuple[str, str, str], ...] = ()


class _Answer(msgspec.Struct, frozen=True, kw_only=True):
    revision: int = 0
    error: str = ""


def register(netns: str, request: Request, environment: dict[str, str]) -> int:
    """Carry out the request within the namespace; the revision of its last write. Transient says what failed."""
    done = subprocess.run(
        ["nsenter", f"--net=/run/netns/{netns}", sys.executable, "-m", "calico.lab.registrar"],
        input=msgspec.json.encode(request),
        capture_output=True,
        env=environment,
        check=False,
    )
    if done.returncode != 0:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["it said nothing"]
        raise Transient(f"the lab's datastore cannot be written: {last[0]}")
    answer = msgspec.json.decode(done.stdout, type=_Answer)
    if answer.error:
        raise Transient(f"the lab's datastore refused: {answer.error}")
    return answer.revision


async def _serve(request: Request) -> int:
    from calico.datastore.etcd.backend import EtcdBackend
    from calico.datastore.typed.initialise import initialise
    from calico.datastore.typed.store import Store

    backend = EtcdBackend(request.endpoints)
    try:
        await backend.wait_ready(_WAIT_S)
        store = Store(backend)
        if request.initialise:
            await initialise(store, cluster_type="lab")
        revision = 0
        for document in request.apply:
            written = await store.apply(to_resource(document))
            revision = max(revision, int(written.metadata.resource_version))
        for kind, namespace, name in request.delete:
            try:
                revision = max(revision, await store.delete(kind, name, namespace))
            except NotFound:
                pass  # somebody was faster; what we want is that it is not there
        return revision
    finally:
        await backend.close()


def to_resource(document: dict[str, Any]) -> Any:
    """The typed resource of a document; InvalidInput naming it and what is wrong."""
    from calico.errors import InvalidInput
    from calico.model.codec import decode
    from calico.model.keys import ResourceKey
    from calico.model.kinds import kind_info

    metadata = document.get("metadata") or {}
    kind = str(document.get("kind", ""))
    namespace = metadata.get("namespace", "default") if kind_info(kind).namespaced else ""
    key = ResourceKey(kind, namespace, str(metadata.get("name", "")))
    found = decode(key, msgspec.json.encode(document), 0)
    if found.resource is None or found.problems:
        raise InvalidInput("; ".join(str(problem) for problem in found.problems), subject=str(key))
    bare = msgspec.structs.replace(found.resource.metadata, resource_version="", namespace=namespace)
    return msgspec.structs.replace(found.resource, metadata=bare)


def main() -> None:
    """Entry point of the process within the namespace."""
    request = msgspec.json.decode(sys.stdin.buffer.read(), type=Request)
    try:
        answer = _Answer(revision=asyncio.run(_serve(request)))
    except CalicoError as error:
        answer = _Answer(error=str(error))
    sys.stdout.buffer.write(msgspec.json.encode(answer))


if __name__ == "__main__":
    main()
