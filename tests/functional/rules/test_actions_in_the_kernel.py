"""What rules do besides letting through and dropping, seen in a real kernel: log, reject, pass far, comments."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from kernel_log import KernelLog, kernel_log

from calico.calc.messages import ActiveRule, PolicyUpdate, ProfileUpdate, RuleSide, TierPolicies
from calico.dataplane.netns import in_netns
from calico.model.keys import ResourceKey
from calico.rules.config import RulesConfig

pytestmark = [pytest.mark.root, pytest.mark.alone]  # the kernel has one log, and one switch for who may write into it

NP = ResourceKey("NetworkPolicy", "ns", "web")
OPEN = ProfileUpdate(name="open", ingress=(ActiveRule(action="allow"),), egress=(ActiveRule(action="allow"),))
FAMILIES = pytest.mark.parametrize("family", ["v4", "v6"])
HOST = {"v4": "10.65.255.1", "v6": "fd00:65::ffff"}
Direction = Literal["ingress", "egress"]


@pytest.fixture
def log() -> Iterator[KernelLog]:
    with kernel_log() as found:
        yield found


def send(workload: Any, family: str, target: str, port: int, count: int = 1) -> None:
    with workload.udp(getattr(workload, family), 0) as sender:
        for _ in range(count):
            sender.sendto(b"probe", (target, port))


def port(action: Any, number: int) -> ActiveRule:
    return ActiveRule(action=action, protocol=17, dst=RuleSide(ports=((number, number),)))


# Log


@FAMILIES
def test_a_log_rule_writes_the_policys_name_before_the_packet_and_goes_on(
    host: Any, log: KernelLog, family: str
) -> None:
    one, two = host.workloads
    host.use(RulesConfig(log_prefix=f"{host.netns} %t %k %p"))
    tier = TierPolicies(name="first", default_action="deny", ingress=(NP,))
    rules = (ActiveRule(action="log"), port("allow", 53))
    host.apply(OPEN, PolicyUpdate(key=NP, tier="first", ingress=rules, egress=()))
    host.apply(host.endpoint(one, tiers=(tier,)), host.endpoint(two, profiles=("open",)))
    with one.udp(getattr(one, family), 53) as receiver:
        send(two, family, getattr(one, family), 53)
        assert receiver.recv(100) == b"probe"
    (line,) = log.lines(host.netns)
    assert line.startswith(f"{host.netns} first NetworkPolicy ns/web: IN=cali2 OUT=cali1 ")
    assert "PROTO=UDP" in line


def test_the_longest_prefix_is_taken_whole_by_the_kernel_and_reads_back(host: Any, log: KernelLog) -> None:
    one, two = host.workloads
    host.use(RulesConfig(log_prefix=host.netns + "%p" * 9))
    long = ResourceKey("NetworkPolicy", "ns", "x" * 200)
    tier = TierPolicies(name="t", default_action="deny", ingress=(long,))
    host.apply(OPEN, PolicyUpdate(key=long, tier="t", ingress=(ActiveRule(action="log"), port("allow", 53)), egress=()))
    host.apply(host.endpoint(one, tiers=(tier,)), host.endpoint(two, profiles=("open",)))
    with one.udp(one.v4, 53) as receiver:
        send(two, "v4", one.v4, 53)
        receiver.recv(100)
    (line,) = log.lines(host.netns)
    assert line[125:].startswith(": IN=cali2")
    host.dataplane.resync()
    assert host.dataplane.apply().messages == 0


def test_a_log_rule_logs_no_more_than_its_rate_and_lets_all_packets_go_on(host: Any, log: KernelLog) -> None:
    one, two = host.workloads
    host.use(RulesConfig(log_prefix=host.netns, log_rate=(1, 86400), log_burst=3))
    tier = TierPolicies(name="t", default_action="deny", ingress=(NP,))
    rules = (ActiveRule(action="log"), port("allow", 53))
    host.apply(OPEN, PolicyUpdate(key=NP, tier="t", ingress=rules, egress=()))
    host.apply(host.endpoint(one, tiers=(tier,)), host.endpoint(two, profiles=("open",)))
    with one.udp(one.v4, 53) as receiver:
        send(two, "v4", one.v4, 53, count=10)
        assert [receiver.recv(100) for _ in range(10)] == [b"probe"] * 10
    assert len(log.lines(host.netns)) == 3
    assert "limit rate 1/day burst 3 packets log prefix" in host.nft("list", "table", "inet", "calico")
    host.dataplane.resync()
    assert host.dataplane.apply().messages == 0


# Reject


def refused(workload: Any, family: str, kind: int, target: str) -> bool:
    """Whether a connection (or the answer to a datagram) fails at once rather than after a timeout."""
    af = socket.AF_INET if family == "v4" else socket.AF_INET6
    made = in_netns(workload.netns, lambda: socket.socket(af, kind))
    with made:
        made.settimeout(5)
        made.bind((getattr(workload, family), 0))
        try:
            made.connect((target, 53))
            made.send(b"anybody there?")
            made.recv(100)
        except ConnectionRefusedError:
            return True
        except TimeoutError:
            return False
    return False


@FAMILIES
@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM], ids=["tcp", "udp"])
@pytest.mark.parametrize("way", ["into a workload", "out of a workload", "to the host"])
def test_a_rejected_packet_is_answered_so_that_the_sender_need_not_wait(
    host: Any, family: str, kind: socket.SocketKind, way: str
) -> None:
    one, two = host.workloads
    host.use(RulesConfig(deny="reject", endpoint_to_host="accept"))
    deny = PolicyUpdate(key=NP, tier="t", ingress=(ActiveRule(action="deny"),), egress=(ActiveRule(action="deny"),))
    into = TierPolicies(name="t", default_action="pass", ingress=(NP,))
    out = TierPolicies(name="t", default_action="pass", egress=(NP,))
    host.apply(OPEN, deny)
    receiver = host.endpoint(one, tiers=(into,) if way == "into a workload" else (), profiles=("open",))
    sender = host.endpoint(two, tiers=() if way == "into a workload" else (out,), profiles=("open",))
    host.apply(receiver, sender)
    assert refused(two, family, kind, HOST[family] if way == "to the host" else getattr(one, family))


# More than the kernel's jumps are deep


@FAMILIES
@pytest.mark.parametrize("direction", ["ingress", "egress"])
def test_twelve_tiers_of_sixteen_policies_decide_in_order_with_passes_between_them(
    host: Any, family: str, direction: Direction
) -> None:
    one, two = host.workloads
    tiers: list[TierPolicies] = []
    host.apply(OPEN)
    for number in range(12):
        keys = [ResourceKey("GlobalNetworkPolicy", "", f"t{number}.p{which}") for which in range(16)]
        for which, key in enumerate(keys):
            # Each policy denies a port of its own; the last of a tier passes all, and that of the last tier allows one.
            rules = [port("deny", 1000 + number * 16 + which)]
            if which == 15:
                rules.append(ActiveRule(action="pass") if number < 11 else port("allow", 9000))
            rules_of = {"ingress": (), "egress": (), direction: tuple(rules)}
            host.apply(PolicyUpdate(key=key, tier=f"t{number}", **rules_of))
        order = {direction: tuple(keys)}
        tiers.append(TierPolicies(name=f"t{number}", default_action="deny", **order))
    governed, other = (one, two) if direction == "ingress" else (two, one)
    host.apply(host.endpoint(governed, tiers=tuple(tiers)), host.endpoint(other, profiles=("open",)))
    target = getattr(one, family)
    ports = (1000, 1015, 1016, 1100, 1191, 8000, 9000)
    receivers = {number: one.udp(target, number) for number in ports}
    try:
        for number in ports:
            send(two, family, target, number)
        receivers[9000].recv(100)
        for number in ports[:-1]:
            receivers[number].setblocking(False)
            with pytest.raises(BlockingIOError):
                receivers[number].recv(100)
    finally:
        for receiver in receivers.values():
            receiver.close()


def test_a_staged_tier_among_many_leaves_the_others_verdict_alone(host: Any) -> None:
    one, two = host.workloads
    staged = [ResourceKey("StagedGlobalNetworkPolicy", "", f"s{number}") for number in range(20)]
    for key in staged:
        deny = (ActiveRule(action="deny"),)
        host.apply(PolicyUpdate(key=key, tier="t", kind="staged", ingress=deny, egress=deny))
    host.apply(OPEN, PolicyUpdate(key=NP, tier="u", ingress=(port("allow", 53),), egress=()))
    tiers = (
        TierPolicies(name="t", default_action="deny", ingress=tuple(staged)),
        TierPolicies(name="u", default_action="deny", ingress=(staged[0], NP)),
    )
    host.apply(host.endpoint(one, tiers=tiers), host.endpoint(two, profiles=("open",)))
    with one.udp(one.v4, 53) as receiver, one.udp(one.v4, 54) as closed:
        send(two, "v4", one.v4, 54)
        send(two, "v4", one.v4, 53)
        assert receiver.recv(100) == b"probe"
        closed.setblocking(False)
        with pytest.raises(BlockingIOError):
            closed.recv(100)
    ingress = [chain for chain in host.ruleset.staged_chains() if chain.direction == "ingress"]
    counts = {chain.key: host.dataplane.counts(chain.chain) for chain in ingress}
    assert counts[staged[0]] == [4, 0]
    assert counts[staged[19]] == [2, 0]


# Comments


def test_hostile_annotations_are_one_harmless_comment_that_nft_reads_back(host: Any) -> None:
    hostile = 'a="; drop table inet calico #\n\x1b]0;owned\x07 \\" \u202e\u0000 ü ' + "x" * 500
    rule = ActiveRule(action="allow", protocol=17, comment=hostile)
    host.apply(OPEN, PolicyUpdate(key=NP, tier="t", ingress=(rule,), egress=()))
    tier = TierPolicies(name="t", default_action="deny", ingress=(NP,))
    host.apply(host.endpoint(host.workloads[0], tiers=(tier,)))
    listing = host.nft("list", "table", "inet", "calico")
    (line,) = [line for line in listing.splitlines() if "a=?; drop table" in line]
    assert line.strip().startswith("meta l4proto udp accept comment ")
    assert all(" " <= character <= "~" or character in "\t\n" for character in listing)
    comments = [
        item["rule"]["comment"]
        for item in json.loads(host.nft("-j", "list", "table", "inet", "calico"))["nftables"]
        if "comment" in item.get("rule", {})
    ]
    (found,) = [comment for comment in comments if "a=?; drop table" in comment]
    assert len(found) <= 127
    host.dataplane.resync()
    assert host.dataplane.apply().messages == 0
