"""What is wrong in IPAM is found, named and explained; what is right is not."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from calico.datastore.api import KeyValue
from calico.ipam.audit.consistency import Finding, findings
from calico.ipam.audit.kernelview import KernelView, in_kernel, kernel_findings
from calico.ipam.audit.state import IPAMState, User, decode_ipam
from calico.ipam.stored.affinity import CONFIRMED, Affinity
from calico.ipam.stored.block import Attribute, Block, assign, new_block
from calico.ipam.stored.handle import Handle
from calico.ipam.stored.keys import AffinityKey
from calico.model.ippool import IPPool, IPPoolSpec
from calico.model.meta import Metadata

CIDR = "10.0.0.0/28"
OWN = AffinityKey("host:a", CIDR)
POOL = IPPool(metadata=Metadata(name="p"), spec=IPPoolSpec(cidr="10.0.0.0/24", block_size=28))


def block(cidr: str = CIDR, owner: str | None = "host:a", count: int = 1) -> Block:
    empty = new_block(cidr, owner, datetime(2026, 8, 22, tzinfo=UTC), 7)
    return assign(empty, count, Attribute("h", {"node": "a", "pod": "web"}))[0]


def state(**changes: object) -> IPAMState:
    good = IPAMState(
        blocks={CIDR: block()},
        affinities={OWN: CONFIRMED},
        handles={"h": Handle({CIDR: 1})},
        pools=(POOL,),
        nodes=frozenset({"a", "b"}),
        users=(User("10.0.0.0", "WorkloadEndpoint default/web", "a"),),
    )
    return replace(good, **changes)


def found(**changes: object) -> list[Finding]:
    return list(findings(state(**changes)))


def test_what_is_right_is_not_complained_of() -> None:
    assert found() == []


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"affinities": {}}, "block-without-affinity", "host:a, which has no affinity"),
        ({"affinities": {OWN: Affinity("pending")}}, "affinity-unfinished", "it is pending"),
        ({"affinities": {OWN: CONFIRMED, AffinityKey("host:b", CIDR): CONFIRMED}}, "affinity-stale", "host:a"),
        ({"handles": {}}, "handle-count", "has 1 addresses in 10.0.0.0/28, and counts 0"),
        ({"handles": {"h": Handle({CIDR: 3})}}, "handle-count", "counts 3"),
        ({"handles": {"h": Handle({CIDR: 1}), "i": Handle()}}, "handle-empty", "no address"),
        ({"users": ()}, "address-leaked", "handle 'h' (node=a, pod=web), and nothing uses it"),
        ({"pools": ()}, "block-outside-pools", "lies in no IPPool"),
        ({"nodes": frozenset({"b"})}, "affinity-of-no-node", "there is no Node a"),
        ({"damaged": {"/some/key": "nonsense"}}, "damaged", "nonsense"),
    ],
)
def test_each_contradiction_has_one_finding_that_says_it(changes: dict[str, object], code: str, words: str) -> None:
    (finding,) = found(**changes)
    assert finding.code == code
    assert words in finding.explanation
    assert finding.proposal


def test_an_affinity_to_a_block_that_is_not_there_is_told() -> None:
    codes = [each.code for each in found(affinities={OWN: CONFIRMED, AffinityKey("host:b", "10.0.0.16/28"): CONFIRMED})]
    assert codes == ["affinity-without-block"]


def test_overlapping_blocks_and_blocks_of_another_size_are_told() -> None:
    blocks = {CIDR: block(), "10.0.0.0/27": block("10.0.0.0/27", None, 0)}
    assert {each.code for each in found(blocks=blocks)} == {"block-overlap", "block-of-other-size"}


def test_an_ordinal_that_is_nowhere_or_in_both_places_is_told() -> None:
    right = block()
    lost = replace(right, unallocated=right.unallocated[:-1])
    assert [each.code for each in found(blocks={CIDR: lost})] == ["block-lost-addresses"]
    both = replace(right, unallocated=(0, *right.unallocated))
    assert [each.code for each in found(blocks={CIDR: both})] == ["block-double-addresses"]


def test_a_leak_says_which_allocation_it_is() -> None:
    (leak,) = found(users=())
    assert (leak.address, leak.block, leak.handle, leak.sequence, leak.node) == ("10.0.0.0", CIDR, "h", 7, "a")


def test_what_services_and_stopped_machines_have_is_no_leak() -> None:
    empty = new_block(CIDR, "host:a", datetime(2026, 8, 22, tzinfo=UTC), 7)
    for attributes in ({"service": "default/web"}, {"vmi-name": "vm"}):
        given, _ = assign(empty, 1, Attribute("h", attributes))
        assert found(blocks={CIDR: given}, users=()) == []
    elsewhere, _ = assign(empty, 1, Attribute("h", {"interface": "eth0", "node": "a"}))
    assert found(blocks={CIDR: elsewhere}, users=()) == [], "another main plugin attached it"
    gone, _ = assign(empty, 1, Attribute("h", {"interface": "eth0", "node": "gone"}))
    assert [one.code for one in found(blocks={CIDR: gone}, users=())] == ["address-leaked"]
    balancer = {CIDR: block(owner="virtual:load-balancer")}
    affinity = {AffinityKey("virtual:load-balancer", CIDR): CONFIRMED}
    assert found(blocks=balancer, affinities=affinity, users=()) == []


def test_two_users_of_one_address_are_told_and_one_user_with_two_interfaces_of_it_not() -> None:
    web, other = User("10.0.0.0", "WorkloadEndpoint default/web", "a"), User("10.0.0.0", "ipip tunnel of Node b", "b")
    (shared,) = found(users=(web, other))
    assert (shared.code, shared.address) == ("address-shared", "10.0.0.0")
    assert found(users=(web, web)) == []


def test_a_user_whose_address_nobody_gave_is_told_where_ipam_is_in_use_and_the_address_in_a_pool() -> None:
    users = (*state().users, User("10.0.0.9", "WorkloadEndpoint default/x", "a"), User("192.0.2.1", "W y", "a"))
    (finding,) = found(users=users)
    assert (finding.code, finding.address) == ("address-not-given", "10.0.0.9")
    assert found(users=users[1:], blocks={}, affinities={}, handles={}) == []


def test_the_kernel_of_a_host_is_asked_about_its_endpoints_only() -> None:
    good = KernelView("a", frozenset({"192.0.2.7"}), {"10.0.0.0": "cali1"})
    assert list(kernel_findings(state(), good)) == []
    missing = KernelView("a", frozenset(), {})
    assert [each.code for each in kernel_findings(state(), missing)] == ["address-without-route"]
    assert list(kernel_findings(state(), KernelView("b", frozenset(), {}))) == []
    stray = KernelView("b", frozenset(), {"10.0.0.3": "cali2", "10.0.0.4": "eth0", "192.0.2.9": "cali3"})
    assert [(each.code, each.address) for each in kernel_findings(state(), stray)] == [
        ("route-without-endpoint", "10.0.0.3")
    ]


def test_a_tunnels_address_must_be_on_an_interface() -> None:
    with_tunnel = state(users=(User("10.0.0.0", "vxlan tunnel of Node a", "a"),))
    assert [each.code for each in kernel_findings(with_tunnel, KernelView("a", frozenset(), {}))] == [
        "address-not-local"
    ]
    assert list(kernel_findings(with_tunnel, KernelView("a", frozenset({"10.0.0.0"}), {}))) == []


def test_what_the_kernel_has_of_an_address_is_said() -> None:
    kernel = KernelView("a", frozenset({"10.0.0.1"}), {"10.0.0.2": "cali1"})
    assert in_kernel(kernel, "10.0.0.1") == "an interface of a has it"
    assert in_kernel(kernel, "10.0.0.2") == "a has a route to it, dev cali1"
    assert in_kernel(kernel, "10.0.0.3") == in_kernel(None, "10.0.0.1") == ""


KEYS = st.sampled_from(
    [
        "/calico/ipam/v2/assignment/ipv4/block/10.0.0.0-28",
        "/calico/ipam/v2/assignment/ipv4/block/rubbish",
        "/calico/ipam/v2/host/a/ipv4/block/10.0.0.0-28",
        "/calico/ipam/v2/handle/h",
        "/calico/ipam/v2/config",
        "/calico/ipam/v2/host/a",
        "/calico/ipam/v2/else",
    ]
)


@given(st.dictionaries(KEYS, st.binary(max_size=60) | st.sampled_from([b"{}", b"null", b'{"cidr":"10.0.0.0/28"}'])))
def test_whatever_stands_in_the_datastore_is_checked_and_named(stored: dict[str, bytes]) -> None:
    items = [KeyValue(key, value, 1, 1, 1) for key, value in stored.items()]
    for finding in findings(replace(decode_ipam(items), pools=(POOL,))):
        assert finding.explanation
