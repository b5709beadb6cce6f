"""``calico datastore`` on real etcd: initialise, lock, look, and everything out of one store and into another."""

from __future__ import annotations

import base64
import json
import stat
from collections.abc import Callable
from typing import Any

import pytest
import yaml

pytestmark = pytest.mark.etcd

RESOURCES = "/calico/resources/v3/projectcalico.org/"
INFO = f"{RESOURCES}clusterinformations/default"
NODE = """
kind: Node
apiVersion: projectcalico.org/v3
metadata: {name: h1, labels: {rack: a}}
spec: {bgp: {ipv4Address: 192.0.2.1/24}}
"""


Store = Any  # of conftest
NewStore = Callable[[str], Store]

BLOCK = {
    "cidr": "10.0.0.0/26",
    "affinity": "host:h1",
    "allocations": [0, None],
    "sequenceNumber": 18446744073709551615,
    "attributes": [{"handle_id": "k8s-pod-network.abc"}],
}
ODD = {
    "/calico/ipam/v2/assignment/ipv4/block/10.0.0.0-26": json.dumps(BLOCK).encode(),
    "/calico/ipam/v2/host/h1/ipv4/block/10.0.0.0-26": b'{"state":"confirmed","deleted":false}',
    "/calico/ipam/v2/handle/k8s-pod-network.abc": b'{"block":{"10.0.0.0/26":1},"deleted":false}',
    "/calico/dhcp/v2/no-region/subnet/s1": b'{"cidr":"10.0.0.0/24"}',
    "/calico/bgp/v1/secrets/peers/tor": b"hush",
    f"{RESOURCES}ipamconfigurations/default": b'{"kind":"IPAMConfiguration","spec":{"strictAffinity":true}}',
    f"{RESOURCES}globalnetworkpolicies/default.torn": b'{"kind":"GlobalNetworkPolicy","spec":{',
    f"{RESOURCES}globalnetworkpolicies/twice": b'{"spec":{"order":1},"spec":{"order":2}}',
    f"{RESOURCES}globalnetworkpolicies/huge": b'{"spec":{"order":1e400}}',
    f"{RESOURCES}globalnetworkpolicies/deep": b'{"spec":' + b"[" * 5000 + b"]" * 5000 + b"}",
    f"{RESOURCES}nodes/\udcff\udcfe": b"not text",
}


def fill(store: Store) -> None:
    store.ok("datastore", "init", "--cluster-type", "lab")
    store.ok("apply", "-f", "-", stdin=NODE)
    store.put(ODD)
    store.put({"/calico/felix/v2/no-region/host/h1/last_reported_status": b"{}", "/calico/trial/v1/x": b"{}"})
    store.lease("/calico/openstack/v2/no-region/neutron_election")


def left_out(key: str) -> bool:
    return key.startswith(("/calico/felix/", "/calico/trial/", "/calico/openstack/"))


def same_json(one: bytes, other: bytes) -> bool:
    try:
        return bool(json.loads(one) == json.loads(other))
    except (ValueError, RecursionError):
        return one == other


def test_initialising_is_repeatable_and_a_lock_survives_it(new_store: NewStore) -> None:
    store = new_store("solo")
    refused = store.calico("datastore", "lock")
    assert (refused.returncode, "calico datastore init" in refused.stderr) == (1, True)
    first = json.loads(store.ok("datastore", "init", "--cluster-type", "k8s,lab", "-o", "json"))
    assert first["datastoreReady"] is True
    assert {key.rpartition("/")[2] for key in store.all() if "/tiers/" in key} == {
        "default",
        "kube-admin",
        "kube-baseline",
    }
    assert "was already unlocked" in store.ok("datastore", "unlock")
    assert "is locked" in store.ok("datastore", "lock")
    again = json.loads(store.ok("datastore", "init", "--cluster-type", "lab,bare", "-o", "json"))
    assert again == {**first, "datastoreReady": False, "clusterType": "k8s,lab,bare"}
    assert "is unlocked" in store.ok("datastore", "unlock")
    assert json.loads(store.all()[INFO])["spec"]["datastoreReady"] is True


