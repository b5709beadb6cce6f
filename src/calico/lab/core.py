"""The members of a lab's etcd: how each is, and killing, starting, cutting off and mending one while the lab runs.

Everything may be repeated: what is so already stays, and is said. Errors name the member.
"""

from __future__ import annotations

import http.client
import re
import signal
import time
from typing import Literal

import msgspec

from calico.dataplane.netns import in_netns
from calico.errors import InvalidInput, NotFound, Transient
from calico.lab.addressing import Layout, plan_layout
from calico.lab.partition import Cut, cut_of, cut_off, mend
from calico.lab.processes import alive, daemon_environment, last_words, signal_process, start_process
from calico.lab.state import LabState, ProcessRecord, lab_lock, load_state, save_state

__all__ = ["MemberState", "heal_member", "kill_member", "member_states", "partition_member", "start_member"]

_KILL_S = 10.0
_ANSWER_S = 1.0
_START_S = 0.5
_HAS_LEADER = re.compile(r"^etcd_server_has_leader (\d)", re.MULTILINE)
_IS_LEADER = re.compile(r"^etcd_server_is_leader (\d)", re.MULTILINE)


class MemberState(msgspec.Struct, frozen=True, kw_only=True):
    """One member as it is now. ``raft`` is its own word; a ``silent`` member runs and does not answer."""

    name: str
    netns: str
    address: str
    running: bool
    cut_off_from: Cut
    raft: Literal["leader", "follower", "no leader", "silent", "not running"]


def member_states(state: LabState, layout: Layout) -> list[MemberState]:
    """Of every member, in order."""
    return [_state_of(state, layout, f"etcd{number + 1}") for number in range(len(layout.etcd))]


def kill_member(lab: str, name: str) -> bool:
    """End a member as a power cut would; its data stay. False when it did not run."""
    with lab_lock(lab):
        record, _ = _found(load_state(lab), name)
        if not alive(record):
            return False
        signal_process(record, signal.SIGKILL)
        deadline = time.monotonic() + _KILL_S
        while alive(record):
            if time.monotonic() > deadline:
                raise Transient(f"etcd member {name} (pid {record.pid}) does not end")
            time.sleep(0.01)
        return True


def start_member(lab: str, name: str) -> bool:
    """Start a member on the data it had. False when it runs; Transient with its last words when it ends at once."""
    with lab_lock(lab):
        state = load_state(lab)
        record, _ = _found(state, name)
        if alive(record):
            return False
        started = start_process(record, daemon_environment(lab))
        save_state(msgspec.structs.replace(state, processes={**state.processes, record.name: started}))
        time.sleep(_START_S)
        if not alive(started):
            raise Transient(f"etcd member {name} ended at once; log: {record.log}\n{last_words(started)}")
        return True


def partition_member(lab: str, name: str, cut: Cut = "members") -> bool:
    """Cut a member off from the other members, or from everybody (``all``). False when it is so already."""
    with lab_lock(lab):
        state = load_state(lab)
        record, layout = _found(state, name)
        others = [end for number, end in enumerate(layout.etcd) if f"etcd{number + 1}" != name]
        if not others and cut == "members":
            raise InvalidInput(f"{name} is the only member of lab {lab!r}: there are no others to cut it off from")
        if cut_of(record.netns) == cut:
            return False
        cut_off(record.netns, cut, [address for end in others for address in (end.address4, end.address6)])
        return True


def heal_member(lab: str, name: str) -> bool:
    """End a partition of the member. False when there was none."""
    with lab_lock(lab):
        record, _ = _found(load_state(lab), name)
        if not cut_of(record.netns):
            return False
        mend(record.netns)
        return True


def _found(state: LabState, name: str) -> tuple[ProcessRecord, Layout]:
    layout = plan_layout(state.topology)
    members = [record.machine for record in state.processes.values() if record.kind == "etcd"]
    if name not in members:
        raise NotFound(f"lab {layout.name!r} has no etcd member {name!r}; it has {', '.join(members)}")
    return state.processes[f"etcd/{name}"], layout


def _state_of(state: LabState, layout: Layout, name: str) -> MemberState:
    record = state.processes[f"etcd/{name}"]
    running = alive(record)
    return MemberState(
        name=name,
        netns=record.netns,
        address=layout.etcd[int(name.removeprefix("etcd")) - 1].address4,
        running=running,
        cut_off_from=_cut_of(record.netns),
        raft=_raft(record.netns) if running else "not running",
    )


def _cut_of(netns: str) -> Cut:
    try:
        return cut_of(netns)
    except Transient:
        return ""  # the lab is half built: its namespace is missing


def _raft(netns: str) -> Literal["leader", "follower", "no leader", "silent"]:
    try:
        text = in_netns(netns, _metrics)
    except (OSError, http.client.HTTPException, NotFound):
        return "silent"
    has, leads = _HAS_LEADER.search(text), _IS_LEADER.search(text)
    if has is None or leads is None:
        return "silent"
    if leads[1] == "1" and has[1] == "1":
        return "leader"
    return "follower" if has[1] == "1" else "no leader"


def _metrics() -> str:
    connection = http.client.HTTPConnection("127.0.0.1", 2379, timeout=_ANSWER_S)
    try:
        connection.request("GET", "/metrics")
        return connection.getresponse().read().decode(errors="replace")
    finally:
        connection.close()
