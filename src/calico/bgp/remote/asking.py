"""Asks hosts through the datastore, all at once, and waits for their answers for a limited time."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Mapping
from typing import Literal

from calico.bgp.remote.documents import (
    Answer,
    Question,
    answers_prefix,
    decode_answer,
    encode_question,
    host_of_answer,
    question_key,
)
from calico.datastore.api import Backend, Op
from calico.errors import CalicoError

__all__ = ["ask"]

_OPS_PER_TXN = 100
_LEASE_BEYOND_S = 10


async def ask(
    backend: Backend,
    hosts: tuple[str, ...],
    what: Literal["overview", "routes", "why"],
    *,
    prefix: str = "",
    timeout_s: float,
) -> Mapping[str, Answer]:
    """The answers by host; one that does not answer within ``timeout_s`` has an error that says so.

    Raises what the datastore raises. Nothing of the question stays behind, whatever becomes of us.
    """
    name = secrets.token_hex(8)
    lease = await backend.grant(int(timeout_s) + _LEASE_BEYOND_S)
    found: dict[str, Answer] = {}
    try:
        revision, _ = await backend.revision()
        raw = encode_question(Question(what=what, lease=lease, prefix=prefix))
        ops = [Op(question_key(host, name), raw, lease=lease) for host in hosts]
        for start in range(0, len(ops), _OPS_PER_TXN):
            await backend.txn(ops[start : start + _OPS_PER_TXN])
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await _collect(backend, answers_prefix(name), revision + 1, hosts, found)
    finally:
        with contextlib.suppress(CalicoError):
            await backend.revoke(lease)
    silent = f"the BGP agent did not answer within {timeout_s:g} s: is `calico bgp` running there?"
    return {host: found.get(host) or Answer(host=host, error=silent) for host in hosts}


async def _collect(
    backend: Backend, prefix: str, from_revision: int, hosts: tuple[str, ...], found: dict[str, Answer]
) -> None:
    wanted = set(hosts)
    async with contextlib.aclosing(backend.watch(prefix, from_revision)) as batches:
        while wanted - found.keys():
            batch = await anext(batches)
            for update in batch.updates:
                host = host_of_answer(update.key)
                if update.value is not None and host in wanted:
                    found[host] = decode_answer(host, update.value)
