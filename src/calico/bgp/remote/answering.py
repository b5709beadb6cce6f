"""Answers the questions that are asked of this host through the datastore, one at a time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import structlog

from calico.bgp.explain.inquiry import canonical
from calico.bgp.explain.looking import Looker
from calico.bgp.remote.documents import (
    Answer,
    Question,
    answer_key,
    decode_question,
    encode_answer,
    questions_prefix,
)
from calico.datastore.api import Backend, Op
from calico.errors import CalicoError, InvalidInput

__all__ = ["Answerer"]

log = structlog.get_logger(__name__)

_RETRY_FIRST_S, _RETRY_MAX_S = 0.5, 10.0


class Answerer:
    """Watches this host's own questions. A question whose lease is gone gets no answer: nobody waits for it."""

    def __init__(self, backend: Backend, node: str, looker: Looker, document: Callable[[], dict[str, Any]]) -> None:
        self._backend, self._node = backend, node
        self._looker, self._document = looker, document
        self._retry_s = _RETRY_FIRST_S

    async def run(self) -> None:
        """Answer for ever."""
        while True:
            try:
                await self._follow()
            except CalicoError as error:
                log.info("questions are not followed", error=str(error), retry_s=self._retry_s)
            await asyncio.sleep(self._retry_s)
            self._retry_s = min(2 * self._retry_s, _RETRY_MAX_S)

    async def _follow(self) -> None:
        prefix = questions_prefix(self._node)
        listing = await self._backend.list(prefix)
        self._retry_s = _RETRY_FIRST_S
        for item in listing.items:
            await self._reply(item.key, item.value)
        async with contextlib.aclosing(self._backend.watch(prefix, listing.revision + 1)) as batches:
            async for batch in batches:
                for update in batch.updates:
                    if update.value is not None:
                        await self._reply(update.key, update.value)

    async def _reply(self, key: str, raw: bytes) -> None:
        try:
            question = decode_question(raw)
        except InvalidInput as error:
            log.warning("question refused", key=key, error=str(error))
            return
        answer = encode_answer(await self._answer(question))
        try:
            await self._backend.txn([Op(answer_key(key, self._node), answer, lease=question.lease)])
        except CalicoError as error:
            log.info("question not answered", key=key, error=str(error))

    async def _answer(self, question: Question) -> Answer:
        document = self._document()
        try:
            match question.what:
                case "overview":
                    bird, sessions = await self._looker.overview()
                    return Answer(host=self._node, status=document, bird=bird, sessions=tuple(sessions.values()))
                case "routes":
                    within = canonical(question.prefix) if question.prefix else ""
                    return Answer(host=self._node, routes=await self._looker.routes(within))
                case "why":
                    return Answer(host=self._node, facts=await self._looker.inquire(canonical(question.prefix)))
        except CalicoError as error:
            return Answer(host=self._node, error=str(error), status=document)
        except Exception as error:
            log.exception("question failed", what=question.what, prefix=question.prefix)
            return Answer(host=self._node, error=f"internal error: {type(error).__name__}", status=document)
