"""Every way in which a session can fail to come up, with real BIRDs: the status names it."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = [pytest.mark.root, pytest.mark.bird, pytest.mark.etcd]

REFUSING, SILENT, OTHER_PASSWORD, DISTANT, WANTS_ANOTHER_AS, NEAR, WRONG_AS, ABSENT = range(10, 18)
ROUTE = "198.51.100.1"
FILTER = """
table inet wall {
  chain in { type filter hook input priority 0; tcp dport 179 drop; tcp sport 179 drop; }
}
"""


def _router(number: int, *, local_as: int = 65009, our_as: int = 64512, options: str = "multihop;") -> str:
    return f"""
{{log}}
router id 10.99.0.{number};
protocol device {{ }}
protocol bgp up {{
  local 10.99.0.{number} as {local_as}; neighbor 10.99.0.1 as {our_as}; {options}
  connect delay time 1; connect retry time 2; error wait time 1, 2; ipv4 {{ import all; export all; }};
}}
"""


def _faults(host: Any) -> dict[str, tuple[str, str]]:
    """By address, the kind of fault and the sentence."""
    return {session["peer_ip"]: (session["fault"], session["info"]) for session in host.status["sessions"]}


@pytest.fixture
def host(fabric: Any) -> Any:
    """A host with a peering to a router of each kind, and to an address that no route leads to."""
    routers = {
        SILENT: _router(SILENT),
        OTHER_PASSWORD: _router(OTHER_PASSWORD, options='multihop; password "theirs";'),
        DISTANT: _router(DISTANT),
        WANTS_ANOTHER_AS: _router(WANTS_ANOTHER_AS, our_as=64999),
        # messages that come before its BIRD has told the kernel are not looked at, and so it may be up for a hold time
        NEAR: _router(NEAR, options="multihop 1; ttl security on; hold time 9; keepalive time 3;"),
        WRONG_AS: _router(WRONG_AS, local_as=65100),
    }
    fabric.bare_host(REFUSING)
    for number, text in routers.items():
        router = fabric.bare_host(number)
        if number == SILENT:
            wall = fabric.directory / "wall.nft"
            wall.write_text(FILTER)
            router.run("nft", "-f", str(wall))
        router.start_bird(text)
    fabric.secret("router", "md5", "ours")
    options: dict[int, dict[str, Any]] = {
        OTHER_PASSWORD: {"password": {"secretKeyRef": {"name": "router", "key": "md5"}}},
        DISTANT: {"ttlSecurity": 1},
    }
    for number in (REFUSING, *routers, ABSENT):
        fabric.peer(f"p{number}", node="node1", peerIP=f"10.99.0.{number}", asNumber=65009, **options.get(number, {}))
    fabric.peer("far", node="node1", peerIP=ROUTE, asNumber=65009)
    return fabric.add_host(1)


def test_the_reason_of_every_session_that_is_down_is_named(fabric: Any, host: Any) -> None:
    wanted = {
        REFUSING: ("refused", "refuses"),
        SILENT: ("silent", "neither accepts nor refuses"),
        OTHER_PASSWORD: ("password", "another password"),
        DISTANT: ("ttl", "more than 1 hops"),
        WANTS_ANOTHER_AS: ("as", "expects another AS number here than 64512"),
        NEAR: ("ttl", "messages do not arrive"),
        WRONG_AS: ("as", "has another AS number than 65009"),
        ABSENT: ("no-route", "nobody on the link answers"),
    }
    for number, (kind, word) in wanted.items():
        address = f"10.99.0.{number}"
        fabric.until(
            lambda address=address, kind=kind, word=word: (
                (found := _faults(host).get(address)) and found[0] == kind and word in found[1]
            ),
            f"the session with {address} is down because: {kind}",
            lambda address=address: str(_faults(host).get(address)),
        )
    fabric.until(lambda: _faults(host).get(ROUTE, ("",))[0] == "no-route", "the lack of a route is named")


def test_a_refusal_that_turns_into_silence_is_told_as_silence_and_a_session_that_is_up_has_no_fault(
    fabric: Any,
) -> None:
    fabric.peer("router", node="node1", peerIP="10.99.0.9", asNumber=65009)
    router, host = fabric.bare_host(9), fabric.add_host(1)
    fabric.until(lambda: _faults(host).get("10.99.0.9", ("",))[0] == "refused", "the refusal is named")
    wall = fabric.directory / "wall.nft"
    wall.write_text(FILTER)
    router.run("nft", "-f", str(wall))
    router.start_bird(_router(9))
    fabric.until(lambda: _faults(host)["10.99.0.9"][0] == "silent", "the silence is named")
    router.run("nft", "delete", "table", "inet", "wall")
    fabric.until(lambda: _faults(host)["10.99.0.9"] == ("", ""), "it comes up, and nothing is wrong")
    assert host.established == ["Node_10_99_0_9"]
