from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from calico.bgp.bird.control import Session
from calico.bgp.bird.signatures import Signatures, parse_netstat, suspects
from calico.bgp.planning.birdplan import PeerPlan
from calico.bgp.secret import Secret

TEXT = "TcpExt: A TCPMD5NotFound TCPMD5Unexpected TCPMD5Failure TCPMinTTLDrop\nTcpExt: 9 1 2 3 4\nIpExt: X\nIpExt: 7\n"


def _peer(name: str, password: str | None) -> PeerPlan:
    secret = Secret(password) if password is not None else None
    return PeerPlan(name=name, type="NodePeer", family=4, address="10.0.0.9", remote_as=1, local_as=1, password=secret)


PEERS = (_peer("Node_with", "secret"), _peer("Node_without", None))


def _session(name: str, state: str) -> Session:
    return Session(name=name, state=state, since="")


def test_the_counters_are_found_by_name() -> None:
    assert parse_netstat(TEXT) == Signatures(3, 1, 2, 4)


@pytest.mark.parametrize("text", ["", "TcpExt: TCPMD5Failure", "TcpExt: TCPMD5Failure\nTcpExt: x\n", "garbage\n\n"])
def test_counters_that_are_not_there_are_zero(text: str) -> None:
    assert parse_netstat(text) == Signatures()


def test_this_kernel_has_the_counters() -> None:
    text = Path("/proc/net/netstat").read_text()
    assert "TCPMD5Failure" in text
    assert "TCPMinTTLDrop" in text


def test_only_what_came_since_counts() -> None:
    assert Signatures(5, 2, 2, 3).since(Signatures(3, 2, 9, 1)) == Signatures(2, 0, 0, 2)


@pytest.mark.parametrize(
    ("new", "who", "word"),
    [(Signatures(wrong=1), "Node_with", "another password"), (Signatures(missing=1), "Node_with", "has no password"),
     (Signatures(unexpected=1), "Node_without", "this one has none")],
)  # fmt: skip
def test_a_session_that_is_down_is_suspected_of_what_fits_it(new: Signatures, who: str, word: str) -> None:
    found = suspects(new, PEERS, {"Node_with": _session("Node_with", "Active")})
    assert list(found) == [who]
    assert found[who].kind == "password"
    assert word in found[who].text
    assert "secret" not in found[who].text


def test_segments_from_afar_are_laid_to_sessions_with_ttl_security_alone() -> None:
    peers = (*PEERS, msgspec.structs.replace(PEERS[1], name="Node_near", ttl_security_hops=1))
    found = suspects(Signatures(distant=1), peers, {})
    assert {name: fault.kind for name, fault in found.items()} == {"Node_near": "ttl"}


def test_sessions_that_are_up_are_not_suspected() -> None:
    running = {peer.name: _session(peer.name, "Established") for peer in PEERS}
    assert suspects(Signatures(1, 1, 1), PEERS, running) == {}
    assert suspects(Signatures(), PEERS, {}) == {}
