"""Instances ask for their metadata through Felix's real rules; a nova-metadata checks who the proxy says they are."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from compute_world import PROJECT, ComputeWorld
from felix_world import until

from calico.dataplane.netns import in_netns


@pytest.fixture
def asking(host: ComputeWorld) -> Iterator[ComputeWorld]:
    """The shared host with an IPv4 address on two instances, and requests to spare."""
    for name in ("a", "c"):
        host.configure(name)
    host.until_listening("a", "c")
    return host


@pytest.mark.parametrize("family", [4, 6])
def test_nova_learns_which_instance_of_which_project_asks_and_from_where(asking: ComputeWorld, family: int) -> None:
    for name in ("a", "c"):
        one = asking.instances[name]
        status, body, _ = asking.request(name, target="/latest/meta-data?x=1%2F2", family=family)
        assert status == 200, body
        said = json.loads(body)
        headers = {key.lower(): value for key, value in said["headers"]}
        assert said["path"] == "/latest/meta-data?x=1%2F2"
        assert headers["x-instance-id"] == one.device
        assert headers["x-tenant-id"] == PROJECT
        assert headers["x-forwarded-for"] == (one.v4 if family == 4 else one.v6)


def test_what_an_instance_says_of_itself_does_not_reach_nova(asking: ComputeWorld) -> None:
    spoofed = {
        "X-Instance-ID": "another", "x-instance-id-signature": "another", "X_Instance_ID": "another",
        "X-Tenant-ID": "another", "X-Forwarded-For": "another", "Forwarded": "for=another", "X-Real-IP": "another",
        "X-Metadata-Provider": "another", "X-Metadata-Provider-Signature": "another", "Authorization": "another",
    }  # fmt: skip
    status, body, _ = asking.request("a", headers=spoofed)
    assert status == 200
    said = json.loads(body)["headers"]
    assert not any(value.endswith("another") for _, value in said)
    assert len([1 for key, _ in said if key.lower().replace("_", "-") == "x-instance-id"]) == 1


def test_bodies_and_long_answers_go_through(asking: ComputeWorld) -> None:
    status, body, _ = asking.request("a", "POST", "/openstack/2013-04-04/password", body=b"secret" * 100)
    assert status == 200
    assert json.loads(body)["body"] == "secret" * 100
    status, body, _ = asking.request("a", target="/big")
    assert (status, len(body)) == (200, 3_000_000)
    assert asking.request("a", "POST", "/", body=b"x" * 100_000)[0] == 413


def test_an_instance_does_not_choose_whom_the_proxy_asks(asking: ComputeWorld) -> None:
    status, body, _ = asking.request("a", target="http://10.0.0.1:1/elsewhere")
    assert (status, json.loads(body)["path"]) == (200, "/elsewhere")
    assert asking.request("a", "CONNECT", "10.0.0.1:443")[0] in (400, 405)


def test_who_asks_too_often_is_told_so_and_nobody_else(asking: ComputeWorld) -> None:
    asking.until_listening("d", families=(6,))
    connection = http.client.HTTPConnection("169.254.169.254", timeout=20)
    connection.sock = asking.connect("d", 6)
    statuses = []
    for _ in range(1000):
        connection.request("GET", "/")
        with connection.getresponse() as answer:
            answer.read()
            statuses.append(answer.status)
        if statuses[-1] == 429:
            break
    connection.close()
    assert statuses[-1] == 429
    assert set(statuses[:-1]) == {200}
    assert asking.request("a")[0] == 200


def test_who_holds_many_connections_gets_no_more_and_nobody_else_notices(asking: ComputeWorld) -> None:
    with ExitStack() as held:
        for _ in range(8):
            held.enter_context(asking.connect("c"))
        with asking.connect("c") as more:
            assert more.recv(1) == b"", "a ninth connection was kept"
        assert asking.request("a", family=6)[0] == 200
    until(lambda: _answers(asking), "the instance may connect again")


def _answers(asking: ComputeWorld) -> bool:
    try:
        return asking.request("c")[0] == 200
    except OSError:
        return False


def test_nobody_but_instances_is_answered(asking: ComputeWorld) -> None:
    with in_netns(asking.netns("h"), lambda: socket.create_connection(("127.0.0.1", 8775), timeout=20)) as sock:
        sock.settimeout(20)
        assert sock.recv(1) == b""
    with pytest.raises(OSError):
        in_netns(asking.netns("x"), lambda: socket.create_connection(("192.0.2.1", 8775), timeout=2))


def test_an_instance_whose_project_nobody_knows_is_not_passed_off_as_any(asking: ComputeWorld) -> None:
    asking.write_ports("c", project_id="")
    until(lambda: asking.request("c", family=6)[0] == 404, "the instance is not known any more")


def test_trouble_with_nova_is_told_to_the_instance(asking: ComputeWorld) -> None:
    secret = asking.directory / "secret"
    secret.write_text("another secret")
    assert asking.request("c")[0] == 403
    secret.write_text("a shared secret\n")
    assert asking.nova is not None
    assert asking.nova.stdout is not None
    asking.nova.kill()
    asking.nova.wait()
    asking.nova.stdout.close()
    try:
        assert asking.request("c")[0] == 502
    finally:
        asking.start_nova()
    assert asking.request("c")[0] == 200