def test_defaults_and_pools_are_made_when_asked_for_and_left_alone_when_there(new_store: NewStore) -> None:
    store = new_store("solo")
    wrong = store.calico("datastore", "init", "--ipv4-pool", "fd00::/64")
    assert (wrong.returncode, "of the other family" in wrong.stderr, store.all()) == (2, True, {})
    store.ok("datastore", "init", "--ipv4-pool", "10.9.0.0/16")
    options = ("--defaults", "--ipv4-pool", "10.8.0.0/16", "--ipv6-pool", "fd09::/64", "-o", "json")
    made = json.loads(store.ok("datastore", "init", *options))["created"]
    assert made == [
        "FelixConfiguration default",
        "BGPConfiguration default",
        "IPAMConfiguration default",
        "IPPool default-ipv6-ippool",
    ]
    found = {key.removeprefix(RESOURCES): json.loads(value)["spec"] for key, value in store.all().items()}
    ipv4, ipv6 = found["ippools/default-ipv4-ippool"], found["ippools/default-ipv6-ippool"]
    assert [(pool["cidr"], pool["blockSize"]) for pool in (ipv4, ipv6)] == [("10.9.0.0/16", 26), ("fd09::/64", 122)]
    assert (ipv4["natOutgoing"], ipv6.get("natOutgoing", False)) == (True, False)
    assert found["felixconfigurations/default"]["logSeverityScreen"] == "Info"
    assert found["ipamconfigurations/default"]["autoAllocateBlocks"] is True
    assert json.loads(store.ok("datastore", "init", *options))["created"] == []


def test_status_says_what_a_person_asks_and_fails_when_something_is_wrong(new_store: NewStore) -> None:
    store = new_store("solo")
    done = store.calico("datastore", "status", "-o", "json")
    assert done.returncode == 1
    assert "has not been initialised" in "".join(json.loads(done.stdout)["problems"])
    fill(store)
    document = json.loads(store.ok("datastore", "status", "-o", "json"))
    assert [(m["endpoint"], m["leader"], m["error"]) for m in document["members"]] == [(store.url, True, "")]
    assert document["cluster"]["ready"] is True
    assert document["cluster"]["clusterGUID"] == json.loads(store.all()[INFO])["spec"]["clusterGUID"]
    assert document["keys"]["nodes"] == 2
    assert document["keys"]["all"] == len(store.all())
    text = store.ok("datastore", "status")
    for words in ("leader", document["cluster"]["clusterGUID"], "Ready       yes", "IPAM"):
        assert words in text
    store.ok("datastore", "lock")
    locked = store.calico("datastore", "status")
    assert (locked.returncode, "datastoreReady is not true" in locked.stdout) == (1, True)
    store.stop()
    gone = store.calico("datastore", "status")
    assert (gone.returncode, store.url in gone.stdout) == (1, True)


