"""JSONPath as people know it from kubectl."""

import pytest

from calico.cli.output.paths import Template, finder, shown
from calico.errors import InvalidInput

DOCUMENT = {
    "items": [
        {"metadata": {"name": "a", "labels": {"app.kubernetes.io/name": "web"}}, "spec": {"order": 1}},
        {"metadata": {"name": "b"}, "spec": {"order": 2.5, "nets": ["10.0.0.0/8"]}},
    ]
}


@pytest.mark.parametrize(
    ("path", "values"),
    [
        (".items[*].metadata.name", ["a", "b"]),
        ("$.items[0].spec.order", [1]),
        ("items[1].spec.nets", [["10.0.0.0/8"]]),
        ("@.items[-1].metadata.name", ["b"]),
        (".items[0].metadata.labels.app\\.kubernetes\\.io/name", ["web"]),
        (".items[?@.spec.order>1].metadata.name", ["b"]),
        (".nothing.here", []),
    ],
)
def test_a_path_finds_what_stands_there(path: str, values: list[object]) -> None:
    assert finder(path)(DOCUMENT) == values


@pytest.mark.parametrize("path", [".items[", ".a..", "$.[?"])
def test_what_is_no_path_is_named(path: str) -> None:
    with pytest.raises(InvalidInput, match="JSONPath"):
        finder(path)


@pytest.mark.parametrize(
    ("template", "text"),
    [
        (".items[*].metadata.name", "a\nb\n"),
        ("{.items[*].metadata.name}", "a b"),
        ('{range .items[*]}{.metadata.name}{"\\t"}{.spec.order}{"\\n"}{end}', "a\t1\nb\t2.5\n"),
        ("names: {.items[0].metadata.name}!", "names: a!"),
        ("{range .items[*]}{range .spec.nets[*]}{@}{end};{end}", ";10.0.0.0/8;"),
        ("{'{'}", "{"),
        ("{.items[1].spec.nets}", '["10.0.0.0/8"]'),
    ],
)
def test_a_template_mixes_text_and_paths(template: str, text: str) -> None:
    assert Template(template).render(DOCUMENT) == text


@pytest.mark.parametrize("template", ["{range .items[*]}x", "{end}", "{.a", "a}b{.c}"])
def test_a_template_that_is_not_closed_is_refused(template: str) -> None:
    with pytest.raises(InvalidInput):
        Template(template)


def test_values_cannot_drive_the_terminal() -> None:
    assert shown(["a\x1b[31m", 1, None, {"k": "\x1b"}]) == 'a\\x1b[31m,1,null,{"k": "\\u001b"}'
