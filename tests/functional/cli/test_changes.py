"""Changing what is stored and looking before: patch, label, --dry-run, diff; on a real etcd."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.etcd
Run = Callable[..., subprocess.CompletedProcess[str]]

TIER = """
kind: Tier
apiVersion: projectcalico.org/v3
metadata: {name: default}
spec: {order: 1000000, defaultAction: Deny}
"""
POLICY = """
kind: NetworkPolicy
apiVersion: projectcalico.org/v3
metadata: {name: changed, namespace: changes, labels: {zone: a}}
spec:
  order: 100
  selector: app == 'web'
  ingress:
  - {action: Allow, protocol: TCP, destination: {ports: [80]}}
"""


@pytest.fixture(autouse=True)
def _stored(calico: Run) -> None:
    calico("create", "--skip-exists", "-f", "-", stdin=TIER)
    assert calico("apply", "-f", "-", stdin=POLICY).returncode == 0


def labels(document: dict[str, object]) -> dict[str, str]:
    """Those that people set."""
    found = document["metadata"].get("labels", {})
    return {key: value for key, value in found.items() if not key.startswith("projectcalico.org/")}


def stored(calico: Run, name: str = "changed") -> dict[str, object]:
    return json.loads(calico("get", "np", name, "-n", "changes", "-o", "json").stdout)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("strategic", '{"spec": {"order": 7}}'),
        ("merge", "spec: {order: 7}"),
        ("json", '[{"op": "replace", "path": "/spec/order", "value": 7}]'),
    ],
)
def test_a_patch_changes_what_it_says_and_nothing_else(calico: Run, kind: str, text: str) -> None:
    before = stored(calico)
    done = calico("patch", "np", "changed", "-n", "changes", "-t", kind, "-p", text)
    assert (done.returncode, done.stdout) == (0, "Successfully patched 1 resource\n")
    after = stored(calico)
    assert after["spec"] == {**before["spec"], "order": 7}
    assert labels(after) == {"zone": "a"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "the patch: is not JSON or YAML"),
        ('{"spec": {"odrer": 7}}', "spec.odrer: unknown field"),
        ('{"spec": {"selector": "a =="}}', "spec.selector"),
        ('{"metadata": {"name": "other"}}', "cannot change"),
        ("[1]", "is an object"),
    ],
)
def test_a_wrong_patch_is_refused_by_name(calico: Run, text: str, words: str) -> None:
    done = calico("patch", "np", "changed", "-n", "changes", "-p", text)
    assert (done.returncode, words in done.stderr) == (1, True), done.stderr
    assert "Traceback" not in done.stderr


def test_labels_are_set_changed_and_removed(calico: Run) -> None:
    def label(*arguments: str) -> subprocess.CompletedProcess[str]:
        return calico("label", "np", "changed", *arguments, "-n", "changes")

    assert label("rack=7").returncode == 0
    refused = label("zone=b")
    assert (refused.returncode, "--overwrite" in refused.stderr) == (1, True)
    assert label("zone=b", "--overwrite").returncode == 0
    assert labels(stored(calico)) == {"zone": "b", "rack": "7"}
    assert label("--remove", "zone").returncode == 0
    assert label("rack", "--remove").returncode == 0
    assert labels(stored(calico)) == {}
    assert label("a=b").returncode == 0
    assert label("a-").returncode == 0
    assert label("rack").returncode == 2


def test_a_dry_run_says_what_would_be_and_writes_nothing(calico: Run) -> None:
    before = stored(calico)
    changed = POLICY.replace("order: 100", "order: 5") + "---" + POLICY.replace("changed", "fresh")
    done = calico("apply", "--dry-run", "-f", "-", stdin=changed)
    assert done.stdout.splitlines() == [
        "NetworkPolicy changes/changed would be changed",
        "NetworkPolicy changes/fresh would be created",
    ]
    assert calico("apply", "--dry-run", "-f", "-", stdin=POLICY).stdout == (
        "NetworkPolicy changes/changed would be left as it is\n"
    )
    deleted = calico("delete", "np", "changed", "-n", "changes", "--dry-run")
    assert deleted.stdout == "NetworkPolicy changes/changed would be deleted\n"
    untiered = POLICY.replace("order: 100", "tier: missing").replace("changed", "fresh")
    refused = calico("apply", "--dry-run", "-f", "-", stdin=untiered)
    assert (refused.returncode, "missing" in refused.stderr) == (1, True)
    assert stored(calico) == before
    assert calico("get", "np", "fresh", "-n", "changes").returncode == 1
    assert calico("apply", "--dry-run", "--wait", "-f", "-", stdin=POLICY).returncode == 2


def test_a_difference_is_shown_by_meaning(calico: Run) -> None:
    same = calico("diff", "-f", "-", stdin=POLICY.replace("app == 'web'", 'app=="web"'))
    assert (same.returncode, same.stdout) == (0, "")
    rule = "  - {action: Deny, protocol: UDP}\n  - {action: Allow"
    done = calico("diff", "-f", "-", stdin=POLICY.replace("  - {action: Allow", rule).replace("100", "7"))
    assert done.returncode == 1
    lines = [line.strip() for line in done.stdout.splitlines()]
    assert lines[0] == "~ NetworkPolicy changes/changed"
    assert lines[lines.index("spec.order") + 1 : lines.index("spec.order") + 3] == ["- 100", "+ 7"]
    assert "spec.ingress[0]" in lines
    assert "spec.ingress[1]" not in lines
    data = json.loads(calico("diff", "-o", "json", "-f", "-", stdin=POLICY.replace("100", "7")).stdout)
    assert data[0]["changes"] == [{"path": "spec.order", "before": 100, "after": 7}]


@pytest.mark.parametrize(
    "text", ["kind: [", "kind: Tyre\nmetadata: {name: x}", POLICY.replace("order: 100", "tier: no")]
)
def test_a_difference_that_cannot_be_told_has_its_own_exit_code(calico: Run, text: str) -> None:
    done = calico("diff", "-f", "-", stdin=text)
    assert (done.returncode, done.stdout, "error: " in done.stderr) == (3, "", True)


def test_old_and_kubernetes_manifests_can_be_converted_and_applied(calico: Run, tmp_path: Path) -> None:
    old = tmp_path / "old.yaml"
    old.write_text(
        """