@pytest.mark.parametrize("output", ["yaml", "json"])
def test_an_export_holds_everything_and_an_import_brings_it_back(new_store: NewStore, output: str) -> None:
    old, new = new_store("old"), new_store("new")
    fill(old)
    old.ok("datastore", "export", "-f", "all", "-o", output)
    assert "hush" not in (spared := old.ok("datastore", "export", "--no-secrets", "-o", output))
    assert base64.b64encode(b"hush").decode() not in spared
    file = old.directory / "all"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    document = yaml.safe_load(file.read_text())
    [node] = [item for item in document["resources"] if item["kind"] == "Node"]
    assert node["metadata"]["uid"] == json.loads(old.all()[f"{RESOURCES}nodes/h1"])["metadata"]["uid"]
    by_key = {item.get("key", item.get("keyBase64")): item for item in document["keys"]}
    assert by_key["/calico/ipam/v2/assignment/ipv4/block/10.0.0.0-26"]["value"] == BLOCK
    assert base64.b64decode(by_key["/calico/bgp/v1/secrets/peers/tor"]["base64"]) == b"hush"

    tried = json.loads(new.ok("datastore", "import", "-f", "all", "--dry-run", "-o", "json"))
    assert (new.all(), tried["dryRun"]) == ({}, True)
    done = json.loads(new.ok("datastore", "import", "-f", "all", "-o", "json"))
    assert sorted(done["keys"]) == sorted(tried["keys"])
    wanted = {key: value for key, value in old.all().items() if not left_out(key)}
    found = new.all()
    assert found.keys() == wanted.keys()
    assert [key for key in wanted if key != INFO and not same_json(wanted[key], found[key])] == []
    assert {name for name in ODD if found[name] == ODD[name]} >= {
        name for name in ODD if name.rpartition("/")[2] in ("default.torn", "twice", "huge", "deep", "tor")
    }
    assert any("twice" in problem or "torn" in problem for problem in done["damaged"])

    assert json.loads(found[INFO])["spec"]["datastoreReady"] is False
    new.ok("datastore", "unlock")
    assert same_json(new.all()[INFO], wanted[INFO])


def test_an_import_spares_what_is_there_unless_told_otherwise(new_store: NewStore) -> None:
    store = new_store("solo")
    fill(store)
    store.ok("datastore", "export", "-f", "all.yaml")
    before = store.all()
    refused = store.calico("datastore", "import", "-f", "all.yaml")
    assert (refused.returncode, "is not empty" in refused.stderr, store.all()) == (1, True, before)

    node, extra = f"{RESOURCES}nodes/h1", f"{RESOURCES}nodes/later"
    changed = before[node].replace(b"192.0.2.1", b"192.0.2.9")
    store.put({node: changed, extra: b'{"kind":"Node"}'})
    kept = store.ok("datastore", "import", "-f", "all.yaml", "--existing", "keep", "--unlock")
    assert "0 keys written" in kept
    assert "1 kept" in kept
    assert store.all()[node] == changed
    done = store.calico("datastore", "import", "-f", "all.yaml", "--existing", "replace", "--unlock")
    assert (done.returncode, f"{extra} is only in the datastore" in done.stderr) == (0, True)
    assert same_json(store.all()[node], before[node])
    assert extra in store.all()
    assert same_json(store.all()[INFO], before[INFO])


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ("kind: Node", "is not a CalicoDatastoreExport"),
        ("{", "is not YAML or JSON"),
        ("{kind: CalicoDatastoreExport, version: 2}", "version"),
        ("{kind: CalicoDatastoreExport, version: 1, keys: [{key: /other/a, value: 1}]}", "keys[0].key"),
        ("{kind: CalicoDatastoreExport, version: 1, keys: [{key: /calico/felix/a, value: 1}]}", "keys[0].key"),
        ("{kind: CalicoDatastoreExport, version: 1, keys: [{key: /calico/a, base64: '!'}]}", "no base64"),
        ("{kind: CalicoDatastoreExport, version: 1, keys: [{key: /calico/a, value: .nan}]}", "is no JSON"),
        ("{kind: CalicoDatastoreExport, version: 1, keys: [{key: /calico/a, value: 1}, {key: /calico/a, value: 2}]}",
         "stands there twice"),
        ("{kind: CalicoDatastoreExport, version: 1, resources: [{kind: Node}]}", "resources[0]"),
        ("{kind: CalicoDatastoreExport, version: 1, resources: 7}", "must be a list"),
        ("{kind: CalicoDatastoreExport, version: 1, keys: [{key: /calico/a, value: 1}]}", "ClusterInformation default"),
    ],
)  # fmt: skip
def test_a_wrong_document_is_refused_by_its_place_and_nothing_is_written(
    new_store: NewStore, document: str, words: str
) -> None:
    store = new_store("solo")
    done = store.calico("datastore", "import", "-f", "-", stdin=document)
    assert (done.returncode, words in done.stderr, store.all()) == (1, True, {}), done.stderr


