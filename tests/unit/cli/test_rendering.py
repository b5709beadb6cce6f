"""Outputs of ``calico get``."""

from __future__ import annotations

import json

import click
import pytest

from calico.cli.output.rendering import Output, OutputType, custom_columns, exported, print_resources
from calico.errors import InvalidInput
from calico.model.kinds import find_kind
from calico.model.meta import Metadata
from calico.model.policy import NetworkPolicy, NetworkPolicySpec

INFO = find_kind("np")
ITEM = NetworkPolicy(
    metadata=Metadata(name="web\x1b[31m", namespace="shop", uid="u", resource_version="7", labels={"a": "b"}),
    spec=NetworkPolicySpec(order=10, selector="all()", tier="default"),
)


def printed(capsys: pytest.CaptureFixture[str], output: str, **how: bool) -> str:
    print_resources(INFO, [ITEM], OutputType().convert(output, None, None), **how)  # type: ignore[arg-type]
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("output", "lines"),
    [
        ("table", ["NAME", "TIER", "web\\x1b[31m", "default"]),
        ("ps", ["NAME", "TIER", "web\\x1b[31m", "default"]),
        ("name", ["networkpolicies/web\\x1b[31m"]),
        ("custom-columns=NAME,ORDER", ["NAME", "ORDER", "web\\x1b[31m", "10"]),
        ("custom-columns=N:.metadata.name,L:.metadata.labels.a", ["N", "L", "web\\x1b[31m", "b"]),
        ("custom-columns=X:.spec.nothing", ["X", "<none>"]),
        ("jsonpath={.items[*].metadata.namespace}", ["shop"]),
    ],
)
def test_each_output_shows_the_resource_and_drives_no_terminal(
    capsys: pytest.CaptureFixture[str], output: str, lines: list[str]
) -> None:
    text = printed(capsys, output)
    assert text.split() == lines
    assert "\x1b" not in text


@pytest.mark.parametrize("output", ["json", "yaml"])
def test_data_is_escaped(capsys: pytest.CaptureFixture[str], output: str) -> None:
    assert "\x1b" not in printed(capsys, output)


def test_one_asked_for_by_name_is_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    assert json.loads(printed(capsys, "json", single=True))["kind"] == "NetworkPolicy"
    assert json.loads(printed(capsys, "json"))["kind"] == "NetworkPolicyList"


def test_an_export_leaves_out_what_belongs_to_the_cluster() -> None:
    assert exported(ITEM).metadata == Metadata(name="web\x1b[31m", namespace="shop", labels={"a": "b"})


@pytest.mark.parametrize("output", ["xml", "json=1", "jsonpath", "custom-columns=", "go-template={{.x}}"])
def test_an_unknown_output_is_wrong_usage(output: str) -> None:
    with pytest.raises(click.BadParameter):
        OutputType().convert(output, None, None)


@pytest.mark.parametrize("columns", ["NOPE", "A:", "NAME,B:.[", ""])
def test_a_column_that_is_neither_title_nor_path_is_named(columns: str) -> None:
    with pytest.raises(InvalidInput):
        custom_columns(INFO, columns)


def test_an_output_is_a_value() -> None:
    assert OutputType().convert(Output("json"), None, None) == OutputType().convert("json", None, None)
