"""Client and informer against answers that the API server of the other tests does not give: watch-list, pages, 410s."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from calico.errors import AlreadyExists, Conflict, InvalidInput, NotFound, Transient
from calico.orchestrators.kubernetes.api.client import Client
from calico.orchestrators.kubernetes.api.connection import APIConnection, TokenFile, in_cluster, read_kubeconfig
from calico.orchestrators.kubernetes.api.informer import Informer, Key
from calico.orchestrators.kubernetes.api.refusals import Expired, Forbidden, TooManyRequests, Unauthorized

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Serve = Callable[[Handler], Awaitable[str]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    runners = []

    async def start(handler: Handler) -> str:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", handler)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        runners.append(runner)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}"

    yield start
    for runner in runners:
        await runner.cleanup()


def thing(name: str, version: int = 1, **labels: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "n", "resourceVersion": str(version), "labels": labels}}


def line(kind: str, body: dict[str, Any]) -> bytes:
    return json.dumps({"type": kind, "object": body}).encode() + b"\n"


def refused(status: int, reason: str = "") -> web.Response:
    return web.json_response({"kind": "Status", "code": status, "reason": reason, "message": "because"}, status=status)


async def stream(request: web.Request, *chunks: bytes, stay: bool = False) -> web.StreamResponse:
    answer = web.StreamResponse()
    await answer.prepare(request)
    for chunk in chunks:
        await answer.write(chunk)
    if stay:
        await asyncio.sleep(30)
    return answer


@pytest.mark.parametrize(
    ("status", "reason", "error"),
    [
        (404, "NotFound", NotFound), (409, "AlreadyExists", AlreadyExists), (409, "Conflict", Conflict),
        (410, "Expired", Expired), (401, "Unauthorized", Unauthorized), (403, "Forbidden", Forbidden),
        (429, "TooManyRequests", TooManyRequests), (500, "InternalError", Transient), (503, "", Transient),
        (422, "Invalid", InvalidInput), (400, "BadRequest", InvalidInput),
    ],
)  # fmt: skip
async def test_an_answer_becomes_the_error_that_says_what_to_do(
    serve: Serve, status: int, reason: str, error: type[Exception]
) -> None:
    async def handler(request: web.Request) -> web.Response:
        return refused(status, reason)

    async with Client(APIConnection(server=await serve(handler))) as client:
        with pytest.raises(error, match="GET /x: because") as told:
            await client.get("/x")
        assert type(told.value) is error


async def test_a_list_is_read_in_pages_and_every_item_knows_its_kind(serve: Serve) -> None:
    async def handler(request: web.Request) -> web.Response:
        at = int(request.query.get("continue", "0"))
        assert request.query["limit"] == "2"
        metadata = {"resourceVersion": "9"} | ({"continue": str(at + 2)} if at < 4 else {})
        items = [thing(f"t{n}") for n in range(at, min(at + 2, 5))]
        return web.json_response({"kind": "ThingList", "apiVersion": "v1", "metadata": metadata, "items": items})

    async with Client(APIConnection(server=await serve(handler)), page=2) as client:
        items, version = await client.list("/things")
    assert [item["metadata"]["name"] for item in items] == ["t0", "t1", "t2", "t3", "t4"]
    assert ({(item["kind"], item["apiVersion"]) for item in items}, version) == ({("Thing", "v1")}, "9")


async def test_messages_of_a_watch_may_be_cut_anywhere_and_an_unfinished_one_is_dropped(serve: Serve) -> None:
    text = line("ADDED", thing("a")) + line("MODIFIED", thing("a", 2, x="ü")) + line("DELETED", thing("a", 3))

    async def handler(request: web.Request) -> web.StreamResponse:
        return await stream(request, *(text[at : at + 7] for at in range(0, len(text), 7)), b'{"type": "ADD')

    async with Client(APIConnection(server=await serve(handler))) as client:
        events = [event async for event in client.watch("/things", "1")]
    assert [event.type for event in events] == ["ADDED", "MODIFIED", "DELETED"]


async def test_a_refused_token_is_read_again_before_anybody_is_bothered(serve: Serve, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("old\n")

    async def handler(request: web.Request) -> web.Response:
        if request.headers["Authorization"] == "Bearer new":
            return web.json_response({"ok": True})
        file.write_text("new\n")  # whoever renews it comes just now
        return refused(401, "Unauthorized")

    async with Client(APIConnection(server=await serve(handler), token_file=str(file))) as client:
        assert await client.get("/x") == {"ok": True}


async def followed(informer: Informer, holds: Callable[[], bool]) -> None:
    task = asyncio.ensure_future(informer.run())
    try:
        async with asyncio.timeout(20):
            while not holds():
                await asyncio.sleep(0.01)
    finally:
        task.cancel()
        await asyncio.wait({task})


async def at_once(_: float) -> None:
    await asyncio.sleep(0)


async def test_a_server_that_offers_it_lists_by_watch(serve: Serve) -> None:
    asked: list[dict[str, str]] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        asked.append(dict(request.query))
        if "sendInitialEvents" in request.query:
            end = thing("", 7) | {
                "metadata": {"resourceVersion": "7", "annotations": {"k8s.io/initial-events-end": "true"}}
            }
            return await stream(request, line("ADDED", thing("a")), line("ADDED", thing("b")), line("BOOKMARK", end))
        return await stream(request, line("ADDED", thing("c", 8)), stay=True)

    changed: list[Key] = []
    async with Client(APIConnection(server=await serve(handler))) as client:
        informer = Informer(client, "/things", on_change=changed.append)
        await followed(informer, lambda: len(informer.objects) == 3)
    assert informer.synced.is_set()
    assert asked[1]["resourceVersion"] == "7"
    assert all(query["watch"] == "true" for query in asked), "no ordinary list"
    assert sorted(changed) == [("n", "a"), ("n", "b"), ("n", "c")]


async def test_after_a_410_everything_is_listed_again_and_differences_are_told(serve: Serve) -> None:
    lists = [[thing("a"), thing("b")], [thing("b", 5, new="1"), thing("c", 6)]]
    watches: list[str] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        if "sendInitialEvents" in request.query:
            return refused(422, "Invalid")
        if "watch" not in request.query:
            return web.json_response({"kind": "L", "metadata": {"resourceVersion": "3"}, "items": lists.pop(0)})
        watches.append(request.query["resourceVersion"])
        if len(watches) == 1:
            mark = line("BOOKMARK", {"metadata": {"resourceVersion": "4"}})
            gone = line("ERROR", {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"})
            return await stream(request, mark, gone)
        return await stream(request, stay=True)

    changed: list[Key] = []
    async with Client(APIConnection(server=await serve(handler))) as client:
        informer = Informer(client, "/things", on_change=changed.append, sleep=at_once)
        await followed(informer, lambda: ("n", "c") in informer.objects)
    assert set(informer.objects) == {("n", "b"), ("n", "c")}
    assert sorted(changed[:2]) == [("n", "a"), ("n", "b")]
    assert sorted(changed[2:]) == [("n", "a"), ("n", "b"), ("n", "c")]


async def test_a_watch_goes_on_where_the_last_bookmark_was(serve: Serve) -> None:
    versions: list[str] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        if "sendInitialEvents" in request.query:
            return refused(422, "Invalid")
        if "watch" not in request.query:
            return web.json_response({"kind": "L", "metadata": {"resourceVersion": "3"}, "items": []})
        versions.append(request.query["resourceVersion"])
        return await stream(request, line("BOOKMARK", {"metadata": {"resourceVersion": str(3 + 10 * len(versions))}}))

    async with Client(APIConnection(server=await serve(handler))) as client:
        informer = Informer(client, "/things", on_change=lambda key: None, sleep=at_once)
        await followed(informer, lambda: len(versions) > 2)
    assert versions[:3] == ["3", "13", "23"]


async def test_a_kind_that_the_server_does_not_know_is_empty_where_it_is_optional(serve: Serve) -> None:
    async def handler(request: web.Request) -> web.Response:
        return refused(404, "NotFound")

    async with Client(APIConnection(server=await serve(handler))) as client:
        optional = Informer(client, "/things", on_change=lambda key: None, optional=True)
        await followed(optional, optional.synced.is_set)
        needed = Informer(client, "/things", on_change=lambda key: None, sleep=at_once)
        await followed(needed, lambda: bool(needed.trouble))
    assert not needed.synced.is_set()


def test_a_kubeconfig_names_what_is_wrong_in_it(tmp_path: Path) -> None:
    path = tmp_path / "config"
    user: dict[str, Any] = {"tokenFile": "token"}
    document = {
        "current-context": "c", "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
        "clusters": [{"name": "k", "cluster": {"server": "https://x:1/", "certificate-authority-data":
                                               base64.b64encode(b"PEM").decode()}}],
        "users": [{"name": "u", "user": user}],
    }  # fmt: skip
    path.write_text(json.dumps(document))
    found = read_kubeconfig(path)
    assert (found.server, found.ca, found.token_file) == ("https://x:1", b"PEM", str(tmp_path / "token"))
    user["exec"] = {"command": "aws"}
    path.write_text(json.dumps(document))
    with pytest.raises(InvalidInput, match=r"users\.user\.exec"):
        read_kubeconfig(path)
    path.write_text(json.dumps({**document, "current-context": "d"}))
    with pytest.raises(InvalidInput, match="there is none of name 'd'"):
        read_kubeconfig(path)
    path.write_text("[")
    with pytest.raises(InvalidInput, match="cannot be read"):
        read_kubeconfig(path)


def test_a_pod_knows_the_api_by_its_environment(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("t")
    found = in_cluster({"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}, tmp_path)
    assert (found.server, found.token_file) == ("https://[fd00::1]:443", str(tmp_path / "token"))
    with pytest.raises(InvalidInput, match="not a pod"):
        in_cluster({}, tmp_path)


def test_a_token_is_read_again_when_its_file_was_replaced(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("one\n")
    token = TokenFile(str(file))
    assert token.read() == "one"
    (tmp_path / "new").write_text("two\n")
    (tmp_path / "new").rename(file)
    assert token.read() == "two"
    file.unlink()
    with pytest.raises(Transient):
        token.read()
