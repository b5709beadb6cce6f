"""What is printed for people."""

import json
import subprocess
import sys

import pytest

from calico.cli.output.printing import print_data, print_table, safe


def test_control_characters_are_shown_and_not_sent_to_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert safe("a\x1b[31mb\x9b") == "a\\x1b[31mb\\x9b"
    print_table(["NAME"], [["evil\x1b]0;title\x07"]])
    assert "\x1b" not in capsys.readouterr().out


def test_a_table_that_is_not_for_a_terminal_keeps_one_line_a_row(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["A", "B"], [["x" * 300, 1], ["y", None]])
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [["A", "B"], ["x" * 300, "1"], ["y"]]


def test_json_can_be_read_back(capsys: pytest.CaptureFixture[str]) -> None:
    print_data({"a": [1, "ü"]}, "json")
    assert json.loads(capsys.readouterr().out) == {"a": [1, "ü"]}


def test_help_imports_neither_grpc_nor_the_daemons() -> None:
    code = "import sys, calico.cli.main as m; m.cli(['--help'], standalone_mode=False); print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = done.stdout
    assert not [name for name in ("'grpc'", "'rich'", "'calico.felix'", "'calico.lab'") if name in loaded]
