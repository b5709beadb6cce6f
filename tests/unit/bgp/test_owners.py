"""Whose a prefix is."""

from __future__ import annotations

import msgspec
import pytest

from calico.bgp.explain.owners import Owner, owners_of
from calico.model.ippool import IPPool
from calico.model.workload import WorkloadEndpoint


def _endpoint(name: str, node: str, *networks: str) -> WorkloadEndpoint:
    raw = {"metadata": {"name": name, "namespace": "default"}, "spec": {"node": node, "ipNetworks": networks}}
    return msgspec.convert(raw, WorkloadEndpoint)


def _pool(name: str, cidr: str) -> IPPool:
    return msgspec.convert({"metadata": {"name": name}, "spec": {"cidr": cidr}}, IPPool)


ENDPOINTS = (
    _endpoint("web", "a", "10.65.1.1/32", "fd65::1/128"),
    _endpoint("bare", "b", "10.65.2.2"),
    _endpoint("broken", "c", "nonsense"),
    _endpoint("twin", "b", "10.65.1.1/32"),
)
BLOCKS = {"a": ["10.65.1.0/26", "fd65::/122"], "b": ["10.65.2.0/26", "x/y"]}
POOLS = (_pool("all", "10.65.0.0/16"), _pool("six", "fd65::/48"))


@pytest.mark.parametrize(
    ("prefix", "hosts", "word"),
    [
        ("10.65.2.2/32", ["b"], "WorkloadEndpoint default/bare of b has it"),
        ("fd65::1/128", ["a"], "default/web"),
        ("10.65.1.7/32", ["a"], "no WorkloadEndpoint has it; 10.65.1.0/26 is a block of a"),
        ("10.65.2.0/26", ["b"], "10.65.2.0/26 is a block of b"),
        ("10.65.9.0/24", [""], "it lies in IPPool all"),
        ("192.0.2.1/32", [""], "no WorkloadEndpoint, no block and no IPPool"),
    ],
)
def test_the_most_exact_claim_counts(prefix: str, hosts: list[str], word: str) -> None:
    found = owners_of(prefix, ENDPOINTS, BLOCKS, POOLS)
    assert [owner.host for owner in found] == hosts
    assert word in found[0].text


def test_an_address_in_two_places_has_two_owners() -> None:
    found = owners_of("10.65.1.1/32", ENDPOINTS, BLOCKS, POOLS)
    assert found == (
        Owner("a", "WorkloadEndpoint default/web of a has it"),
        Owner("b", "WorkloadEndpoint default/twin of b has it"),
    )
