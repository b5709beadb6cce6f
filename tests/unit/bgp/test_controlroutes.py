"""Answers to ``show route``; those in ``recorded`` are BIRD 2.0.12's, byte by byte."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calico.bgp.bird.control import Reply, ReplyDecoder, ReplyLine, parse_sessions
from calico.bgp.bird.routes import KnownRoute, parse_routes
from calico.errors import InvalidInput

RECORDED = Path(__file__).parent / "recorded"


def _recorded(name: str) -> bytes:
    return (RECORDED / f"{name}.txt").read_bytes()


def _reply(data: bytes) -> Reply:
    (reply,) = ReplyDecoder().feed(data)
    return reply


def _routes(name: str) -> tuple[KnownRoute, ...]:
    return parse_routes(_reply(_recorded(name)))


def _row(text: str) -> KnownRoute:
    (route,) = parse_routes(_reply(f"1007-Table master4:\n {text}\n0000 \n".encode()))
    return route


def test_every_route_of_every_table_is_there_with_where_it_comes_from() -> None:
    assert [(route.net, route.protocol, route.preferred) for route in _routes("routes")] == [
        ("10.65.1.1/32", "kernel4", True),
        ("10.65.1.1/32", "Mesh_10_99_0_2", False),
        ("10.65.1.1/32", "Node_10_99_0_9", False),
        ("10.65.7.1/32", "kernel4", True),
        ("10.65.9.1/32", "Node_10_99_0_9", True),
        ("10.65.9.1/32", "Mesh_10_99_0_2", False),
        ("10.65.10.1/32", "Mesh_10_99_0_2", True),
        ("10.65.10.1/32", "Node_10_99_0_9", False),
        ("10.99.0.0/24", "direct_all", True),
        ("10.99.0.0/24", "Node_10_99_0_9", False),
        ("fd65::1/128", "kernel6", True),
        ("fd99::/64", "direct_all", True),
    ]


def test_hops_attributes_and_speaker_belong_to_their_route() -> None:
    local, reflected, _ = _routes("routes")[:3]
    assert (local.hops, local.interfaces, local.preference) == (("dev cali1",), ("cali1",), 150)
    assert (reflected.hops, reflected.interfaces) == (("via 10.99.0.9 on eth0",), ("eth0",))
    assert (reflected.source, reflected.next_hop) == ("10.99.0.2", "10.99.0.9")
    assert reflected.attributes["BGP.as_path"] == "65009"
    assert local.attributes["Kernel.source"] == "80"


def test_a_next_hop_that_nobody_can_reach_is_told_apart() -> None:
    lost = _routes("routes")[7]
    assert (lost.reachable, lost.next_hop, lost.hops) == (False, "192.0.2.77", ())


def test_what_an_import_filter_keeps_aside_is_read_as_well() -> None:
    (route,) = _routes("filtered")
    assert (route.net, route.protocol) == ("10.65.8.1/32", "Node_10_99_0_9")


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


def test_a_session_tells_its_systems_families_and_what_its_filter_keeps() -> None:
    (session,) = parse_sessions(_reply(_recorded("session"))).values()
    assert (session.remote_as, session.local_as, session.internal, session.families) == (65009, 64512, False, (4,))
    assert (session.imported, session.filtered, session.exported) == (4, 1, 2)


def test_a_session_that_is_down_still_says_which_routes_it_would_carry() -> None:
    sessions = parse_sessions(_reply(_recorded("protocols")))
    assert (sessions["Node_10_99_0_9"].established, sessions["Node_10_99_0_9"].families) == (False, (4,))
    assert sessions["Mesh_fd99__2"].families == (6,)


@pytest.mark.parametrize("name", ["routes", "filtered", "protocols", "session"])
@given(sizes=st.lists(st.integers(1, 400), max_size=40))
def test_recorded_answers_do_not_depend_on_how_the_bytes_arrive(name: str, sizes: list[int]) -> None:
    data, decoder, found, position = _recorded(name), ReplyDecoder(), [], 0
    for size in [*sizes, len(data)]:
        found += decoder.feed(data[position : position + size])
        position += size
    assert found == [_reply(data)]


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
