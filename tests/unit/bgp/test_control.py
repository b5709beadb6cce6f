from __future__ import annotations

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
    same_moment,
)
from calico.errors import InvalidInput

STATUS = """\
1000-BIRD 2.0.12
1011-Router ID is 10.0.0.1
 Hostname is vm
 Current server time is 2026-11-23 10:11:05.112
 Last reboot on 2026-11-23 10:11:04.304
 Last reconfiguration on 2026-11-23 10:12:04.304
0024-Graceful restart recovery in progress
 Waiting for 1 channels to recover
 Wait timer is 57.1/60
0013 Daemon is up and running
"""
PROTOCOLS = """\
2002-Name       Proto      Table      State  Since         Info
1002-device_all Device     ---        up     2026-11-23 10:11:04.304  
1006-
1002-kernel4    Kernel     master4    up     2026-11-23 10:11:04.304  
1006-  Channel ipv4
     State:          UP
     Routes:         7 imported, 8 exported, 0 preferred
 
1002-Mesh_10_0_0_2 BGP        ---        up     2026-11-23 10:11:06.100  Established   
1006-  BGP state:          Established
     Neighbor address: 10.0.0.2
     Neighbor AS:      64512
     Local AS:         64512
   Channel ipv4
     State:          UP
     Routes:         3 imported, 2 exported, 3 preferred
     Route change stats:     received   rejected   filtered    ignored   accepted
       Import updates:              3          0          0          0          3
 
1002-Node_fd00__2_port_1790 BGP        ---        start  2026-11-23 10:11:04.304  Active        Socket: closed
1006-  BGP state:          Active
     Neighbor address: fd00::2%eth0
     Last error:       Socket: closed
 
1002-Global_10_0_0_9 BGP        ---        down   2026-11-23 10:11:04.304  
1006-  BGP state:          Down
     Neighbor address: 10.0.0.9
 
0000 
"""  # noqa: W291, W293 - as BIRD prints it


def _reply(text: str) -> Reply:
    (reply,) = ReplyDecoder().feed(text.encode())
    return reply


def test_status_is_read_also_while_a_graceful_restart_is_under_way() -> None:
    status = parse_status(_reply(STATUS))
    assert (status.version, status.router_id) == ("2.0.12", "10.0.0.1")
    assert status.last_reconfiguration == "2026-11-23 10:12:04.304"
    assert status.recovering
    assert status.state == "Daemon is up and running"
    assert not status.reconfiguring


def test_a_reconfiguration_in_progress_is_seen() -> None:
    assert parse_status(_reply("1000-BIRD 3.1.7\n0013 Reconfiguration in progress\n")).reconfiguring


def test_only_bgp_sessions_are_taken_and_stamps_with_a_blank_do_not_shift_columns() -> None:
    sessions = parse_sessions(_reply(PROTOCOLS))
    assert sorted(sessions) == ["Global_10_0_0_9", "Mesh_10_0_0_2", "Node_fd00__2_port_1790"]
    mesh = sessions["Mesh_10_0_0_2"]
    assert (mesh.state, mesh.since, mesh.peer_ip) == ("Established", "2026-11-23 10:11:06.100", "10.0.0.2")
    assert (mesh.imported, mesh.exported, mesh.established) == (3, 2, True)


def test_a_session_that_is_not_up_says_why() -> None:
    sessions = parse_sessions(_reply(PROTOCOLS))
    active = sessions["Node_fd00__2_port_1790"]
    assert (active.state, active.info, active.peer_ip) == ("Active", "Socket: closed", "fd00::2")
    assert sessions["Global_10_0_0_9"].state == "Down"


@pytest.mark.parametrize("stamp", ["10:11:04.304", "2026-11-23", "2026-11-23 10:11:04.304"])
def test_every_time_format_of_bird_is_understood(stamp: str) -> None:
    line = f"1002-Mesh_1_2_3_4 BGP        ---        up     {stamp}  Established   \n0000 \n"
    assert parse_sessions(_reply(line))["Mesh_1_2_3_4"].since == stamp


