"""``calico datastore roles`` and ``accept`` on a real etcd, as an operator uses them."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.etcd

NewStore = Callable[[str], Any]  # of conftest

NODE = """
kind: Node
apiVersion: projectcalico.org/v3
metadata: {name: h1}
"""


def as_user(store: Any, user: str) -> dict[str, str]:
    return {"ETCD_USERNAME": user, "ETCD_PASSWORD_FILE": str(store.directory / "passwords" / user)}


def test_users_get_passwords_that_work_once_etcd_asks(new_store: NewStore) -> None:
    store = new_store("solo")
    store.ok("apply", "-f", "-", stdin=NODE)
    dry = json.loads(store.ok("datastore", "roles", "--all-nodes", "--dry-run", "-o", "json"))
    assert {item["user"] for item in dry["users"]} == {
        *("calico-felix-h1", "calico-bgp-h1", "calico-cni-h1", "calico-openstack-h1"),
        *("calico-kubernetes", "calico-neutron", "calico-operator", "calico-readonly"),
    }
    assert "add user calico-felix-h1" in dry["changes"]
    assert json.loads(store.ok("datastore", "roles", "--all-nodes", "--dry-run", "-o", "json")) == dry

    how = ("datastore", "roles", "--all-nodes", "--passwords", "passwords")
    made = store.ok(*how)
    assert "nothing is enforced before --enable" in made
    files = {path.name: path for path in (store.directory / "passwords").iterdir()}
    assert files.keys() == {item["user"] for item in dry["users"]}
    assert {stat.S_IMODE(path.stat().st_mode) for path in files.values()} == {0o600}
    before = {name: path.read_text() for name, path in files.items()}
    assert len(set(before.values())) == len(before)
    assert "0 changes" in store.ok(*how)
    store.ok(*how, "--enable")
    assert {name: path.read_text() for name, path in files.items()} == before

    assert "h1" in store.ok("get", "nodes", **as_user(store, "calico-readonly"))
    for user in ("calico-readonly", "calico-felix-h1"):
        refused = store.calico("apply", "-f", "-", stdin=NODE, **as_user(store, user))
        assert (refused.returncode, "lacks the right" in refused.stderr) == (1, True)
    assert "wants a user name" in store.calico("get", "nodes").stderr
    root = as_user(store, "root")
    assert "0 changes" in store.ok(*how, **root)

    store.ok(*how, "--new-passwords", **root)
    after = {name: path.read_text() for name, path in files.items()}
    assert all(after[name] != before[name] for name in before)
    assert "h1" in store.ok("get", "nodes", **as_user(store, "calico-readonly"))
    old = {"ETCD_USERNAME": "calico-readonly", "ETCD_PASSWORD": before["calico-readonly"].strip()}
    assert "wrong etcd user name or password" in store.calico("get", "nodes", **old).stderr


def test_what_users_have_too_much_is_taken_away_and_hosts_that_are_gone_are_pruned(new_store: NewStore) -> None:
    store = new_store("solo")
    store.ok("datastore", "roles", "--host", "h1", "--host", "gone")
    assert "0 changes" in store.ok("datastore", "roles", "felix", "--host", "h1")
    pruned = store.ok("datastore", "roles", "--host", "h1", "--prune")
    assert "delete user calico-cni-gone" in pruned
    assert "delete role calico-felix-gone" in pruned
    assert "0 changes" in store.ok("datastore", "roles", "--host", "h1", "--prune")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--enable", "--host", "h1"), 2, "--passwords"),
        (("felix", "--host", "h1", "--prune"), 2, "name none"),
        (("felix",), 1, "--host or --all-nodes"),
        (("felix", "--host", "a/b"), 1, "slash"),
        (("nobody",), 2, "nobody"),
    ],
)
def test_wrong_wishes_are_refused(new_store: NewStore, arguments: tuple[str, ...], code: int, words: str) -> None:
    done = new_store("solo").calico("datastore", "roles", *arguments)
    assert (done.returncode, words in done.stderr) == (code, True), done.stderr


def test_accepting_asks_first_and_says_what_it_is_about(new_store: NewStore) -> None:
    store = new_store("solo")
    assert store.calico("datastore", "accept").returncode == 2
    assert store.calico("datastore", "accept", "--host", "h1", "--all-hosts").returncode == 2
    store.ok("apply", "-f", "-", stdin=NODE)
    asked = store.calico("datastore", "accept", "--all-hosts", stdin="n\n")
    assert (asked.returncode, "1 nodes, 0 workload endpoints" in asked.stdout) == (1, True)
    assert not [key for key in store.all() if "/accept/" in key]
    done = store.ok("datastore", "accept", "--host", "h1", stdin="y\n")
    assert "Accepted for host h1" in done
    assert [key for key in store.all() if "/accept/" in key] == ["/calico/accept/v1/host/h1"]