apiVersion: v1
kind: policy
metadata: {name: old}
spec: {order: 1, selector: a == 'b', ingress: [{action: allow, protocol: tcp, destination: {ports: [22]}}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: k8s, namespace: changes}
spec: {podSelector: {matchLabels: {app: web}}, ingress: [{ports: [{port: 80}]}]}
---
apiVersion: crd.projectcalico.org/v1
kind: GlobalNetworkSet
metadata: {name: crd, uid: x, managedFields: [], annotations: {projectcalico.org/metadata: '{"labels": {"a": "b"}}'}}
spec: {nets: [10.0.0.0/8]}
"""
    )
    done = calico("convert", "-f", str(old))
    assert done.returncode == 0, done.stderr
    documents = list(yaml.safe_load_all(done.stdout))
    kinds = [(document["kind"], document["metadata"]["name"]) for document in documents]
    assert kinds == [("GlobalNetworkPolicy", "old"), ("NetworkPolicy", "k8s"), ("GlobalNetworkSet", "crd")]
    assert documents[2]["metadata"] == {"name": "crd", "labels": {"a": "b"}}
    assert calico("apply", "-f", "-", stdin=done.stdout).returncode == 0
    assert calico("convert", "-f", "-", stdin=done.stdout).stdout == done.stdout


def test_what_cannot_be_converted_is_named_and_the_rest_is_printed(calico: Run) -> None:
    documents = "{apiVersion: v1, kind: tier}\n---\n{apiVersion: v1, kind: ipPool, metadata: {cidr: 10.0.0.0/16}}\n"
    done = calico("convert", "-o", "json", "-f", "-", stdin=documents)
    assert (done.returncode, json.loads(done.stdout)["kind"]) == (1, "IPPool")
    assert "document 1: tier: kind: cannot be converted" in done.stderr


def test_files_are_validated_without_a_datastore(tmp_path: Path, calico: Run) -> None:
    (tmp_path / "good.yaml").write_text(POLICY)
    good = calico("validate", "-f", str(tmp_path))
    assert (good.returncode, good.stdout) == (0, "1 resource, 0 faults\n")
    (tmp_path / "bad.yaml").write_text(POLICY.replace("order", "odrer").replace("[80]", "[70000]") + "---\nkind: X\n")
    (tmp_path / "broken.yaml").write_text("a: [")
    done = calico(
        "validate", "-o", "json", *(part for file in sorted(tmp_path.glob("*.yaml")) for part in ("-f", str(file)))
    )
    faults = json.loads(done.stdout)["faults"]
    assert done.returncode == 1
    assert [fault["field"] for fault in faults] == [
        "",
        "spec.odrer",
        "spec.ingress[0].destination.ports[0]",
        "kind",
        "metadata.name",
    ]
    assert "is given already in" in faults[-1]["message"]