def test_a_session_given_up_for_want_of_a_port_is_told_apart() -> None:
    line = "1002-Mesh_1_2_3_4 BGP        ---        down   2026-11-23 10:11:04.304  Error: No listening socket\n0000 \n"
    assert parse_sessions(_reply(line))["Mesh_1_2_3_4"].cannot_listen
    assert not any(session.cannot_listen for session in parse_sessions(_reply(PROTOCOLS)).values())


def test_routes_held_for_an_absent_neighbour_are_worth_sparing() -> None:
    text = PROTOCOLS.replace("Established", "Connect")
    sessions = parse_sessions(_reply(text))
    assert sessions["Mesh_10_0_0_2"].worth_sparing
    assert not sessions["Global_10_0_0_9"].worth_sparing


@pytest.mark.parametrize(
    ("said", "refreshes", "graceful"),
    [
        ("Neighbor capabilities\n       Route refresh\n       Graceful restart\n", True, True),
        ("Neighbor capabilities\n       Enhanced refresh\n       Graceful restart\n", False, True),
        ("Neighbor capabilities\n       Route refresh\n", True, False),
        ("Session:          external multihop AS4\n", True, True),
    ],
)
def test_what_the_far_end_can_do_is_what_it_says_itself(said: str, refreshes: bool, graceful: bool) -> None:
    state = "1006-  BGP state:          Established\n"
    ours = "     Local capabilities\n       Route refresh\n       Graceful restart\n     "
    text = PROTOCOLS.replace(state, state + ours + said)
    (reply,) = ReplyDecoder().feed(text.encode())
    session = parse_sessions(reply)["Mesh_10_0_0_2"]
    assert (session.refreshes, session.graceful) == (refreshes, graceful)


def test_route_counts_are_read_from_one_or_several_tables() -> None:
    assert (
        parse_route_count(
            _reply("1007-1 of 1 routes for 1 networks in table master4\n0014 Total: 12 of 13 routes for 2\n")
        )
        == 12
    )
    assert parse_route_count(_reply("0014 5 of 7 routes for 5 networks in table master4\n")) == 5
    with pytest.raises(InvalidInput):
        parse_route_count(_reply("0014 nothing\n"))


@pytest.mark.parametrize(
    ("other", "same"),
    [
        ("2026-11-26 02:25:58.572", True),
        ("2026-11-26 02:25:58.573", True),
        ("2026-11-26 02:25:58.530", True),
        ("2026-11-26 02:25:59.572", False),
        ("2026-11-25 02:25:58.572", False),
        ("02:25:58.572", False),
        ("", False),
    ],
)
def test_a_moment_that_is_told_a_millisecond_off_is_the_same_moment(other: str, same: bool) -> None:
    assert same_moment("2026-11-26 02:25:58.572", other) is same


def test_the_last_line_is_the_outcome_and_classes_eight_and_nine_are_failures() -> None:
    good = _reply("0002-Reading configuration from /x\n0022-Undo scheduled in 30 s\n0003 Reconfigured\n")
    bad = _reply("0002-Reading configuration from /x\n8002 /x:3:1 syntax error\n")
    assert (good.code, good.failed, bad.failed, bad.text) == (3, False, True, "/x:3:1 syntax error")


def test_asynchronous_log_lines_belong_to_no_reply() -> None:
    assert _reply("+<INFO> something\n0013 up\n").lines == (ReplyLine(13, "up"),)


@given(st.lists(st.integers(1, 200), max_size=30))
def test_replies_do_not_depend_on_how_the_bytes_arrive(sizes: list[int]) -> None:
    data = (STATUS + PROTOCOLS).encode()
    decoder, found, position = ReplyDecoder(), [], 0
    for size in [*sizes, len(data)]:
        found += decoder.feed(data[position : position + size])
        position += size
    assert found == [_reply(STATUS), _reply(PROTOCOLS)]


@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_replies_or_refused(data: bytes) -> None:
    try:
        replies = ReplyDecoder().feed(data)
    except InvalidInput:
        return
    for reply in replies:
        parse_status(reply)
        parse_sessions(reply)


def test_a_line_without_end_is_refused_instead_of_kept() -> None:
    decoder = ReplyDecoder()
    decoder.feed(b"x" * 1_000_000)
    with pytest.raises(InvalidInput):
        decoder.feed(b"x" * 100_000)
