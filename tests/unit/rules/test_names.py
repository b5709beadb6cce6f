"""Names that nft accepts, that people can read, and that are never the same for two things."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from calico.model.keys import ResourceKey
from calico.rules.names import comment_text, object_name, policy_name

IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9/_.-]*\Z")
hostile = st.text(st.sampled_from('ab/-_.A0 "\\\n\0é;{'), max_size=6) | st.text(st.sampled_from("ab"), max_size=140)


def test_plain_names_are_kept() -> None:
    assert policy_name("ingress", ResourceKey("NetworkPolicy", "default", "allow-web")) == "pi-np/default/allow-web"
    assert policy_name("egress", ResourceKey("GlobalNetworkPolicy", "", "deny.all")) == "po-gnp/deny.all"


@settings(deadline=None)
@given(st.lists(hostile, min_size=1, max_size=3), st.lists(hostile, min_size=1, max_size=3))
def test_two_things_never_have_one_name_and_every_name_is_an_identifier(one: list[str], two: list[str]) -> None:
    names = object_name("x", *one), object_name("x", *two)
    assert (names[0] == names[1]) == (one == two)
    for name in names:
        assert IDENTIFIER.match(name)
        assert len(name.encode()) <= 127


def test_a_name_that_looks_like_a_hashed_one_is_hashed_itself() -> None:
    hashed = object_name("x", "a b")
    assert object_name("x", hashed.removeprefix("x-")) != hashed


@settings(deadline=None)
@given(st.text())
def test_a_comment_is_short_printable_and_cannot_end_its_quotes(text: str) -> None:
    comment = comment_text(text)
    assert len(comment) <= 127
    assert re.match(r"[ !#-\[\]-~]*\Z", comment)
