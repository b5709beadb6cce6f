"""``calico flows``: which records each option chooses, and what is shown of them."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from calico.cli.flows import flows
from calico.errors import CalicoError, InvalidInput
from calico.felix.flows.journal import Journal
from calico.felix.flows.record import Decided, End, FlowRecord, encode_record

WEB = End("10.0.0.1", 41000, "WorkloadEndpoint", "shop", "web-1", {"app": "web"})
DB = End("10.0.0.2", 5432, "WorkloadEndpoint", "data", "db-1", {"app": "db"})
OUTSIDE = End("2001:db8::9", 443)
POLICY = Decided("allow", "egress", "", "default", "NetworkPolicy", "shop", "to-db", 1)
REFUSED = Decided("deny", "ingress", "tier-default", "default")
FIRST = FlowRecord(
    time="2026-01-01T00:00:00.000Z",
    node="h1",
    state="new",
    verdict="deny",
    protocol="tcp",
    src=WEB,
    dst=DB,
    start="2026-01-01T00:00:00.000Z",
    decisions=(POLICY, REFUSED),
    attempts=3,
    duration_s=0.0,
)
SECOND = msgspec.structs.replace(
    FIRST,
    time="2026-01-02T00:00:00.000Z",
    state="end",
    verdict="allow",
    protocol="udp",
    dst=OUTSIDE,
    decisions=(POLICY,),
    bytes=(100, 2000),
    packets=(1, 2),
)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    journal = Journal(tmp_path, size=1 << 20, files=2)
    journal.write([encode_record(FIRST), b'{"cut off', encode_record(SECOND)])
    journal.close()
    return tmp_path


def run(directory: Path, *options: str) -> Result:
    done = CliRunner().invoke(flows, ["--directory", str(directory), *options])
    if done.exception is not None and isinstance(done.exception, CalicoError):
        raise done.exception
    return done


@pytest.mark.parametrize(
    ("options", "days"),
    [
        ((), [1, 2]),
        (("--last", "1"), [2]),
        (("--src", "10.0.0.1"), [1, 2]),
        (("--src", "10.0.0.2"), []),
        (("--dst", "10.0.0.0/24"), [1]),
        (("--dst", "2001:db8::/32"), [2]),
        (("--any", "data/db-1"), [1]),
        (("--dst", "shop/db-1"), []),
        (("--src", "web-1"), [1, 2]),
        (("--namespace", "data"), [1]),
        (("--selector", "app == 'db'"), [1]),
        (("--selector", "!has(app)"), [2]),
        (("--verdict", "deny"), [1]),
        (("--policy", "to-db"), [1, 2]),
        (("--policy", "shop/to-db"), [1, 2]),
        (("--policy", "data/to-db"), []),
        (("--protocol", "UDP"), [2]),
        (("--port", "5432"), [1]),
        (("--since", "2026-01-01T12:00:00Z"), [2]),
        (("--since", "1s"), []),
        (("--verdict", "deny", "--port", "443"), []),
    ],
)
def test_each_option_chooses_and_all_must_hold(directory: Path, options: tuple[str, ...], days: list[int]) -> None:
    lines = run(directory, "-o", "json", *options).output.splitlines()
    assert [int(json.loads(line)["time"][8:10]) for line in lines] == days


def test_a_line_says_who_decided_why_and_what_went_over_it(directory: Path) -> None:
    _, first, second = run(directory).output.splitlines()
    assert "deny x3" in first
    assert "shop/web-1 (10.0.0.1:41000)" in first
    assert "egress allow by NetworkPolicy shop/to-db rule 1; ingress deny by tier default (tier-default)" in first
    assert "[2001:db8::9]:443" in second
    assert "100/2000" in second


@pytest.mark.parametrize(("option", "value"), [("--since", "soon"), ("--src", "a/b/c"), ("--selector", "app ==")])
def test_what_makes_no_sense_is_named(directory: Path, option: str, value: str) -> None:
    with pytest.raises(InvalidInput):
        run(directory, option, value)


def test_without_files_what_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="flowLogsLocalReporter"):
        run(tmp_path / "nowhere")
