"""Health and metrics over HTTP, asked on loopback."""

from __future__ import annotations

import json
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry, Gauge

from calico.obs.listeners import HealthWanted, Listeners, MetricsWanted


def free_port(host: str = "127.0.0.1") -> int:
    with socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET) as sock:
        return int(sock.getsockname()[1])


def ask(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


class Wrong:
    """What is wrong now."""

    def __init__(self) -> None:
        self.problems: list[str] = []


@pytest.fixture
def wrong() -> Wrong:
    return Wrong()


@pytest.fixture
def listeners(wrong: Wrong) -> Iterator[Listeners]:
    registry = CollectorRegistry()
    Gauge("answer", "The answer.", registry=registry).set(42)
    made = Listeners({"/liveness": list, "/readiness": lambda: list(wrong.problems)}, registry)
    try:
        yield made
    finally:
        made.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_each_check_has_a_path_and_says_what_is_wrong(listeners: Listeners, wrong: Wrong, host: str) -> None:
    port = free_port("127.0.0.1" if host == "localhost" else host)
    listeners.want({HealthWanted(host, port)})
    assert listeners.troubles == {}
    base = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    assert ask(f"{base}/readiness") == (200, json.dumps({"ok": True, "problems": []}))
    wrong.problems.append("datastore: away")
    code, body = ask(f"{base}/readiness?verbose")
    assert (code, json.loads(body)) == (503, {"ok": False, "problems": ["datastore: away"]})
    assert ask(f"{base}/liveness")[0] == 200
    assert ask(f"{base}/else")[0] == 404


def test_metrics_are_offered_until_nobody_wants_them(listeners: Listeners) -> None:
    wanted = MetricsWanted("127.0.0.1", free_port())
    listeners.want({wanted})
    code, body = ask(f"http://127.0.0.1:{wanted.port}/metrics")
    assert code == 200
    assert "answer 42.0" in body
    listeners.want(set())
    with pytest.raises(urllib.error.URLError):
        ask(f"http://127.0.0.1:{wanted.port}/metrics")


def test_an_address_that_cannot_be_had_is_named_and_tried_again_and_the_others_listen(listeners: Listeners) -> None:
    health = HealthWanted("127.0.0.1", free_port())
    with socket.create_server(("127.0.0.1", 0)) as taken:
        metrics = MetricsWanted("127.0.0.1", taken.getsockname()[1])
        listeners.want({health, metrics})
        (name,) = listeners.troubles
        assert name == f"metrics on 127.0.0.1:{metrics.port}"
        assert ask(f"http://127.0.0.1:{health.port}/liveness")[0] == 200
    listeners.want({health, metrics})
    assert listeners.troubles == {}
    assert ask(f"http://127.0.0.1:{metrics.port}/metrics")[0] == 200


def test_half_a_certificate_is_named(listeners: Listeners) -> None:
    listeners.want({MetricsWanted("127.0.0.1", free_port(), cert="/c.pem")})
    assert "certificate and its key" in "".join(listeners.troubles.values())
    listeners.want({MetricsWanted("127.0.0.1", free_port(), clients_only=True)})
    assert "CA" in "".join(listeners.troubles.values())
    listeners.want({MetricsWanted("127.0.0.1", free_port(), cert="/none.pem", key="/none.pem")})
    assert "does not listen" in "".join(listeners.troubles.values())
