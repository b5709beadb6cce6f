"""``calico bgp`` on other hosts: their agents are asked through the datastore."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from calico.bgp.remote.asking import ask
from calico.bgp.remote.documents import Answer
from calico.bgp.remote.tracing import Trace, trace
from calico.cli.bgp.rows import MARKS, STAGES, cell, overview_document, peer_row, print_peers, troubles
from calico.cli.output.printing import print_data, print_table, safe
from calico.datastore.connection import load_connection, open_store
from calico.datastore.typed.store import Store
from calico.errors import NotFound, Transient
from calico.model.node import Node

if TYPE_CHECKING:
    from calico.bgp.explain.seen import SeenRoute

__all__ = ["overviews", "routes_of", "show_peers", "show_status", "show_way", "with_store"]

_T = TypeVar("_T")


def with_store(config: str | None, work: Callable[[Store], Awaitable[_T]]) -> _T:
    """What some work on the datastore comes to."""

    async def run() -> _T:
        async with open_store(load_connection(config)) as store:
            return await work(store)

    return asyncio.run(run())


async def overviews(store: Store, hosts: Sequence[str], timeout_s: float) -> Mapping[str, Answer]:
    """What each host says of itself; without names, all whose Node has BGP. NotFound names one that has no Node."""
    nodes = {node.metadata.name: node for node in await store.list("Node") if isinstance(node, Node)}
    unknown = [name for name in hosts if name not in nodes]
    if unknown:
        raise NotFound(f"there is no Node {unknown[0]}; there are {', '.join(sorted(nodes)[:10]) or 'none'}")
    chosen = hosts or [name for name, node in sorted(nodes.items()) if node.spec.bgp is not None]
    return await ask(store.backend, tuple(dict.fromkeys(chosen)), "overview", timeout_s=timeout_s)


def show_status(hosts: Sequence[str], config: str | None, timeout_s: float, output: str) -> None:
    """A line a host; exit code 1 when one does not answer or has troubles."""
    answers = with_store(config, lambda store: overviews(store, hosts, timeout_s))
    documents = {name: _document(answer) for name, answer in answers.items()}
    if output == "table":
        titles = ["HOST", "READY", "BIRD", "STATE", "SESSIONS", "DRAINED", "WHAT IS WRONG"]
        print_table(titles, [_status_line(name, document) for name, document in documents.items()])
    else:
        print_data(documents, output)
    if any("error" in document or troubles(document) for document in documents.values()):
        raise click.exceptions.Exit(1)


def _document(answer: Answer) -> dict[str, Any]:
    if answer.bird is None:
        return {"error": answer.error or "it answered something else"}
    return overview_document(answer.bird, answer.sessions, answer.status)


def _status_line(name: str, document: Mapping[str, Any]) -> list[str]:
    if "error" in document:
        return [name, "no", "", "", "", "", document["error"]]
    bird, sessions = document["bird"], document["sessions"]
    wrong = [document["not_ready"]] if document["not_ready"] else []
    wrong += [f"{item['code']} ({item['object']})" for item in document["conditions"]]
    up = f"{sessions['up']}/{sessions['total']}"
    drained = cell(document["drained"])
    return [name, cell(document["ready"]), bird["version"], bird["state"], up, drained, "; ".join(wrong)]


def show_peers(hosts: Sequence[str], config: str | None, timeout_s: float, output: str, *, down: bool) -> None:
    """The sessions of hosts; one that does not answer is named on standard error, and the exit code is 1."""
    answers = with_store(config, lambda store: overviews(store, hosts, timeout_s))
    rows = [
        {"host": name, **peer_row(session, answer.status)}
        for name, answer in answers.items()
        for session in sorted(answer.sessions, key=lambda session: session.name)
        if not (down and session.established)
    ]
    print_peers(rows, output, with_host=True)
    silent = [name for name, answer in answers.items() if answer.bird is None]
    for name in silent:
        click.echo(f"error: {name}: {safe(answers[name].error)}", err=True)
    if silent:
        raise click.exceptions.Exit(1)


def routes_of(host: str, within: str, config: str | None, timeout_s: float) -> tuple[SeenRoute, ...]:
    """The routes of another host; Transient when it does not say them."""

    async def work(store: Store) -> Answer:
        return (await ask(store.backend, (host,), "routes", prefix=within, timeout_s=timeout_s))[host]

    answer = with_store(config, work)
    if answer.error:
        raise Transient(f"{host}: {answer.error}")
    return answer.routes


def show_way(prefix: str, host: str, config: str | None, timeout_s: float, output: str) -> None:
    """The way of a prefix to a host, and where it ends."""
    found = with_store(config, lambda store: trace(store, prefix, host, timeout_s=timeout_s))
    if output != "table":
        print_data(_way(found), output)
        return
    verdict = found.verdict
    click.echo(f"{prefix} {'is' if verdict.there else 'is not'} on {host}{_because(verdict.reason)}")
    before = None
    for link in found.links:
        if link.host != before:
            click.echo(f"  {safe(link.host) or 'datastore'}")
        before = link.host
        click.echo(f"    {STAGES[link.stage]:<14}{MARKS[link.holds]:<5}{safe(link.text)}")


def _because(reason: str) -> str:
    return f": {safe(reason)}" if reason else ""


def _way(found: Trace) -> dict[str, Any]:
    return {
        "prefix": found.prefix,
        "host": found.host,
        "there": found.verdict.there,
        "reason": found.verdict.reason,
        "steps": [
            {"host": link.host, "stage": link.stage, "holds": link.holds, "text": link.text} for link in found.links
        ],
    }
