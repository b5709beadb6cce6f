"""The ways of ``calico get``, on a real etcd."""

import json
import os
import subprocess
import sys
from collections.abc import Callable

import pytest

pytestmark = pytest.mark.etcd
Run = Callable[..., subprocess.CompletedProcess[str]]


def net_set(name: str, namespace: str = "gets", zone: str = "a", net: str = "10.0.0.0/8") -> str:
    return f"""
kind: NetworkSet
apiVersion: projectcalico.org/v3
metadata: {{name: {name}, namespace: {namespace}, labels: {{zone: {zone}}}}}
spec: {{nets: [{net}]}}
---"""


@pytest.fixture(autouse=True)
def _stored(calico: Run) -> None:
    text = net_set("one") + net_set("two", zone="b", net="192.0.2.0/24") + net_set("three", namespace="others")
    assert calico("apply", "-f", "-", stdin=text).returncode == 0


def names(done: subprocess.CompletedProcess[str]) -> list[str]:
    return [line.removeprefix("networksets/") for line in done.stdout.split()]


def test_a_selector_and_an_order_choose_what_is_shown(calico: Run) -> None:
    assert names(calico("get", "netsets", "-n", "gets", "-o", "name", "-l", "zone == 'b'")) == ["two"]
    assert names(calico("get", "netsets", "-A", "-o", "name", "-l", "zone == 'a'")) == ["one", "three"]
    done = calico("get", "netsets", "-n", "gets", "-o", "name", "--sort-by", ".spec.nets[0]")
    assert names(done) == ["one", "two"]
    done = calico("get", "netsets", "-n", "gets", "-o", "name", "--sort-by", ".metadata.labels.zone")
    assert names(done) == ["one", "two"]
    wrong = calico("get", "netsets", "-l", "zone ==")
    assert (wrong.returncode, "Traceback" in wrong.stderr) == (1, False)


def test_columns_and_paths_of_choice(calico: Run) -> None:
    done = calico("get", "netsets", "-n", "gets", "-o", "custom-columns=WHO:.metadata.name,NETS")
    assert [line.split() for line in done.stdout.splitlines()] == [
        ["WHO", "NETS"],
        ["one", "10.0.0.0/8"],
        ["two", "192.0.2.0/24"],
    ]
    template = '{range .items[*]}{.metadata.name}{"\\n"}{end}'
    assert calico("get", "netsets", "-n", "gets", "-o", f"jsonpath={template}").stdout == "one\ntwo\n"
    one = calico("get", "netset/one", "-n", "gets", "-o", "jsonpath={.spec.nets[0]}")
    assert (one.returncode, one.stdout) == (1, "")
    one = calico("get", "networkset/one", "-n", "gets", "-o", "jsonpath={.spec.nets[0]}")
    assert (one.stdout, one.stderr) == ("10.0.0.0/8", "")


def test_what_is_absent_is_named_and_the_rest_is_shown(calico: Run) -> None:
    done = calico("get", "netsets", "one,nope", "two", "-n", "gets", "-o", "name")
    assert (done.returncode, names(done)) == (1, ["one", "two"])
    assert "nope does not exist" in done.stderr
    assert calico("get", "netsets", "one", "-l", "all()").returncode == 2
    assert calico("get", "netsets", "one", "-A").returncode == 2
    assert calico("get", "netsets", "-o", "xml").returncode == 2


