"""``calico apply|create|replace|delete|get`` on a real etcd: what goes in comes out, and errors name their place."""

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
metadata: {name: allow-web, namespace: shop}
spec:
  order: 100
  selector: app == 'web'
  ingress:
  - action: Allow
    protocol: TCP
    source: {selector: role == 'front'}
    destination: {ports: [80, "8000:8010"]}
"""
NEW_POLICY = POLICY.replace("allow-web", "new-policy")
SETS = """
kind: GlobalNetworkSet
apiVersion: projectcalico.org/v3
metadata: {name: one, labels: {zone: a}}
spec: {nets: [10.0.0.0/8, "fd00::/8"]}
---
{"kind": "GlobalNetworkSet", "apiVersion": "projectcalico.org/v3", "metadata": {"name": "two"}, "spec": {"nets": []}}
"""


def test_what_is_applied_comes_out_as_table_wide_yaml_json_and_name(calico: Run) -> None:
    assert calico("apply", "-f", "-", stdin=TIER).returncode == 0
    done = calico("apply", "-f", "-", stdin=POLICY)
    assert (done.returncode, done.stdout) == (0, "Successfully applied 1 resource\n")
    assert calico("get", "np", "-n", "shop").stdout.split() == ["NAME", "TIER", "allow-web", "default"]
    wide = calico("get", "networkpolicies", "-A", "-o", "wide").stdout.splitlines()
    assert wide[0].split() == ["NAMESPACE", "NAME", "TIER", "ORDER", "SELECTOR"]
    assert wide[1].split(maxsplit=4) == ["shop", "allow-web", "default", "100", "app == 'web'"]
    document = yaml.safe_load(calico("get", "policy", "allow-web", "-n", "shop", "-o", "yaml").stdout)
    assert document["kind"] == "NetworkPolicy"
    assert document["spec"]["types"] == ["Ingress"]
    assert document["metadata"]["uid"]
    listed = json.loads(calico("get", "np", "-A", "-o", "json").stdout)
    assert (listed["kind"], len(listed["items"])) == ("NetworkPolicyList", 1)
    assert calico("get", "np", "-n", "shop", "-o", "name").stdout == "networkpolicies/allow-web\n"


def test_what_get_prints_can_be_replaced_and_a_stale_version_is_refused(calico: Run, tmp_path: Path) -> None:
    assert calico("apply", "-f", "-", stdin=SETS).returncode == 0
    first = calico("get", "gnetsets", "one", "-o", "yaml").stdout
    assert calico("replace", "-f", "-", stdin=first).returncode == 0
    stale = calico("replace", "-f", "-", stdin=first)
    assert stale.returncode == 1
    assert "GlobalNetworkSet one" in stale.stderr


def test_creating_twice_is_an_error_unless_it_may_exist(calico: Run) -> None:
    assert calico("apply", "-f", "-", stdin=SETS).returncode == 0
    again = calico("create", "-f", "-", stdin=SETS)
    assert again.returncode == 1
    assert "GlobalNetworkSet one exists already" in again.stderr
    assert "0 of 2 resources created, 2 failed" in again.stderr
    assert calico("create", "--skip-exists", "-f", "-", stdin=SETS).returncode == 0


def test_deleting_by_name_and_by_file(calico: Run, tmp_path: Path) -> None:
    file = tmp_path / "sets.yaml"
    file.write_text(SETS)
    assert calico("apply", "-f", str(file)).returncode == 0
    assert calico("delete", "gnetsets", "one,two").stdout == "Successfully deleted 2 resources\n"
    assert calico("delete", "-f", str(file)).returncode == 1
    assert calico("delete", "-s", "-f", str(file)).returncode == 0
    assert calico("get", "globalnetworkset", "one").returncode == 1


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("kind: [", ["not YAML or JSON", "line"]),
        ("kind: Tyre\napiVersion: projectcalico.org/v3\nmetadata: {name: x}", ["Tyre x", "kind", "known:"]),
        ("kind: Tier\napiVersion: v1\nmetadata: {name: x}", ["Tier x", "apiVersion"]),
        (TIER.replace("order:", "ordr:"), ["Tier default", "spec.ordr", "unknown field"]),
        (TIER.replace("1000000", "soon"), ["Tier default", "spec.order"]),
        (POLICY.replace("app == 'web'", "app = web"), ["NetworkPolicy shop/allow-web", "spec.selector"]),
        (POLICY.replace("80,", "70000,"), ["NetworkPolicy shop/allow-web", "spec.ingress[0].destination.ports[0]"]),
        (NEW_POLICY.replace("order: 100", "order: 1\n  tier: missing"), ["new-policy", "missing"]),
    ],
)
def test_an_error_names_the_object_and_the_field(calico: Run, text: str, parts: list[str]) -> None:
    done = calico("apply", "-f", "-", stdin=text)
    assert done.returncode == 1
    for part in parts:
        assert part in done.stderr
    assert "Traceback" not in done.stderr


def test_one_bad_document_stops_nothing_that_can_be_written_afterwards(calico: Run) -> None:
    bad = NEW_POLICY.replace("order: 100", "order: 1\n  tier: missing") + "---" + SETS
    done = calico("apply", "-f", "-", stdin=bad)
    assert done.returncode == 1
    assert "2 of 3 resources applied, 1 failed" in done.stderr


def test_a_datastore_that_does_not_answer_is_named() -> None:
    import os
    import sys

    environment = {**os.environ, "ETCD_ENDPOINTS": "http://127.0.0.1:1"}
    command = [sys.executable, "-m", "calico", "get", "nodes"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=60)
    assert done.returncode == 1
    assert "127.0.0.1:1" in done.stderr
    assert "Traceback" not in done.stderr


def test_when_one_document_cannot_be_decoded_none_is_tried_and_that_is_said(calico: Run) -> None:
    good = "kind: Tier\napiVersion: projectcalico.org/v3\nmetadata: {name: untried}\nspec: {order: 5}\n"
    done = calico("apply", "-f", "-", stdin=f"{good}---\nkind: Nonsense\nmetadata: {{name: x}}\n")
    assert (done.returncode, "the others were not tried" in done.stderr) == (1, True)
    assert "does not exist" in calico("get", "tier", "untried").stderr


STAGED = POLICY.replace("NetworkPolicy", "StagedNetworkPolicy").replace("allow-web", "staged-web")


def test_staged_policies_go_in_and_come_out_as_others_do(calico: Run) -> None:
    calico("apply", "-f", "-", stdin=TIER)
    assert calico("apply", "-f", "-", stdin=STAGED).returncode == 0
    assert calico("get", "snp", "-n", "shop").stdout.split() == ["NAME", "TIER", "staged-web", "default"]
    wide = calico("get", "StagedNetworkPolicies", "-n", "shop", "-o", "wide").stdout.splitlines()
    assert wide[0].split() == ["NAME", "TIER", "ORDER", "SELECTOR", "STAGEDACTION"]
    assert wide[1].split() == ["staged-web", "default", "100", "app", "==", "'web'", "Set"]
    both = STAGED.replace("  selector", "  stagedAction: Delete\n  selector")
    refused = calico("apply", "-f", "-", stdin=both)
    assert refused.returncode == 1
    assert "spec.ingress: must be absent with stagedAction Delete" in refused.stderr
    assert calico("delete", "snp", "staged-web", "-n", "shop").returncode == 0


def test_a_staged_kubernetes_policy_keeps_its_kubernetes_form(calico: Run) -> None:
    document = """
