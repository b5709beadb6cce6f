"""What an attachment is called, whatever the runtime calls its container."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from calico.model.validation import validate
from calico.orchestrators.cni.workload.endpoint import build_endpoint
from calico.orchestrators.cni.workload.names import Attached

ID = "748ee8b6e024ecbeb709a73958a00114a301045eda8addb2882291bb1c8401f2"
IDS = st.from_regex(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,100}", fullmatch=True)
"""What CNI allows."""


def attached(container_id: str, interface: str = "eth0") -> Attached:
    return Attached(network="net", container_id=container_id, interface=interface, node="node1")


def test_a_random_id_names_the_host_interface_by_its_first_characters() -> None:
    assert attached(ID).host_interface() == "cali748ee8b6e02"
    assert attached(ID).stored_id == ID


@given(IDS)
def test_every_id_that_cni_allows_has_an_endpoint_that_can_be_stored(container_id: str) -> None:
    one = attached(container_id)
    endpoint = build_endpoint(
        one, host_interface=one.host_interface(), mac="02:00:00:00:00:01", addresses=["10.65.0.1/32"]
    )
    assert validate(endpoint) == ()
    assert endpoint.metadata.name == one.endpoint_name
    assert len(one.host_interface()) <= 15


@given(IDS, IDS)
def test_no_two_chosen_ids_share_a_name(one: str, other: str) -> None:
    first, second = attached(f"default-web{one}"), attached(f"default-web{other}")
    assert (first.endpoint_name == second.endpoint_name) == (one == other)
    assert (first.host_interface() == second.host_interface()) == (one == other)
