"""A flow is judged by its first packet, once for all source ports that no rule asks for."""

from __future__ import annotations

from typing import Any

import pytest

from calico.calc.messages import (
    IPAM_POOLS,
    MASQ_POOLS,
    ActiveRule,
    EndpointUpdate,
    IPSetUpdate,
    PolicyUpdate,
    ProfileUpdate,
    RuleSide,
    TierPolicies,
)
from calico.lib.packed import addr_bytes, net
from calico.model.keys import ResourceKey
from calico.netlink.nftables.expr import ConnLimit, Fib, Limit, Rule, Verdict
from calico.netlink.nftables.objects import Chain, Hook
from calico.rules.evaluator.evaluate import Outcome
from calico.rules.evaluator.judge import Connection, Judge

KEY = ResourceKey("NetworkPolicy", "ns", "p")
ONE, TWO, OUT = (addr_bytes(text) for text in ("10.0.0.1", "10.0.0.2", "192.0.2.9"))

TO_PORT_80: dict[str, Any] = {
    "protocol": 6,
    "sport": 0,
    "dport": 80,
    "icmp": (0, 0),
    "asked_dst": b"",
    "asked_dport": 0,
}


def connection(
    came_from: str | None, goes_to: str | None, src: bytes = ONE, dst: bytes = TWO, **more: Any
) -> Connection:
    return Connection(came_from=came_from, goes_to=goes_to, src=src, dst=dst, **TO_PORT_80 | more)


def policy(*rules: ActiveRule) -> PolicyUpdate:
    return PolicyUpdate(key=KEY, tier="t", ingress=rules, egress=())


def verdict(judge: Judge, *args: Any, **more: Any) -> str | None:
    outcome = judge.judge(connection(*args, **more))
    return outcome.verdict if outcome else None


@pytest.fixture
def judge(host: Any) -> Judge:
    allow = ActiveRule(action="allow", protocol=6, dst=RuleSide(ports=((80, 80),)))
    host.say(policy(allow))
    host.workload(1)
    host.workload(2, TierPolicies(name="t", default_action="deny", ingress=(KEY,)))
    return Judge(host.state)


def test_a_flow_between_workloads_is_judged_at_both_ends(judge: Judge) -> None:
    assert verdict(judge, "cali1", "cali2") == "accept"
    assert verdict(judge, "cali1", "cali2", dport=81) == "drop"
    assert verdict(judge, "cali1", "cali2", protocol=17) == "drop"
    assert verdict(judge, "cali1", "cali2", src=OUT) == "drop"
    assert verdict(judge, "eth0", "cali2", src=OUT) == "accept"
    assert verdict(judge, "cali2", "eth0", src=TWO, dst=OUT, dport=9) == "accept"


def test_the_deciding_rule_is_the_last_of_the_trace(judge: Judge) -> None:
    outcome = judge.judge(connection("cali1", "cali2", dport=81))
    assert outcome is not None
    assert outcome.trace[-1][1] == "tier t: default deny"


def test_this_host_reaches_its_workloads_and_itself_but_they_do_not_reach_it(judge: Judge) -> None:
    assert verdict(judge, None, "cali2", src=OUT, dport=81) == "accept"
    assert verdict(judge, None, "cali9", src=OUT) == "drop"
    assert verdict(judge, None, None, src=OUT, dst=OUT) == "accept"
    assert verdict(judge, "cali1", None, dst=OUT) == "drop"


def test_an_outcome_is_remembered_until_it_is_to_be_forgotten(host: Any, judge: Judge) -> None:
    assert verdict(judge, "cali1", "cali2", sport=1000) == "accept"
    host.say(policy())
    assert verdict(judge, "cali1", "cali2", sport=2000) == "accept"
    judge.forget()
    assert verdict(judge, "cali1", "cali2", sport=1000) == "drop"


def test_an_outcome_for_one_source_port_is_remembered_until_it_is_to_be_forgotten(host: Any, judge: Judge) -> None:
    host.say(policy(ActiveRule(action="allow", protocol=6, src=RuleSide(ports=((1000, 1000),)))))
    assert [verdict(judge, "cali1", "cali2", sport=n) for n in (1000, 1001)] == ["accept", "drop"]
    host.say(policy(ActiveRule(action="allow", protocol=6, src=RuleSide(ports=((1001, 1001),)))))
    assert [verdict(judge, "cali1", "cali2", sport=n) for n in (1000, 1001)] == ["accept", "drop"]
    judge.forget()
    assert [verdict(judge, "cali1", "cali2", sport=n) for n in (1000, 1001)] == ["drop", "accept"]


@pytest.mark.parametrize("by_port", [(), (2,), (2, 3), (1, 2, 3)])
def test_no_more_outcomes_are_remembered_than_there_is_memory_for(host: Any, judge: Judge, by_port: Any) -> None:
    def ask(judge: Judge, number: int) -> str | None:
        return verdict(judge, "cali1", "cali2", sport=1, protocol=17 if number in by_port else 6, dport=number)

    host.say(policy(ActiveRule(action="allow", protocol=17, src=RuleSide(ports=((1, 1),))), ActiveRule(action="allow")))
    three, two = Judge(host.state, 3), Judge(host.state, 2)
    assert [ask(judge, number) for judge in (three, two) for number in (1, 2, 3)] == ["accept"] * 6
    host.say(policy())
    assert [ask(three, number) for number in (1, 2, 3)] == ["accept"] * 3
    assert [ask(two, number) for number in (3, 1)] == ["accept", "drop"]


