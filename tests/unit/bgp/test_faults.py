"""Why a session is down: the kind that is told apart, and that the sentence names who and what."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calico.bgp.bird.control import Session
from calico.bgp.bird.faults import Fault, fault_of

STATES = ("Idle", "Connect", "Active", "OpenSent", "OpenConfirm", "Passive", "Down", "Established")


def _session(state: str, info: str = "") -> Session:
    return Session(name="p", state=state, since="", info=info, peer_ip="10.0.0.9", remote_as=65009, local_as=64512)


@pytest.mark.parametrize(
    ("state", "info", "kind", "word"),
    [
        ("Active", "Socket: Connection refused", "refused", "10.0.0.9"),
        ("Connect", "Socket: No route to host", "no-route", "10.0.0.9"),
        ("Active", "Socket: Network is unreachable", "no-route", "no route to it"),
        ("Idle", "BGP Error: Bad peer AS", "as", "than 65009"),
        ("Idle", "Received: Bad peer AS", "as", "than 64512"),
        ("Idle", "BGP Error: Bad BGP identifier", "identifier", "router id"),
        ("Idle", "BGP Error: Hold timer expired", "hold-time", "hold time"),
        ("Down", "Error: No listening socket", "listen", "port"),
        ("Idle", "Received: Administrative shutdown", "closed", "10.0.0.9"),
        ("Idle", "BFD session down", "bfd", "BFD"),
        ("Idle", "Something new", "other", "Something new"),
        ("Passive", "", "passive", "waits"),
        ("Passive", "Socket: Connection closed", "passive", "waits"),
        ("Passive", "Received: Bad peer AS", "as", "than 64512"),
        ("Down", "", "disabled", "disabled"),
    ],
)
def test_what_bird_says_is_told_by_kind(state: str, info: str, kind: str, word: str) -> None:
    fault = fault_of(_session(state, info))
    assert fault is not None
    assert fault.kind == kind
    assert word in fault.text


def test_silence_is_a_reason_only_after_a_while_and_then_an_old_refusal_is_none() -> None:
    assert fault_of(_session("Connect")) is None
    for info in ("", "Socket: Connection refused"):
        fault = fault_of(_session("Connect", info), stuck=True)
        assert fault is not None
        assert fault.kind == "silent"


def test_a_session_that_opens_but_gets_no_further_lacks_messages() -> None:
    fault = fault_of(_session("OpenConfirm", "Socket: Connection refused"), stuck=True)
    assert fault is not None
    assert fault.kind == "ttl"


def test_what_the_kernel_counts_goes_before_what_bird_remembers() -> None:
    suspicion = Fault("password", "another password")
    assert fault_of(_session("Active", "Socket: Connection refused"), suspicion=suspicion) == suspicion
    assert fault_of(_session("Established"), suspicion=suspicion) is None


@given(st.sampled_from(STATES), st.text(max_size=60), st.booleans())
def test_any_words_of_birds_are_a_reason_in_one_sentence(state: str, info: str, stuck: bool) -> None:
    fault = fault_of(_session(state, info), stuck=stuck)
    assert (fault is None) or fault.text
    if state == "Established":
        assert fault is None
