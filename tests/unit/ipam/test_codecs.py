"""What Calico's client wrote is read, and written again unchanged but for what changed (spec §9.1, §18, §19)."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calico.datastore.api import KeyValue
from calico.errors import InvalidInput
from calico.ipam.audit.state import decode_ipam
from calico.ipam.stored.affinity import Affinity, decode_affinity, encode_affinity
from calico.ipam.stored.block import Attribute, assign
from calico.ipam.stored.block_codec import DamagedBlock, decode_block, encode_block
from calico.ipam.stored.config import IPAMSettings, decode_settings
from calico.ipam.stored.handle import Handle, counted, decode_handle, encode_handle
from calico.ipam.stored.keys import (
    AffinityKey,
    affinity_key,
    block_key,
    handle_key,
    parse_affinity_key,
    parse_block_key,
)

KEY = "/calico/ipam/v2/assignment/ipv4/block/10.65.0.0-30"
EXAMPLE = (
    '{"cidr":"10.65.0.0/30","affinity":"host:node-1","allocations":[null,null,0,null],"unallocated":[0,1,3],'
    '"attributes":[{"handle_id":"k8s-pod-network.4f1c","secondary":{"namespace":"default","node":"node-1",'
    '"pod":"web-0"}}],"sequenceNumber":1787400000000000001,"sequenceNumberForAllocation":{"2":1787400000000000000},'
    '"deleted":false}'
)
AFFINITY_KEY = "/calico/ipam/v2/host/node-1/ipv4/block/10.65.0.0-26"


def test_the_example_of_a_block_is_read_and_written_byte_for_byte() -> None:
    block = decode_block(KEY, EXAMPLE.encode())
    assert block.affinity == "host:node-1"
    held = block.holder(2)
    assert held is not None
    assert held.handle == "k8s-pod-network.4f1c"
    assert block.sequences == {2: 1787400000000000000}
    assert encode_block(block).decode() == EXAMPLE


def test_an_assignment_changes_only_what_it_is_about() -> None:
    tree = json.loads(EXAMPLE)
    tree |= {"newField": {"a": [1]}, "affinity_claim_time": "2026-08-22T13:33:20Z"}
    tree["attributes"][0] |= {"newToo": 7, "alternateOwnerAttrs": {"vmi-name": "x"}}
    block = decode_block(KEY, json.dumps(tree).encode())
    after = json.loads(encode_block(assign(block, 1, Attribute("other"))[0]))
    tree["allocations"][0] = 1
    tree["unallocated"] = [1, 3]
    tree["attributes"].append({"handle_id": "other"})
    tree["sequenceNumberForAllocation"]["0"] = tree["sequenceNumber"]
    assert after == tree


def test_an_attribute_with_a_field_that_we_do_not_know_is_not_shared_with_ours() -> None:
    tree = json.loads(EXAMPLE)
    tree["attributes"][0] = {"handle_id": "h", "newField": 1}
    block, _ = assign(decode_block(KEY, json.dumps(tree).encode()), 1, Attribute("h"))
    assert len(block.attributes) == 2


def test_a_number_above_half_of_64_bits_is_kept_exactly() -> None:
    tree = json.loads(EXAMPLE)
    tree["sequenceNumber"] = 2**64 - 2
    assert json.loads(encode_block(decode_block(KEY, json.dumps(tree).encode())))["sequenceNumber"] == 2**64 - 2


def test_null_lists_and_maps_are_empty_ones() -> None:
    tree = {"cidr": "10.65.0.0/32", "affinity": None, "allocations": [None], "unallocated": None, "attributes": None}
    tree |= {"sequenceNumber": 1, "sequenceNumberForAllocation": None}
    block = decode_block(KEY.replace("-30", "-32"), json.dumps(tree).encode())
    assert (block.unallocated, block.attributes, block.sequences) == ((), (), {})
    assert decode_handle("/calico/ipam/v2/handle/h", b'{"block":null,"deleted":false}') == Handle()


def test_the_host_affinity_of_old_clients_is_an_affinity() -> None:
    tree = {**json.loads(EXAMPLE), "affinity": None, "hostAffinity": "node-1"}
    assert decode_block(KEY, json.dumps(tree).encode()).affinity == "host:node-1"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"cidr": "10.65.0.4/30"}, "what the key says"),
        ({"allocations": [None]}, "there are 4 addresses"),
        ({"allocations": [None, None, 1, None]}, "attributes that are not there"),
        ({"unallocated": [0, 4]}, "not below 4"),
        ({"unallocated": [0, 0]}, "twice"),
        ({"sequenceNumber": "x"}, "sequenceNumber"),
        ({"attributes": [7]}, "attributes"),
    ],
)
def test_a_block_that_contradicts_itself_is_named_and_not_used(change: dict[str, object], named: str) -> None:
    with pytest.raises(DamagedBlock, match=r"block 10\.65\.0\.0/30") as caught:
        decode_block(KEY, json.dumps({**json.loads(EXAMPLE), **change}).encode())
    assert named in str(caught.value)


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_no_bytes_make_a_reader_fail_otherwise(raw: bytes) -> None:
    for read in (
        lambda: decode_block(KEY, raw),
        lambda: decode_affinity(AFFINITY_KEY, raw),
        lambda: decode_handle("/calico/ipam/v2/handle/h", raw),
        lambda: decode_settings(raw),
    ):
        with contextlib.suppress(InvalidInput):
            read()


def test_affinities_are_read_as_all_clients_wrote_them() -> None:
    assert decode_affinity(AFFINITY_KEY, b'{"state":"confirmed","deleted":false}') == Affinity("confirmed")
    for old in (b"{}", b"", b'{"state":""}', b'{"state":null,"deleted":null}'):
        assert decode_affinity(AFFINITY_KEY, old).holds
    assert not decode_affinity(AFFINITY_KEY, b'{"state":"pendingDeletion","deleted":false}').holds
    assert encode_affinity(Affinity("confirmed")) == b'{"state":"confirmed","deleted":false}'
    with pytest.raises(InvalidInput, match=r"BlockAffinity 10\.65\.0\.0/26 of host:node-1: state: unknown state"):
        decode_affinity(AFFINITY_KEY, b'{"state":"half"}')


def test_a_handle_counts_by_block_and_forgets_blocks_without_addresses() -> None:
    stored = b'{"block":{"10.65.0.0/26":1},"deleted":false}'
    handle = decode_handle("/calico/ipam/v2/handle/k8s-pod-network.4f1c", stored)
    assert encode_handle(handle) == stored
    assert counted(handle, "10.65.0.0/26", -1).blocks == {}
    assert counted(counted(handle, "fd00::/122", 2), "10.65.0.0/26", -5).blocks == {"fd00::/122": 2}


def test_a_handle_with_a_slash_is_refused() -> None:
    with pytest.raises(InvalidInput, match="slash"):
        handle_key("a/b")


def test_keys_are_those_of_the_data_model() -> None:
    assert block_key("10.0.0.0/26") == "/calico/ipam/v2/assignment/ipv4/block/10.0.0.0-26"
    assert block_key("fd00::/122") == "/calico/ipam/v2/assignment/ipv6/block/fd00::-122"
    assert affinity_key("host:n", "fd00::/122") == "/calico/ipam/v2/host/n/ipv6/block/fd00::-122"
    balancer = affinity_key("virtual:load-balancer", "10.0.0.1/32")
    assert balancer == "/calico/ipam/v2/virtual/load-balancer/ipv4/block/10.0.0.1-32"
    assert parse_affinity_key(balancer) == AffinityKey("virtual:load-balancer", "10.0.0.1/32")
    assert parse_block_key(block_key("fd00::/122")) == "fd00::/122"
    for stranger in ("/calico/ipam/v2/host/n", "/calico/ipam/v2/assignment/ipv5/block/a-1", "/calico/ipam/v2/config"):
        assert not parse_block_key(stranger)
        assert parse_affinity_key(stranger) is None


def test_settings_that_are_absent_and_settings_that_are_empty_differ() -> None:
    assert decode_settings(None) == IPAMSettings(auto_allocate_blocks=True)
    assert decode_settings(b"{}") == IPAMSettings(auto_allocate_blocks=False)
    assert decode_settings(b'{"auto_allocate_blocks":true}') == IPAMSettings()
    assert decode_settings(b'{"ipCooldownSeconds":30,"future":1}').extra == {"future": 1}


def test_a_host_may_have_twenty_blocks_where_nobody_says_otherwise() -> None:
    assert IPAMSettings().blocks_allowed() == 20
    assert IPAMSettings(max_blocks_per_host=5).blocks_allowed(9) == 5
    assert IPAMSettings(max_blocks_per_host=5).blocks_allowed(2) == 2
    assert IPAMSettings().blocks_allowed(50) == 50


@pytest.mark.parametrize("tail", ["garbage-99", "10.0.0.1-24", "10.0.0.0-99", "fd00::-129", "a/b-24", "-"])
def test_a_key_that_names_no_cidr_is_nobodys_block(tail: str) -> None:
    assert parse_affinity_key(f"/calico/ipam/v2/host/n/ipv4/block/{tail}") is None
    assert parse_block_key(f"/calico/ipam/v2/assignment/ipv4/block/{tail}") == ""
    state = decode_ipam([KeyValue(f"/calico/ipam/v2/host/n/ipv4/block/{tail}", b"{}", 1, 1, 1)])
    assert list(state.damaged.values()) == ["its key names no CIDR"]
