"""Answers of the control socket; those in ``recorded`` are BIRD's, byte by byte.

``tests/functional/bgp/record_answers.py`` records them.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calico.bgp.bird.control import (
    Reply,
    ReplyDecoder,
    ReplyLine,
    parse_route_count,
    parse_sessions,
    parse_status,
)
from calico.bgp.bird.routes import KnownRoute, parse_routes
from calico.errors import InvalidInput

RECORDED = Path(__file__).parent / "recorded"
VERSIONS = sorted(path.name for path in RECORDED.iterdir())
NAMES = sorted(path.stem for path in (RECORDED / "2.0.12").iterdir())
ROUTER, MESH = "Node_10_99_0_9", "Mesh_10_99_0_2"


def _recorded(version: str, name: str) -> bytes:
    return (RECORDED / version / f"{name}.txt").read_bytes()


def _reply(data: bytes) -> Reply:
    (reply,) = ReplyDecoder().feed(data)
    return reply


def _said(version: str, name: str) -> Reply:
    return _reply(_recorded(version, name))


def _routes(version: str, name: str) -> dict[tuple[str, str], KnownRoute]:
    return {(route.net, route.protocol): route for route in parse_routes(_said(version, name))}


def _row(text: str) -> KnownRoute:
    (route,) = parse_routes(_reply(f"1007-Table master4:\n {text}\n0000 \n".encode()))
    return route


def test_three_versions_have_been_recorded_with_the_same_questions() -> None:
    assert VERSIONS == ["2.0.12", "2.17.6", "3.1.8"]
    for version in VERSIONS:
        assert sorted(path.stem for path in (RECORDED / version).iterdir()) == NAMES


@pytest.mark.parametrize("version", VERSIONS)
def test_every_route_of_every_table_is_there_with_where_it_comes_from(version: str) -> None:
    found = {key: route.preferred for key, route in _routes(version, "routes").items()}
    assert found == {
        ("10.65.1.1/32", "kernel4"): True,
        ("10.65.1.1/32", ROUTER): False,
        ("10.65.7.1/32", "kernel4"): True,
        ("10.65.9.1/32", ROUTER): True,
        ("10.65.10.1/32", ROUTER): True,
        ("10.99.0.0/24", "direct_all"): True,
        ("10.99.0.0/24", ROUTER): False,
        ("fd65::1/128", "kernel6"): True,
        ("fd99::/64", "direct_all"): True,
    }
    assert _routes(version, "routes-brief").keys() == found.keys()
    assert {net for net, _ in _routes(version, "within")} == {f"10.65.{n}.1/32" for n in (1, 7, 9, 10)}
    assert _routes(version, "covering").keys() == {("10.65.1.1/32", "kernel4"), ("10.65.1.1/32", ROUTER)}


@pytest.mark.parametrize("version", VERSIONS)
def test_hops_and_attributes_belong_to_their_route_and_have_one_name_in_all_versions(version: str) -> None:
    routes = _routes(version, "routes")
    local, learned = routes["10.65.1.1/32", "kernel4"], routes["10.65.1.1/32", ROUTER]
    assert (local.hops, local.interfaces, local.preference) == (("dev cali1",), ("cali1",), 150)
    assert (learned.hops, learned.interfaces) == (("via 10.99.0.9 on eth0",), ("eth0",))
    assert learned.next_hop == "10.99.0.9"
    names = ("BGP.as_path", "BGP.origin", "BGP.next_hop", "BGP.local_pref")
    assert [learned.attributes[name] for name in names] == ["65009", "IGP", "10.99.0.9", "100"]
    assert (local.attributes["Kernel.source"], local.attributes["Kernel.metric"]) == ("80", "0")


@pytest.mark.parametrize("version", VERSIONS)
def test_a_next_hop_that_nobody_can_reach_is_told_apart(version: str) -> None:
    lost = _routes(version, "routes")["10.65.10.1/32", ROUTER]
    assert (lost.reachable, lost.next_hop, lost.hops, lost.source) == (False, "192.0.2.77", (), "10.99.0.9")


@pytest.mark.parametrize("version", VERSIONS)
def test_what_filters_do_is_told_by_the_routes_that_come_back(version: str) -> None:
    assert list(_routes(version, "filtered")) == [("10.65.8.1/32", ROUTER)]
    assert list(_routes(version, "export")) == [("10.65.1.1/32", "kernel4")]
    assert list(_routes(version, "noexport")) == [("10.99.0.0/24", "direct_all")]
    assert list(_routes(version, "kernel")) == [("10.65.9.1/32", ROUTER)]
    assert list(_routes(version, "filter")) == [("10.65.9.1/32", ROUTER)]
    assert _routes(version, "unknown-network") == {}


@pytest.mark.parametrize("version", VERSIONS)
def test_what_cannot_be_answered_is_refused_by_bird_and_by_the_parser(version: str) -> None:
    for name in ("unknown-command", "unknown-protocol"):
        reply = _said(version, name)
        assert (reply.code, reply.failed) == (9001, True)
        with pytest.raises(InvalidInput, match="refuses the question"):
            parse_routes(reply)


@pytest.mark.parametrize("version", VERSIONS)
def test_status_tells_version_times_and_a_restart_that_is_not_over(version: str) -> None:
    status = parse_status(_said(version, "status"))
    assert (status.version, status.router_id, status.recovering) == (version, "10.99.0.1", False)
    assert status.state == "Daemon is up and running"
    assert status.last_reboot.startswith("2026-")
    assert status.last_reconfiguration.startswith("2026-")
    assert parse_status(_said(version, "recovering")).recovering


OUTCOMES = {
    "greeting": 1,
    "check": 20,
    "configure": 3,
    "configure-timeout": 3,
    "configure-timeout-again": 3,
    "confirm": 18,
    "confirm-nothing": 19,
    "undo": 3,
    "undo-nothing": 19,
    "refused": 8002,
    "restrict": 16,
    "restricted": 8007,
    "graceful-restart": 25,
    "eval": 23,
    "configure-fewer": 4,
    "configure-more": 3,
    "count": 14,
    "unknown-network": 8001,
    "status": 13,
}


@pytest.mark.parametrize("version", VERSIONS)
def test_the_outcome_of_every_command_has_its_code(version: str) -> None:
    assert {name: _said(version, name).code for name in OUTCOMES} == OUTCOMES
    within = {"disabled": 9, "enabled": 11, "enabled-already": 10, "restart": 12, "memory": 1018, "interfaces": 1001}
    for name, code in within.items():
        assert _said(version, name).lines[0].code == code
        assert not _said(version, name).failed
    assert parse_route_count(_said(version, "count")) == 9
    assert [line.code for line in _said(version, "configure-timeout").lines] == [2, 22, 3]
    assert re.search(r"broken.conf:[0-9]+:10 syntax error", _said(version, "refused").text)


CODES = {0, 1, 2, 3, 4, 9, 10, 11, 12, 13, 14, 15, 16, 18, 19, 20, 21, 22, 23, 24, 25}
CODES |= {1000, 1001, 1002, 1003, 1004, 1006, 1007, 1008, 1011, 1012, 1018, 2002, 8001, 8002, 8007, 9001}


@pytest.mark.parametrize("version", VERSIONS)
def test_every_code_that_is_known_has_been_recorded(version: str) -> None:
    found = {line.code for name in NAMES for line in _said(version, name).lines}
    assert found >= CODES - ({15} if version.startswith("3") else set())


@pytest.mark.parametrize("version", VERSIONS)
def test_only_bird_2_reloads_one_direction_by_this_word(version: str) -> None:
    assert _said(version, "reload").lines[0].code == (9001 if version.startswith("3") else 15)


def test_a_route_that_the_kernel_refused_is_preferred_and_refused() -> None:
    route = _row("10.65.2.1/32         unicast [Mesh_1 2026-11-26 02:04:32.711] ! (100) [i]")
    assert (route.preferred, route.refused) == (True, True)


@pytest.mark.parametrize("told", ["(100s) [i]", "(100s/20) [AS65001?]"])
def test_a_route_of_a_session_that_is_gone_is_stale(told: str) -> None:
    assert _row(f"10.65.2.1/32         unicast [Mesh_1 02:04:32.711 from 10.0.0.2] * {told}").stale


def test_a_distance_or_an_unknown_one_makes_nothing_stale() -> None:
    assert not _row("10.65.2.1/32         unicast [Mesh_1 02:04:32.711] * (100/20) [AS65001i]").stale
    assert not _row("fd65::/64            blackhole [blocks6 2026-11-26] * (100/?) [i]").stale


def test_a_prefix_that_is_longer_than_its_column_is_read() -> None:
    route = _row("2001:db8:1111:2222:3333:4444:5555:6666/128 unicast [Mesh_1 2026-11-26 02:04:32.711] * (100) [i]")
    assert route.net == "2001:db8:1111:2222:3333:4444:5555:6666/128"


def test_words_after_the_interface_are_no_part_of_the_way() -> None:
    (route,) = parse_routes(
        _reply(
            b"1007-10.65.2.0/24        unicast [Mesh_1 2026-11-26 02:04:32.711] * (100) [i]\n"
            b" \tvia 10.0.0.2 on eth0 onlink weight 1\n \tvia 10.0.0.3 on eth1 weight 1\n0000 \n"
        )
    )
    assert route.hops == ("via 10.0.0.2 on eth0", "via 10.0.0.3 on eth1")


def test_an_unknown_network_has_no_routes_and_a_refused_question_is_an_error() -> None:
    assert parse_routes(_reply(b"8001 Network not found\n")) == ()
    with pytest.raises(InvalidInput, match="No valid tables"):
        parse_routes(_reply(b"9001 No valid tables\n"))


def test_a_line_that_is_no_route_is_refused_instead_of_passed_over() -> None:
    with pytest.raises(InvalidInput, match="something else"):
        _row("something else")


@pytest.mark.parametrize("version", VERSIONS)
def test_a_session_tells_its_systems_families_and_what_its_filter_keeps(version: str) -> None:
    (session,) = parse_sessions(_said(version, "session")).values()
    assert (session.remote_as, session.local_as, session.internal, session.families) == (65009, 64512, False, (4,))
    assert (session.imported, session.filtered, session.exported) == (4, 1, 2)
    assert (session.state, session.peer_ip, session.info) == ("Established", "10.99.0.9", "")
    sessions = parse_sessions(_said(version, "protocols"))
    assert {name: (found.established, found.families) for name, found in sessions.items()} == {
        ROUTER: (True, (4,)),
        MESH: (True, (4,)),
        "Mesh_fd99__2": (True, (6,)),
    }


@pytest.mark.parametrize("version", VERSIONS)
def test_a_session_that_is_down_still_says_which_routes_it_would_carry(version: str) -> None:
    session = parse_sessions(_said(version, "disabled-session"))[ROUTER]
    assert (session.established, session.families, session.state) == (False, (4,), "Down")


@pytest.mark.parametrize("version", VERSIONS)
@given(sizes=st.lists(st.integers(1, 900), max_size=60), data=st.data())
def test_a_dialogue_does_not_depend_on_how_the_bytes_arrive(
    version: str, sizes: list[int], data: st.DataObject
) -> None:
    """Any recorded answers one after the other, with log lines between them, in any chunks."""
    names = data.draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4))
    stream = b"+<INFO> Reconfigured\n".join(_recorded(version, name) for name in names)
    decoder, found, position = ReplyDecoder(), [], 0
    for size in [*sizes, len(stream)]:
        found += decoder.feed(stream[position : position + size])
        position += size
    assert found == [_said(version, name) for name in names]


@given(st.lists(st.builds(ReplyLine, st.sampled_from([1007, 1008, 1012, 13]), st.text(max_size=60)), min_size=1))
def test_arbitrary_lines_are_routes_or_refused(lines: list[ReplyLine]) -> None:
    try:
        parse_routes(Reply((*lines, ReplyLine(0, ""))))
    except InvalidInput:
        return


_NETS = st.sampled_from(["10.65.0.0/26", "10.65.0.1/32", "0.0.0.0/0"])
_HOPS = st.lists(st.sampled_from(["via 10.0.0.2 on eth0", "via fe80::1 on eth1", "dev cali1"]), max_size=2).map(tuple)
_ROUTES = st.builds(
    KnownRoute,
    net=_NETS,
    kind=st.sampled_from(["unicast", "blackhole", "unreachable"]),
    protocol=st.sampled_from(["kernel4", "Mesh_10_0_0_2"]),
    since=st.sampled_from(["2026-11-26 02:07:47.838", "02:07:47.838", "2026-11-26"]),
    source=st.sampled_from(["", "10.0.0.2", "fd00::2"]),
    preferred=st.booleans(),
    stale=st.booleans(),
    preference=st.integers(0, 65535),
    hops=_HOPS,
    attributes=st.dictionaries(st.sampled_from(["Type", "BGP.local_pref"]), st.sampled_from(["", "100"])),
)


@given(st.lists(_ROUTES, max_size=8))
def test_what_is_printed_as_bird_does_is_read_back(routes: list[KnownRoute]) -> None:
    lines, before = [b"1007-Table master4:"], ""
    for route in routes:
        net = route.net if route.net != before else ""
        before = route.net
        told = f" from {route.source}" if route.source else ""
        mark = " *" if route.preferred else ""
        info = f"({route.preference}{'s' if route.stale else ''}) [i]"
        lines.append(f"1007-{net:<20} {route.kind} [{route.protocol} {route.since}{told}]{mark} {info}".encode())
        lines += [f" \t{hop}".encode() for hop in route.hops]
        lines += [f"1012-\t{key}: {value}".encode() for key, value in route.attributes.items()]
    assert parse_routes(_reply(b"\n".join([*lines, b"0000 ", b""]))) == tuple(routes)
