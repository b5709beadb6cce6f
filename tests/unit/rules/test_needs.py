"""A policy needs the sets whole without whose members it would let more through."""

import pytest

from calico.calc.messages import ActiveRule, IPSetUpdate, RuleSide
from calico.rules.config import RulesConfig
from calico.rules.ipsets import IPSets
from calico.rules.names import Style
from calico.rules.needs import needed_sets
from calico.rules.policy import render_rules
from calico.rules.table import TableState

WANTED, UNWANTED = RuleSide(ip_sets=("s",)), RuleSide(not_ip_sets=("s",))


@pytest.mark.parametrize("style", ["plain", "untracked", "pre-dnat"])
@pytest.mark.parametrize(
    ("action", "side", "needed"),
    [
        ("allow", WANTED, False),
        ("allow", UNWANTED, True),
        ("deny", WANTED, True),
        ("deny", UNWANTED, True),
        ("pass", WANTED, True),
        ("log", WANTED, False),
    ],
)
def test_what_is_needed_whole(action: str, side: RuleSide, needed: bool, style: Style) -> None:
    sets = IPSets(TableState())
    sets.replace(IPSetUpdate(id="s", kind="nets", members=frozenset()))
    rule = ActiveRule(action=action, src=side, ip_version=4)  # type: ignore[arg-type]
    rendered = render_rules("p", "policy", [rule], sets, RulesConfig(), style, "", "pi-p")
    assert needed_sets(rendered.rules) == ({"h4-s"} if needed else set())