def test_a_value_that_etcd_cannot_hold_is_named_before_anything_is_written(new_store: NewStore) -> None:
    store = new_store("solo")
    key = "/calico/ipam/v2/config"
    document = {"kind": "CalicoDatastoreExport", "version": 1, "keys": [{"key": key, "value": "x" * 1_600_000}]}
    done = store.calico("datastore", "import", "-f", "-", stdin=json.dumps(document))
    assert (done.returncode, key in done.stderr, "too large" in done.stderr, store.all()) == (1, True, True, {})


def test_everything_moves_to_another_etcd_and_the_old_one_stays_locked(new_store: NewStore) -> None:
    old, new = new_store("old"), new_store("new")
    fill(old)
    before = old.all()
    config = old.directory / "old.yaml"
    config.write_text(yaml.safe_dump({"kind": "CalicoAPIConfig", "spec": {"etcdEndpoints": old.url}}))
    new.ok("datastore", "migrate", "--from", str(config), "--dry-run")
    assert (old.all(), new.all()) == (before, {})
    itself = old.calico("datastore", "migrate", "--from", str(config))
    assert (itself.returncode, "the same cluster" in itself.stderr, old.all()) == (1, True, before)

    new.put({f"{RESOURCES}nodes/h1": b"{}"})
    refused = new.calico("datastore", "migrate", "--from", str(config))
    assert (refused.returncode, "is not empty" in refused.stderr) == (1, True)
    assert json.loads(old.all()[INFO])["spec"]["datastoreReady"] is True

    new.ok("datastore", "migrate", "--from", str(config), "--existing", "replace")
    moved = new.all()
    assert moved.keys() == {key for key in before if not left_out(key)}
    assert [key for key in moved if key != INFO and moved[key] != before[key]] == []
    assert same_json(moved[INFO], before[INFO])
    assert json.loads(old.all()[INFO])["spec"]["datastoreReady"] is False
    assert {key: value for key, value in old.all().items() if key != INFO} == {
        key: value for key, value in before.items() if key != INFO
    }


def test_warnings_about_damaged_entries_do_not_spoil_the_answer(new_store: NewStore) -> None:
    store = new_store("solo")
    fill(store)
    done = store.calico("get", "globalnetworkpolicies", "-o", "json")
    assert isinstance(json.loads(done.stdout)["items"], list)
    assert "default.torn" in done.stderr


def test_policies_of_older_versions_are_shown_as_a_diff_and_then_moved(new_store: NewStore) -> None:
    store = new_store("solo")
    store.ok("datastore", "init")
    prefix = f"{RESOURCES}globalnetworkpolicies/"
    torn, old = f"{prefix}default.torn", f"{prefix}default.web"
    store.put({old: b'{"metadata":{"name":"default.web"},"spec":{"selector":"all()"}}', torn: b"{"})
    before = store.all()
    refused = store.calico("get", "gnp", "web")
    assert (refused.returncode, "calico datastore migrate-policy-names" in refused.stderr) == (1, True)
    tried = store.calico("datastore", "migrate-policy-names", "--dry-run")
    assert tried.returncode == 1
    assert [line for line in tried.stdout.splitlines() if line.startswith(("---", "+++"))] == [
        f"--- {old}",
        f"+++ {prefix}web",
    ]
    assert '-    "name": "default.web"' in tried.stdout
    assert f"{torn}: cannot be read" in tried.stderr
    assert store.all() == before
    done = store.calico("datastore", "migrate-policy-names", "-o", "json")
    assert (done.returncode, [move["newKey"] for move in json.loads(done.stdout)["moves"]]) == (1, [f"{prefix}web"])
    store.remove(torn)
    assert store.ok("datastore", "migrate-policy-names") == "0 policies moved, 0 left as they are\n"
    assert "web" in store.ok("get", "gnp", "web")