def test_a_flow_of_this_host_with_itself_is_accepted_by_no_rule(judge: Judge) -> None:
    assert judge.judge(connection(None, None, src=OUT, dst=OUT)) == Outcome("accept", (), (), 0, b"", 0, True, False)


def test_a_flow_is_translated_if_its_destination_was(judge: Judge) -> None:
    for asked, status in (({}, 0), ({"asked_dst": OUT, "asked_dport": 8}, 32)):
        outcome = judge.judge(connection("eth0", "cali2", src=addr_bytes("192.0.2.1"), **asked))
        assert outcome is not None
        assert outcome.ct_status == status


def test_where_a_rule_asks_for_the_source_port_each_is_judged(host: Any, judge: Judge) -> None:
    host.say(policy(ActiveRule(action="allow", src=RuleSide(ports=((1000, 1000),)), protocol=6)))
    assert [verdict(judge, "cali1", "cali2", sport=n) for n in (999, 1000, 1000, 1001)] == [
        "drop",
        "accept",
        "accept",
        "drop",
    ]


def test_a_datagram_of_a_workload_needs_no_judgement_per_source_port(host: Any, judge: Judge) -> None:
    outcome = judge.judge(connection("cali1", "eth0", dst=OUT, protocol=17, sport=5353, dport=53))
    assert outcome is not None
    assert not outcome.source_port


def test_icmp_is_judged_by_type_and_code(host: Any, judge: Judge) -> None:
    host.say(policy(ActiveRule(action="allow", protocol=1, icmp=(8, None))))
    assert verdict(judge, "cali1", "cali2", protocol=1, icmp=(8, 0)) == "accept"
    assert verdict(judge, "cali1", "cali2", protocol=1, icmp=(13, 0)) == "drop"


def test_what_the_evaluator_does_not_know_is_not_decided(host: Any, judge: Judge) -> None:
    unknown = Rule((Fib("oif", ("daddr",)), Verdict("drop")))
    host.state.want_chain(Chain("later", (unknown,), Hook("forward", 5)))
    assert verdict(judge, "cali1", "cali2") is None


def test_logging_and_limits_decide_nothing(host: Any, judge: Judge) -> None:
    over = [Rule((limit, Verdict("drop"))) for limit in (Limit(1, 1, over=True), ConnLimit(1, over=True))]
    within = [Rule((limit, Verdict("accept"))) for limit in (Limit(1, 1), ConnLimit(1))]
    host.state.want_chain(Chain("limits", (*over, *within), Hook("forward", -10)))
    host.say(policy(ActiveRule(action="log"), ActiveRule(action="allow")))
    assert [verdict(judge, "cali1", "cali2", dport=n) for n in range(50)] == ["accept"] * 50


def test_a_missing_profile_denies(host: Any) -> None:
    host.workload(3, profiles=("missing",))
    assert verdict(Judge(host.state), "eth0", "cali3", src=OUT) == "drop"
    host.say(ProfileUpdate(name="missing", ingress=(ActiveRule(action="allow"),), egress=()))
    assert verdict(Judge(host.state), "eth0", "cali3", src=OUT) == "accept"


def test_the_endpoint_of_an_interface_is_known(host: Any) -> None:
    host.workload(4)
    found = host.ruleset.endpoint_at("cali4")
    assert isinstance(found, EndpointUpdate)
    assert found.key.name == "w4"
    assert host.ruleset.endpoint_at("cali5") is None


def test_policy_before_translation_is_asked_about_the_destination_that_the_client_asked_for(
    host: Any, judge: Judge
) -> None:
    key = ResourceKey("GlobalNetworkPolicy", "", "front")
    front = ActiveRule(action="allow", protocol=6, dst=RuleSide(ports=((30080, 30080),)))
    rules = (front, ActiveRule(action="deny"))
    host.say(PolicyUpdate(key=key, tier="t", kind="pre-dnat", ingress=rules, egress=()))
    host.link("eth0", "192.0.2.1")
    host.endpoint(pre_dnat_tiers=(TierPolicies(name="t", default_action="pass", ingress=(key,)),))
    asked = {"asked_dst": addr_bytes("192.0.2.1"), "asked_dport": 30080}
    assert verdict(judge, "eth0", "cali2", src=OUT, **asked) == "accept"
    assert verdict(judge, "eth0", "cali2", src=OUT, **asked | {"asked_dport": 30081}) == "drop"
    assert verdict(judge, "eth0", "cali2", src=OUT) == "drop"


@pytest.mark.parametrize("port", [80, 81])
def test_masquerading_does_not_decide_about_a_flow(host: Any, judge: Judge, port: int) -> None:
    members = frozenset({net("10.0.0.0/24")})
    for set_id in (IPAM_POOLS, MASQ_POOLS):
        host.say(IPSetUpdate(id=set_id, kind="nets", members=members))
    assert any(chain.hook and chain.hook.type == "nat" for chain in host.state.chains.values())
    assert verdict(judge, "cali2", "eth0", src=TWO, dst=OUT, dport=port) == "accept"
