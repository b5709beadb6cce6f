"""``--confirm-within``: the command returns at once, and its guard undoes the change unless it is confirmed."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

pytestmark = pytest.mark.etcd
Run = Callable[..., subprocess.CompletedProcess[str]]

SET = """
kind: GlobalNetworkSet
apiVersion: projectcalico.org/v3
metadata: {name: NAME}
spec: {nets: [NET]}
"""


def document(name: str, net: str = "10.0.0.0/8") -> str:
    return SET.replace("NAME", name).replace("NET", net)


def trial_id(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stderr
    return done.stderr.split()[-1]


def nets(calico: Run, name: str) -> list[str] | None:
    done = calico("get", "gnetsets", name, "-o", "json")
    return json.loads(done.stdout)["spec"]["nets"] if done.returncode == 0 else None


def trial_state(calico: Run, name: str) -> dict[str, object]:
    listed = json.loads(calico("trial", "list", "-o", "json").stdout)
    return next(item for item in listed if item["id"] == name)


def await_state(calico: Run, name: str, state: str) -> dict[str, object]:
    deadline = time.monotonic() + 30
    while (found := trial_state(calico, name))["state"] != state:
        assert time.monotonic() < deadline, found
        time.sleep(0.2)
    return found


def guards(name: str = "") -> list[int]:
    """Processes that guard a trial; without a name any."""
    wanted = ["trial", "guard", name]
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            arguments = path.read_text().split("\0")
        except OSError:
            continue
        last = [part for part in arguments if part][-3:]
        if last == wanted or (not name and last[:2] == wanted[:2]):
            found.append(int(path.parent.name))
    return found


@pytest.fixture(scope="module", autouse=True)
def no_guard_stays(etcd_url: str) -> Iterator[None]:
    """A guard that has not seen the end of its trial yet would wait for its etcd for ever."""
    yield
    for guard in guards():
        with suppress(OSError):
            if f"ETCD_ENDPOINTS={etcd_url}\0" in Path(f"/proc/{guard}/environ").read_text():
                os.kill(guard, signal.SIGTERM)


def test_what_nobody_confirms_is_undone(calico: Run) -> None:
    assert calico("apply", "-f", "-", stdin=document("undone")).returncode == 0
    both = document("undone", "192.0.2.0/24") + "---" + document("fresh")
    trial = trial_id(calico("apply", "--confirm-within", "2s", "-f", "-", stdin=both))
    assert nets(calico, "undone") == ["192.0.2.0/24"]
    found = await_state(calico, trial, "rolled-back")
    assert (nets(calico, "undone"), nets(calico, "fresh")) == (["10.0.0.0/8"], None)
    assert [item["outcome"] for item in found["resources"]] == ["restored", "removed"]  # type: ignore[attr-defined]


def test_what_is_confirmed_stays_and_its_guard_ends(calico: Run) -> None:
    trial = trial_id(calico("create", "--confirm-within", "60s", "-f", "-", stdin=document("kept")))
    assert guards(trial)
    assert calico("trial", "confirm", trial).returncode == 0
    deadline = time.monotonic() + 30
    while guards(trial):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert nets(calico, "kept") == ["10.0.0.0/8"]


def test_the_guard_survives_the_end_of_the_session_that_started_it(calico: Run) -> None:
    trial = trial_id(calico("create", "--confirm-within", "3s", "-f", "-", stdin=document("hangup")))
    (guard,) = guards(trial)
    assert os.getsid(guard) != os.getsid(0)
    os.kill(guard, signal.SIGHUP)
    await_state(calico, trial, "rolled-back")
    assert nets(calico, "hangup") is None


def test_deleting_on_trial_brings_back(calico: Run) -> None:
    assert calico("apply", "-f", "-", stdin=document("gone")).returncode == 0
    trial = trial_id(calico("delete", "--confirm-within", "60s", "gnetsets", "gone"))
    assert nets(calico, "gone") is None
    done = calico("trial", "rollback", trial)
    assert "GlobalNetworkSet gone: restored" in done.stdout
    assert nets(calico, "gone") == ["10.0.0.0/8"]


def test_nothing_is_left_of_a_trial_in_which_something_failed(calico: Run) -> None:
    bad = document("first") + "---" + document("second").replace("10.0.0.0/8", "nonsense")
    done = calico("apply", "--confirm-within", "60s", "-f", "-", stdin=bad)
    assert done.returncode == 1
    assert "GlobalNetworkSet second" in done.stderr
    assert "everything was put back" in done.stderr
    assert nets(calico, "first") is None


def test_a_second_trial_of_the_same_resource_is_refused_before_anything_is_written(calico: Run) -> None:
    first = trial_id(calico("apply", "--confirm-within", "60s", "-f", "-", stdin=document("twice")))
    both = document("beside") + "---" + document("twice", "192.0.2.0/24")
    done = calico("apply", "--confirm-within", "60s", "-f", "-", stdin=both)
    assert done.returncode == 1
    assert f"calico trial confirm {first}" in done.stderr
    assert (nets(calico, "twice"), nets(calico, "beside")) == (["10.0.0.0/8"], None)
    assert calico("trial", "rollback", first).returncode == 0
    assert nets(calico, "twice") is None


def test_what_was_skipped_on_trial_is_not_rolled_back(calico: Run) -> None:
    assert calico("apply", "-f", "-", stdin=document("there")).returncode == 0
    arguments = ("create", "--skip-exists", "--confirm-within", "60s", "-f", "-")
    trial = trial_id(calico(*arguments, stdin=document("there")))
    assert calico("apply", "-f", "-", stdin=document("there", "192.0.2.0/24")).returncode == 0
    calico("trial", "rollback", trial)
    assert nets(calico, "there") == ["192.0.2.0/24"]


@pytest.mark.parametrize("kind", ["node", "ippool", "tier"])
def test_deletes_that_cascade_are_refused_on_trial(calico: Run, kind: str) -> None:
    done = calico("delete", "--confirm-within", "60s", kind, "some")
    assert done.returncode == 2
    assert "cannot be undone" in done.stderr


@pytest.mark.parametrize("duration", ["soon", "0s", "60", "25h"])
def test_a_time_that_makes_no_sense_is_refused_before_anything_is_written(calico: Run, duration: str) -> None:
    done = calico("apply", "--confirm-within", duration, "-f", "-", stdin=document("never"))
    assert done.returncode == 2
    assert "--confirm-within" in done.stderr
    assert nets(calico, "never") is None
