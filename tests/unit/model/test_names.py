"""Names of workload endpoints: the published cases, and the round trip."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calico.errors import InvalidInput
from calico.model.names import WorkloadEndpointIdentifiers, parse_workload_endpoint_name

CASES_FILE = Path(__file__).resolve().parents[3].parent / "shared" / "conformance" / "wep_names.json"
FIELDS = {
    "Node": "node",
    "Orchestrator": "orchestrator",
    "Endpoint": "endpoint",
    "Workload": "workload",
    "Pod": "pod",
    "ContainerID": "container_id",
}


def identifiers(raw: dict[str, str]) -> WorkloadEndpointIdentifiers:
    return WorkloadEndpointIdentifiers(**{FIELDS[key]: value for key, value in raw.items()})


@pytest.fixture(scope="module")
def cases() -> list[dict[str, Any]]:
    if not CASES_FILE.exists():
        pytest.skip(f"{CASES_FILE} is absent")
    loaded: list[dict[str, Any]] = json.loads(CASES_FILE.read_text())["cases"]
    return loaded


@pytest.mark.parametrize(
    ("table", "operation"), [("fully qualified names", "name"), ("name prefix", "prefix"), ("matching", "matches")]
)
def test_published_names_and_prefixes_are_reproduced(cases: list[dict[str, Any]], table: str, operation: str) -> None:
    chosen = [case for case in cases if case["table"].endswith(table)]
    assert chosen
    for case in chosen:
        raw, *arguments, expected, wrong_field = case["args"]
        act = getattr(identifiers(raw), operation)
        if wrong_field:
            with pytest.raises(InvalidInput) as refused:
                act(*arguments)
            assert refused.value.field == wrong_field, case
        else:
            assert act(*arguments) == expected, case


def test_published_names_are_parsed(cases: list[dict[str, Any]]) -> None:
    chosen = [case for case in cases if case["table"].endswith("parsing")]
    assert chosen
    for case in chosen:
        name, is_error, raw = case["args"]
        if is_error:
            with pytest.raises(InvalidInput):
                parse_workload_endpoint_name(name)
        else:
            assert parse_workload_endpoint_name(name) == identifiers(raw), case


segments = st.text("ab1-", min_size=1, max_size=6).filter(lambda text: text.strip("-") == text)


@given(segments, segments, segments, st.sampled_from(["k8s", "cni", "openstack"]))
def test_every_name_parses_back_to_its_identifiers(node: str, workload: str, endpoint: str, orchestrator: str) -> None:
    field = {"k8s": "pod", "cni": "container_id"}.get(orchestrator, "workload")
    one = WorkloadEndpointIdentifiers(node=node, orchestrator=orchestrator, endpoint=endpoint, **{field: workload})
    assert parse_workload_endpoint_name(one.name()) == one
    assert one.matches(one.name())


def test_a_prefix_of_one_pod_does_not_match_a_longer_pod_name() -> None:
    short = WorkloadEndpointIdentifiers(node="n", orchestrator="k8s", pod="pod")
    other = WorkloadEndpointIdentifiers(node="n", orchestrator="k8s", pod="pod-1", endpoint="eth0")
    assert other.name().startswith(short.prefix())
    assert not short.matches(other.name())
