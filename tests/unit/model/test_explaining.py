"""Every field of every kind can be explained, and nothing is explained that is no field."""

from __future__ import annotations

import tomllib
from importlib.resources import files

import pytest

from calico.errors import InvalidInput
from calico.model.explaining import explain, fields_of, struct_classes
from calico.model.kinds import KINDS, find_kind

OF_FELIX = "FelixConfigurationSpec"  # its fields are Felix's parameters
CLASSES = {cls.__name__: cls for cls in struct_classes()}
TEXTS = tomllib.loads(files("calico.model").joinpath("fields.toml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", sorted(set(CLASSES) - {OF_FELIX}))
def test_every_field_has_a_sentence(name: str) -> None:
    assert [field.path for field in fields_of(CLASSES[name]) if not field.text] == []


@pytest.mark.parametrize("name", sorted(set(TEXTS) & set(CLASSES)))
def test_every_sentence_of_a_class_has_a_field(name: str) -> None:
    assert set(TEXTS[name]) <= {field.path for field in fields_of(CLASSES[name])}


@pytest.mark.parametrize("info", KINDS, ids=lambda info: info.kind)
def test_every_kind_says_what_it_is(info: object) -> None:
    assert explain(info, "").text  # type: ignore[arg-type]


def test_a_path_leads_through_lists_and_optional_objects() -> None:
    field = explain(find_kind("gnp"), "spec.ingress[0].source.nets")
    assert (field.path, field.type_name) == ("spec.ingress.source.nets", "list of text")
    assert explain(find_kind("gnp"), "spec.namespaceSelector").text != ""
    assert explain(find_kind("gnp"), "spec.order").text == explain(find_kind("np"), "spec.order").text


@pytest.mark.parametrize(
    ("path", "words"), [("spec.odrer", "odrer.*order"), ("spec.order.x", "no fields"), ("x", "spec")]
)
def test_a_path_that_leads_nowhere_names_what_there_is(path: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        explain(find_kind("np"), path)
