"""Names that nft accepts, that people can read, and that are never the same for two things."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from calico.model.keys import ResourceKey
from calico.rules.names import comment_text, object_name, policy_name, profile_name

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


def test_a_name_of_up_to_a_hundred_characters_is_kept_and_of_a_longer_one_its_beginning() -> None:
    assert object_name("x", "a" * 60, "b" * 39) == f"x-{'a' * 60}/{'b' * 39}"
    longer = object_name("x", "a" * 60, "b" * 40)
    assert re.fullmatch(f"x-{'a' * 60}_[0-9a-f]{{24}}", longer)


def test_what_is_not_plain_becomes_dots_and_a_hash_tells_it_apart_everywhere_alike() -> None:
    assert object_name("x", "plain", "b;c d\nee") == "x-plain.b.c.d.ee_7519132afb77e6cee2f2318b"


def test_the_chains_of_profiles_tell_their_direction() -> None:
    assert (profile_name("ingress", "open"), profile_name("egress", "open")) == ("fi-open", "fo-open")


def test_a_comment_keeps_printable_ascii_and_is_cut_at_the_kernels_length() -> None:
    plain = "".join(map(chr, range(0x20, 0x7F)))
    assert comment_text(plain) == plain.replace('"', "?").replace("\\", "?")
    assert comment_text("\x1f\x7f\x80é\u2028") == "?????"
    assert comment_text("x" * 128) == "x" * 127