kind: StagedKubernetesNetworkPolicy
apiVersion: projectcalico.org/v3
metadata: {name: web, namespace: shop}
spec:
  podSelector: {}
  ingress: [{from: [{podSelector: {matchLabels: {app: front}}}], ports: [{port: 80}]}]
"""
    assert calico("apply", "-f", "-", stdin=document).returncode == 0
    shown = yaml.safe_load(calico("get", "sknp", "web", "-n", "shop", "-o", "yaml").stdout)
    assert shown["spec"]["stagedAction"] == "Set"
    assert shown["spec"]["ingress"] == yaml.safe_load(document)["spec"]["ingress"]
    wrong = calico("apply", "-f", "-", stdin=document.replace("from:", "form:"))
    assert wrong.returncode == 1
    assert "spec.ingress[0].form" in wrong.stderr


def test_copies_of_kubernetes_policies_are_left_to_kubernetes(calico: Run) -> None:
    copy = POLICY.replace("allow-web", "knp.default.web")
    for command in ("apply", "create", "replace", "delete"):
        done = calico(command, "-f", "-", stdin=copy)
        assert done.returncode == 1
        assert "knp.default.web" in done.stderr
    assert calico("delete", "np", "knp.default.web", "-n", "shop").returncode == 1


HOST_ENDPOINT = """
kind: HostEndpoint
apiVersion: projectcalico.org/v3
metadata: {name: edge-eth0, labels: {role: edge}}
spec:
  node: edge
  interfaceName: eth0
  expectedIPs: [10.0.0.1, "fd00::1"]
  profiles: [projectcalico-default-allow]
"""


def test_a_host_endpoint_is_stored_shown_and_gone_with_its_node(calico: Run) -> None:
    node = {"kind": "Node", "apiVersion": "projectcalico.org/v3", "metadata": {"name": "edge"}, "spec": {}}
    assert calico("apply", "-f", "-", stdin=json.dumps(node)).returncode == 0
    assert calico("apply", "-f", "-", stdin=HOST_ENDPOINT).returncode == 0
    assert calico("get", "hep").stdout.split() == ["NAME", "NODE", "edge-eth0", "edge"]
    wide = calico("get", "hostendpoints", "-o", "wide").stdout.splitlines()
    assert wide[0].split() == ["NAME", "NODE", "INTERFACE", "IPS", "PROFILES"]
    assert wide[1].split() == ["edge-eth0", "edge", "eth0", "10.0.0.1,fd00::1", "projectcalico-default-allow"]
    assert calico("delete", "node", "edge").returncode == 0
    assert calico("get", "hep", "-o", "name").stdout == ""


def test_a_host_endpoint_that_is_no_interface_is_refused_with_its_fields(calico: Run) -> None:
    refused = calico("apply", "-f", "-", stdin=HOST_ENDPOINT.replace("node: edge", "node: ''").replace("10.0.0.1", "x"))
    assert refused.returncode == 1
    assert "spec.node" in refused.stderr
    assert "spec.expectedIPs[0]" in refused.stderr
