"""A client of the datastore in a process of its own (a channel lives in the namespace that its process is in).

Reads requests as JSON lines and answers each with one line. ``apply`` and ``delete`` go through the typed store, as
an operator's do; ``raw`` writes bytes as any other writer may; ``list`` reads.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import msgspec

from calico.datastore.api import Op
from calico.datastore.etcd.backend import EtcdBackend
from calico.datastore.typed.store import Store
from calico.errors import CalicoError, NotFound
from calico.model.kinds import BY_KIND


async def answer(store: Store, request: dict[str, Any]) -> Any:
    backend = store.backend
    revision = 0  # of our own last write: Felix's reports move the store's revision, too, and it does not watch them
    match request["do"]:
        case "apply":
            for document in request["documents"]:
                written = await store.apply(msgspec.convert(document, BY_KIND[document["kind"]].cls))
                revision = int(written.metadata.resource_version)
        case "delete":
            for kind, name, namespace in request["keys"]:
                try:
                    revision = await store.delete(kind, name, namespace)
                except NotFound:
                    pass
        case "raw":
            ops = [Op(key, None if text is None else text.encode()) for key, text in request["values"].items()]
            for start in range(0, len(ops), 100):
                revision = await backend.txn(ops[start : start + 100])
        case "list":
            return {item.key: item.value.decode() for item in (await backend.list(request["prefix"])).items}
        case "ready":
            await backend.wait_ready(20)  # type: ignore[attr-defined]
    return revision


async def main(endpoint: str) -> None:
    store = Store(EtcdBackend([endpoint]))
    while line := await asyncio.to_thread(sys.stdin.readline):
        try:
            reply = {"answer": await answer(store, json.loads(line))}
        except (CalicoError, msgspec.MsgspecError, LookupError) as error:
            reply = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(reply), flush=True)
    await store.backend.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