def test_a_watch_shows_what_there_is_and_then_changes(calico: Run, etcd_url: str) -> None:
    environment = {**os.environ, "ETCD_ENDPOINTS": etcd_url}
    command = [
        sys.executable,
        "-m",
        "calico",
        "get",
        "netsets",
        "-n",
        "gets",
        "-o",
        "json",
        "--watch",
        "-l",
        "has(zone)",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as watch:
        assert watch.stdout is not None

        def told() -> tuple[str, str]:
            event = json.loads(watch.stdout.readline())  # type: ignore[union-attr]
            return event["type"], event["object"]["metadata"]["name"]

        try:
            assert [told(), told()] == [("ADDED", "one"), ("ADDED", "two")]
            calico("apply", "-f", "-", stdin=net_set("new"))
            assert told() == ("ADDED", "new")
            calico("label", "netsets", "new", "zone=c", "--overwrite", "-n", "gets")
            assert told() == ("MODIFIED", "new")
            calico("delete", "netsets", "new", "-n", "gets")
            assert told() == ("DELETED", "new")
        finally:
            watch.terminate()


def test_a_watch_prints_rows(calico: Run, etcd_url: str) -> None:
    environment = {**os.environ, "ETCD_ENDPOINTS": etcd_url}
    command = [sys.executable, "-m", "calico", "get", "netsets", "two", "-n", "gets", "--watch", "-o", "wide"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as watch:
        assert watch.stdout is not None
        try:
            assert watch.stdout.readline().split() == ["EVENT", "NAME", "NETS"]
            assert watch.stdout.readline().split() == ["ADDED", "two", "192.0.2.0/24"]
        finally:
            watch.terminate()


def test_a_damaged_entry_is_named_beside_what_is_shown(calico: Run, etcd_url: str) -> None:
    key = "/calico/resources/v3/projectcalico.org/networksets/gets/damaged"
    environment = {**os.environ, "ETCDCTL_API": "3"}

    def etcdctl(*arguments: str) -> None:
        command = ["etcdctl", "--endpoints", etcd_url, *arguments]
        subprocess.run(command, env=environment, check=True, capture_output=True, timeout=60)

    etcdctl("put", key, "{")
    try:
        done = calico("get", "netsets", "-n", "gets", "-o", "json")
        assert [item["metadata"]["name"] for item in json.loads(done.stdout)["items"]] == ["one", "two"]
        assert key in done.stderr
    finally:
        etcdctl("del", key)


def test_the_cluster_is_shown_whole(calico: Run) -> None:
    node = "kind: Node\napiVersion: projectcalico.org/v3\nmetadata: {name: gets-host}\nspec: {}\n"
    assert calico("apply", "-f", "-", stdin=node).returncode == 0
    document = json.loads(calico("cluster", "info", "-o", "json").stdout)
    assert document["datastore"]["ready"] is True
    assert document["cluster"]["clusterGUID"]
    assert {"name": "gets-host", "state": "never reported", "lastReport": "", "revision": 0} in document["hosts"]
    assert document["resources"]["NetworkSet"] >= 3
    shown = calico("cluster", "info")
    assert (shown.returncode, "gets-host" in shown.stdout) == (0, True)


def test_kinds_and_fields_are_explained_without_a_datastore(calico: Run) -> None:
    done = calico("explain", "np.spec.ingress.source")
    assert done.stdout.startswith("NetworkPolicy.spec.ingress.source: EntityRule\n")
    assert "nets" in done.stdout
    data = json.loads(calico("explain", "felixconfig.spec", "-R", "-o", "json").stdout)
    assert all(field["text"] for field in data["fields"])
    assert "NetworkPolicy" in calico("explain").stdout
    wrong = calico("explain", "np.spec.odrer")
    assert (wrong.returncode, "odrer" in wrong.stderr) == (1, True)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_can_complete(calico: Run, shell: str) -> None:
    done = calico("completion", shell)
    assert (done.returncode, "_CALICO_COMPLETE" in done.stdout) == (0, True)


def test_completion_knows_commands_and_kinds() -> None:
    def completed(words: str, number: int) -> list[str]:
        environment = {
            **os.environ,
            "COMP_WORDS": words,
            "COMP_CWORD": str(number),
            "_CALICO_COMPLETE": "bash_complete",
        }
        command = [sys.executable, "-c", "from calico.cli.main import main; main()"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)
        return [line.partition(",")[2] for line in done.stdout.splitlines()]

    assert completed("calico di", 1) == ["diff"]
    assert completed("calico get globalnetworks", 2) == ["globalnetworksets"]
