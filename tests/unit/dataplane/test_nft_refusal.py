"""Who is to blame for a refused transaction."""

import errno

import pytest

from calico.dataplane.nft.refusal import DROP_CHAIN, Exclusions, Owner
from calico.netlink.socket import Failure


def failed(kind: str, name: str, code: int, keys: tuple[bytes, ...] = ()) -> tuple[Owner, Failure]:
    return (kind, name, keys), Failure(1, code)  # type: ignore[return-value]


def always(name: str) -> bool:
    return True


def test_what_could_not_be_created_is_blamed_before_what_refers_to_it() -> None:
    exclusions = Exclusions()
    assert exclusions.blame([failed("rules", "user", errno.ENOENT), failed("set", "s", errno.EINVAL)], always)
    assert exclusions.sets == {"s"}
    assert exclusions.dropped == set()


@pytest.mark.parametrize("code", [errno.EMLINK, errno.ELOOP, errno.EOPNOTSUPP])
def test_of_what_is_reported_for_all_that_follows_only_the_first_is_blamed(code: int) -> None:
    exclusions = Exclusions()
    assert exclusions.blame([failed("rules", name, code) for name in "abc"], always)
    assert exclusions.dropped == {"a"}


def test_certain_errors_are_blamed_before_a_graph_that_is_too_deep() -> None:
    exclusions = Exclusions()
    assert exclusions.blame([failed("rules", "a", errno.EMLINK), failed("rules", "b", errno.ENOENT)], always)
    assert exclusions.dropped == {"b"}


def test_two_bad_rules_of_one_chain_are_one_blame() -> None:
    exclusions = Exclusions()
    assert exclusions.blame([failed("rules", "a", errno.ENOENT)] * 2, always)
    assert (exclusions.dropped, exclusions.chains) == ({"a"}, set())
    assert [(item.name, item.effect) for item in exclusions.report()] == [("a", DROP_CHAIN)]


def test_a_chain_that_may_not_be_dropped_is_left_as_it_is() -> None:
    exclusions = Exclusions()
    assert exclusions.blame([failed("rules", "input", errno.ENOENT)], lambda name: False)
    assert (exclusions.dropped, exclusions.chains) == (set(), {"input"})


def test_a_chunk_is_taken_apart_before_an_element_is_blamed() -> None:
    exclusions = Exclusions()
    assert exclusions.blame([failed("elements", "s", errno.ENFILE, (b"1", b"2"))], always)
    assert exclusions.report() == ()
    assert exclusions.single == {"s"}
    assert exclusions.blame([failed("elements", "s", errno.ENFILE, (b"2",))], always)
    (item,) = exclusions.report()
    assert (item.kind, item.name, item.keys) == ("elements", "s", (b"2",))


def test_nothing_is_learnt_from_what_is_already_left_out() -> None:
    exclusions = Exclusions()
    assert exclusions.blame([failed("set", "s", errno.EINVAL)], always)
    assert not exclusions.blame([failed("set", "s", errno.EINVAL)], always)
    assert not exclusions.blame([failed("table", "felix", errno.EPERM)], always)
    assert not exclusions.blame([], always)


def test_a_removal_that_is_refused_keeps_the_object() -> None:
    exclusions = Exclusions()
    blamed = [failed("gone-chain", "c", errno.EBUSY), failed("gone-set", "s", errno.EBUSY)]
    assert exclusions.blame(blamed, always)
    assert (exclusions.kept_chains, exclusions.kept_sets) == ({"c"}, {"s"})
