"""What is said about a prefix, from answers that BIRD gives; hosts with real BIRDs are in tests/functional/bgp."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from calico.bgp.bird.control import Reply, ReplyDecoder
from calico.bgp.explain.inquiry import Agent, Facts, KernelEntry, agent_of, canonical, inquire
from calico.bgp.explain.why import explain
from calico.errors import InvalidInput

STATUS = "1000-BIRD 2.0.12\n1011-Router ID is 10.0.0.1\n0013 Daemon is up and running\n"
SESSION = """\
1002-{name} BGP        ---        {state}   2026-11-26 02:04:31.834  {bgp}
1006-  BGP state:          {bgp}
     Neighbor address: {address}
     Neighbor AS:      {system}
     Local AS:         64512
   Channel ipv4
     State:          {state}
 
"""  # noqa: W293 - as BIRD prints it
MESH = SESSION.format(name="Mesh_10_0_0_2", state="up", bgp="Established", address="10.0.0.2", system=64512)
TOR = SESSION.format(name="Global_10_0_0_9", state="up", bgp="Established", address="10.0.0.9", system=65001)
NONE = "8001 Network not found\n"
NOTHING = "0000 \n"
LOCAL = "10.65.1.1/32         unicast [kernel4 2026-11-26 02:04:31.835] * (150)\n \tdev cali1\n"
LEARNED = "10.65.2.0/26         unicast [Mesh_10_0_0_2 2026-11-26 02:04:32.711] * (100) [i]\n \tvia 10.0.0.2 on eth0\n"


def _table(rows: str) -> str:
    return f"1007-Table master4:\n {rows}0000 \n"


def _protocols(*sessions: str) -> str:
    return "2002-Name       Proto      Table      State  Since         Info\n" + "".join(sessions) + "0000 \n"


class Bird:
    """Answers by the question; whatever else is asked has no routes."""

    def __init__(self, answers: Mapping[str, str], *sessions: str) -> None:
        self._answers = {"show status": STATUS, "show protocols all": _protocols(*sessions), **answers}
        self.asked: list[str] = []

    def answer(self, questions: Sequence[str]) -> list[Reply]:
        self.asked += questions
        return [ReplyDecoder().feed(self._answers.get(question, NOTHING).encode())[0] for question in questions]


def _facts(
    prefix: str, bird: Bird, agent: Agent | None = None, kernel: Mapping[str, tuple[KernelEntry, ...]] | None = None
) -> Facts:
    rounds = inquire(prefix, kernel or {}, agent)
    questions = next(rounds)
    while True:
        try:
            questions = rounds.send(bird.answer(questions))
        except StopIteration as end:
            facts: Facts = end.value
            return facts


def _said(facts: Facts, stage: str) -> list[str]:
    return [step.text for step in explain(facts) if step.stage == stage]


def _exporting(net: str, name: str, rows: str, mode: str) -> dict[str, str]:
    return {f"show route {net} primary {mode} {name}": _table(rows)}


def test_a_wider_route_answers_for_the_address_inside_it() -> None:
    bird = Bird({"show route for 10.65.2.7/32 all": _table(LEARNED)}, MESH)
    facts = _facts("10.65.2.7/32", bird)
    assert facts.net == "10.65.2.0/26"
    assert _said(facts, "learned") == ["from Mesh_10_0_0_2 (10.0.0.2, AS 64512), next hop 10.0.0.2"]


def test_a_wider_route_of_this_host_does_not_hide_that_nobody_tells_the_prefix() -> None:
    default = "0.0.0.0/0            unicast [kernel4 2026-11-26 02:04:31.835] * (10)\n \tvia 10.0.0.254 on eth0\n"
    down = SESSION.format(name="Mesh_10_0_0_3", state="start", bgp="Connect", address="10.0.0.3", system=64512)
    facts = _facts("10.65.3.1/32", Bird({"show route for 10.65.3.1/32 all": _table(default)}, MESH, down))
    assert _said(facts, "here") == ["only a wider route, 0.0.0.0/0: a route of the kernel: via 10.0.0.254 on eth0"]
    assert _said(facts, "learned") == [
        "no session that is up tells it",
        "Mesh_10_0_0_3 (10.0.0.3, AS 64512) might tell it, but is down: Connect since 2026-11-26 02:04:31.834",
    ]


def test_what_the_agent_suspects_of_a_session_is_said_where_bird_knows_nothing() -> None:
    down = SESSION.format(name="Mesh_10_0_0_3", state="start", bgp="Connect", address="10.0.0.3", system=64512)
    agent = Agent(information={"Mesh_10_0_0_3": "the passwords differ"})
    facts = _facts("10.65.3.1/32", Bird({"show route for 10.65.3.1/32 all": NONE}, down), agent)
    assert _said(facts, "learned")[1].endswith("is down: Connect since 2026-11-26 02:04:31.834, the passwords differ")


def test_a_route_told_and_rejected_is_not_hidden_by_a_wider_one() -> None:
    one = LEARNED.replace("10.65.2.0/26", "10.65.2.7/32")
    answers = {
        "show route for 10.65.2.7/32 all": _table(LEARNED),
        "show route 10.65.2.7/32 filtered all": _table(one),
    }
    facts = _facts("10.65.2.7/32", Bird(answers, MESH))
    assert facts.routes == ()
    assert _said(facts, "learned") == ["from Mesh_10_0_0_2 (10.0.0.2, AS 64512), but its import filter rejects it"]


def test_the_first_filter_that_rejects_is_named_by_running_one_more_each_time() -> None:
    rank = "show route 10.65.1.1/32 primary filter { rank4();"
    answers = {
        "show route for 10.65.1.1/32 all": _table(LOCAL),
        **_exporting("10.65.1.1/32", "Global_10_0_0_9", LOCAL, "noexport"),
        f"{rank} 'bgp_one_exportFilterV4'(false); accept; }}": _table(LOCAL),
    }
    bird = Bird(answers, TOR)
    facts = _facts("10.65.1.1/32", bird, Agent(filters={"Global_10_0_0_9": ("one", "two", "three")}))
    assert _said(facts, "told") == ["Global_10_0_0_9 (10.0.0.9, AS 65001): BGPFilter two rejects it"]
    assert f"{rank} 'bgp_one_exportFilterV4'(false); 'bgp_two_exportFilterV4'(false); accept; }}" in bird.asked


def test_a_filter_that_bird_does_not_know_yet_is_not_blamed() -> None:
    answers = {
        "show route for 10.65.1.1/32 all": _table(LOCAL),
        **_exporting("10.65.1.1/32", "Global_10_0_0_9", LOCAL, "noexport"),
        "show route 10.65.1.1/32 primary filter { rank4(); 'bgp_new_exportFilterV4'(false); accept; }": (
            "9001 syntax error\n"
        ),
    }
    agent = Agent(filters={"Global_10_0_0_9": ("new",)}, pools=("10.65.0.0/16",))
    facts = _facts("10.65.1.1/32", Bird(answers, TOR), agent)
    (text,) = _said(facts, "told")
    assert text.endswith("the export filter rejects it: a rule of the host's configuration")


@pytest.mark.parametrize(
    ("agent", "reason"),
    [
        (Agent(), "no enabled IPPool contains it"),
        (Agent(pools=("10.65.0.0/16",), never=("10.65.1.0/24",)), "10.65.1.0/24 is not to be advertised"),
        (
            Agent(pools=("10.65.0.0/16",), blocks=("10.65.1.0/26",)),
            "10.65.1.0/26, this host's block, is told instead",
        ),
        (None, "why is known to the BGP agent, which does not answer"),
    ],
)
def test_an_export_filter_of_ours_says_which_rule_keeps_the_route(agent: Agent | None, reason: str) -> None:
    answers = {
        "show route for 10.65.1.1/32 all": _table(LOCAL),
        **_exporting("10.65.1.1/32", "Mesh_10_0_0_2", LOCAL, "noexport"),
    }
    (text,) = _said(_facts("10.65.1.1/32", Bird(answers, MESH), agent), "told")
    assert text == f"Mesh_10_0_0_2 (10.0.0.2, AS 64512): the export filter rejects it: {reason}"


def test_what_bgp_does_not_pass_on_is_no_filters_doing() -> None:
    other = MESH.replace("10_0_0_2", "10_0_0_3").replace("10.0.0.2", "10.0.0.3")
    bird = Bird({"show route for 10.65.2.0/26 all": _table(LEARNED)}, MESH, other)
    assert _said(_facts("10.65.2.0/26", bird), "told") == [
        "Mesh_10_0_0_2 (10.0.0.2, AS 64512): is where it comes from",
        "Mesh_10_0_0_3 (10.0.0.3, AS 64512): BGP does not pass it on to it",
    ]


def test_sessions_of_the_other_family_are_not_asked() -> None:
    bird = Bird({"show route for fd65::1/128 all": NONE}, MESH)
    assert _facts("fd65::1/128", bird).sessions == ()
    assert not any("Mesh_10_0_0_2" in question for question in bird.asked)


@pytest.mark.parametrize(
    ("loser", "reason"),
    [
        ("(50) [i]\n \tvia 10.0.0.9 on eth0\n", "preference 50 is less than 100"),
        ("(100s) [i]\n \tvia 10.0.0.9 on eth0\n", "its session is gone"),
        ("(100) [i]\n1012-\tBGP.local_pref: 100\n", "local preference 100 is less than 200"),
        (
            "(100) [i]\n1012-\tBGP.local_pref: 200\n \tBGP.as_path: 65001 65002\n",
            "its AS path has 2 members instead of 1",
        ),
        (
            "(100) [i]\n1012-\tBGP.local_pref: 200\n \tBGP.as_path: 65002\n \tBGP.origin: Incomplete\n",
            "origin Incomplete comes after IGP",
        ),
        (
            "(100) [i]\n1012-\tBGP.local_pref: 200\n \tBGP.as_path: 65002\n \tBGP.origin: IGP\n",
            "BGP's tie-break (MED, external before internal, distance of the next hop, router id)",
        ),
    ],
)
def test_the_first_rule_that_tells_two_routes_apart_is_the_reason(loser: str, reason: str) -> None:
    best = f"{LEARNED}1012-\tBGP.local_pref: 200\n \tBGP.as_path: 65001\n \tBGP.origin: IGP\n"
    worse = f"1007-                     unicast [Global_10_0_0_9 2026-11-26 02:04:32.711] {loser}"
    facts = _facts("10.65.2.0/26", Bird({"show route for 10.65.2.0/26 all": _table(best + worse)}, MESH, TOR))
    assert _said(facts, "preferred") == ["the one from Mesh_10_0_0_2", f"not the one from Global_10_0_0_9: {reason}"]


def test_a_route_of_a_tunnelled_pool_is_not_for_bird_to_program() -> None:
    bird = Bird({"show route for 10.65.2.0/26 all": _table(LEARNED)}, MESH)
    facts = _facts("10.65.2.0/26", bird, Agent(unprogrammed=("10.65.0.0/16",)))
    assert _said(facts, "kernel") == ["routes of IPPool 10.65.0.0/16 need a tunnel, which BIRD does not program"]


def test_what_the_filter_lets_pass_waits_for_the_end_of_a_graceful_restart() -> None:
    answers = {
        "show status": STATUS.replace("0013 ", "0024-Graceful restart recovery in progress\n0013 "),
        "show route for 10.65.2.0/26 all": _table(LEARNED),
        **_exporting("10.65.2.0/26", "kernel4", LEARNED, "export"),
    }
    facts = _facts("10.65.2.0/26", Bird(answers, MESH))
    assert _said(facts, "kernel") == ["BIRD's filter lets it pass, and its graceful restart is not over"]


def test_a_route_of_somebody_else_that_comes_before_birds_is_named() -> None:
    entries = (KernelEntry(protocol=80, hops=("dev cali1",)), KernelEntry(protocol=12, metric=512, hops=("dev x",)))
    bird = Bird({"show route for 10.65.2.0/26 all": _table(LEARNED)}, MESH)
    (text,) = _said(_facts("10.65.2.0/26", bird, None, {"10.65.2.0/26": entries}), "kernel")
    assert text == "BIRD has put it there: dev x, protocol bird; but before it comes dev cali1, protocol felix"


def test_a_route_that_the_kernel_refused_says_so() -> None:
    refused = LEARNED.replace("* (100)", "! (100)")
    facts = _facts("10.65.2.0/26", Bird({"show route for 10.65.2.0/26 all": _table(refused)}, MESH))
    assert _said(facts, "kernel") == ["the kernel refused it, or has a route of somebody else in its place"]


def test_an_address_is_a_prefix_of_its_own_and_all_else_is_refused() -> None:
    assert (canonical("10.65.1.1"), canonical("FD65::1/128")) == ("10.65.1.1/32", "fd65::1/128")
    for text in ("10.65.1.1/24", "x", "", "fe80::1%eth0", "10.65.0.0/16 all", "10.65.0.0/33"):
        with pytest.raises(InvalidInput, match="is not a prefix"):
            canonical(text)


def test_the_agents_document_says_what_decides_on_exports() -> None:
    pools = [
        {"cidr": "10.65.0.0/16", "advertise": "always", "program": True},
        {"cidr": "10.66.0.0/16", "advertise": "never", "program": False},
        {"cidr": "10.67.0.0/16", "advertise": "by-block", "program": True},
    ]
    prefixes = {"pools": pools, "blocks": ["10.67.1.0/26"], "withheld": ["10.68.0.0/16"]}
    agent = agent_of({"sessions": [{"name": "Mesh_1", "filters": ["f"], "info": "why"}], "prefixes": prefixes})
    assert agent == Agent(
        filters={"Mesh_1": ("f",)},
        information={"Mesh_1": "why"},
        pools=("10.65.0.0/16",),
        unprogrammed=("10.66.0.0/16",),
        never=("10.66.0.0/16", "10.68.0.0/16"),
        blocks=("10.67.1.0/26",),
    )
    assert agent_of({}) == Agent()
