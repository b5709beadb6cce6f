from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import msgspec
import pytest

from calico.bgp.birdconf.difference import compare
from calico.bgp.birdconf.render import render
from calico.bgp.secret import Refused, Secret, SecretRef
from calico.bgp.secretfiles import SecretFiles
from calico.errors import InvalidInput

REF = {"secretKeyRef": {"name": "tor", "key": "md5"}}
PASSWORD = "correct horse; } # /* battery"


def _one_peer(world: Any, **spec: Any) -> Any:
    return world.node("a", "10.0.0.1").peer("tor", **{"peerIP": "10.0.0.9", "asNumber": 65000, "password": REF, **spec})


def _codes(planned: Any) -> dict[str, str]:
    return {problem.object: problem.code for problem in planned.problems}


def test_a_password_in_the_datastore_is_the_sessions(world: Any, bird_refusal: Any) -> None:
    planned = _one_peer(world).secret("tor", "md5", PASSWORD + "\n").plan("a")
    assert planned.problems == ()
    text = render(planned.plan, "/log")
    assert f'  password "{PASSWORD}";\n' in text
    assert bird_refusal(text) == ""


@pytest.mark.parametrize(
    ("password", "why"),
    [(None, "absent"), ("", "empty"), ("\n", "empty"), ('a"b', "cannot express"), ("a\nb", "cannot express"),
     ("pässword", "cannot express"), ("x" * 81, "longer than")],
)  # fmt: skip
def test_a_password_that_is_not_there_or_not_expressible_stops_its_peering_alone_and_is_not_quoted(
    world: Any, password: str | None, why: str
) -> None:
    _one_peer(world).node("b", "10.0.0.2")
    if password is not None:
        world.secret("tor", "md5", password)
    planned = world.plan("a")
    assert [peer.name for peer in planned.plan.peers] == ["Mesh_10_0_0_2"]
    (problem,) = planned.problems
    assert (problem.object, problem.code) == ("BGPPeer tor", "bgp-password-unavailable")
    assert "spec.password: secret tor/md5" in problem.message
    assert why in problem.message
    assert not password or password not in problem.message


@pytest.mark.parametrize("password", [None, 'a"b'])
def test_optional_means_that_the_secret_may_be_absent_but_not_unusable(world: Any, password: str | None) -> None:
    optional = {"secretKeyRef": {**REF["secretKeyRef"], "optional": True}}
    _one_peer(world, password=optional)
    if password is not None:
        world.secret("tor", "md5", password)
    planned = world.plan("a")
    assert [peer.password for peer in planned.plan.peers] == ([] if password else [None])
    assert _codes(planned) == ({"BGPPeer tor": "bgp-password-unavailable"} if password else {})


def test_an_optional_password_that_is_there_is_used(world: Any) -> None:
    _one_peer(world, password={"secretKeyRef": {"name": "tor", "key": "md5", "optional": True}})
    (peer,) = world.secret("tor", "md5", "secret").plan("a").plan.peers
    assert peer.password == Secret("secret")


def test_a_mesh_without_its_password_is_stopped_and_nothing_else(world: Any) -> None:
    world.node("a", "10.0.0.1").node("b", "10.0.0.2").config(nodeMeshPassword=REF)
    world.peer("plain", peerIP="10.0.0.254", asNumber=65000)
    planned = world.plan("a")
    assert [peer.name for peer in planned.plan.peers] == ["Global_10_0_0_254"]
    assert _codes(planned) == {"BGPConfiguration default": "bgp-password-unavailable"}
    planned = world.secret("tor", "md5", "secret").plan("a")
    assert {peer.name: peer.password for peer in planned.plan.peers}["Mesh_10_0_0_2"] == Secret("secret")


def test_a_mesh_password_that_names_no_secret_stops_the_mesh(world: Any) -> None:
    world.node("a", "10.0.0.1").node("b", "10.0.0.2").config(nodeMeshPassword={})
    planned = world.plan("a")
    assert planned.plan.peers == ()
    assert _codes(planned) == {"BGPConfiguration default": "bgp-resource-invalid"}


def test_a_peering_without_its_password_does_not_run_as_mesh_session_nor_in_reverse(world: Any) -> None:
    world.node("a", "10.0.0.1").node("b", "10.0.0.2").peer("all", peerSelector="all()", password=REF)
    assert world.sessions("a") == {}
    assert world.sessions("b") == {}


def test_hosts_that_take_no_part_in_a_peering_do_not_miss_its_password(world: Any) -> None:
    world.node("b", "10.0.0.2").config(nodeToNodeMeshEnabled=False)
    planned = _one_peer(world, node="a").plan("b")
    assert (planned.plan.peers, planned.problems) == ((), ())


def test_both_ends_of_a_reverse_peering_have_the_password(world: Any) -> None:
    world.config(nodeToNodeMeshEnabled=False).secret("tor", "md5", "secret")
    world.node("a", "10.0.0.1").node("r", "10.0.0.9", labels={"rr": ""})
    world.peer("rr", nodeSelector="!has(rr)", peerSelector="has(rr)", password=REF)
    for node in "ar":
        assert [peer.password for peer in world.plan(node).plan.peers] == [Secret("secret")]


def test_a_changed_password_resets_its_session_alone(new_world: Any) -> None:
    old, new = (new_world().node("b", "10.0.0.2").secret("tor", "md5", word) for word in ("one", "two"))
    texts = [render(_one_peer(each).plan("a").plan, "/log") for each in (old, new)]
    assert compare(*texts).resets == {"Global_10_0_0_9"}
    assert compare(*texts).rekeyed == {"Global_10_0_0_9"}
    assert compare(*texts).kept == {"Mesh_10_0_0_2"}


def test_a_password_that_looks_like_a_filter_is_compared_all_the_same(new_world: Any) -> None:
    worlds = (new_world().secret("tor", "md5", f"import filter {name};") for name in ("one", "two"))
    texts = [render(_one_peer(each).plan("a").plan, "/log") for each in worlds]
    assert compare(*texts).resets == {"Global_10_0_0_9"}


def test_a_secret_never_shows_in_any_text_made_of_it(world: Any) -> None:
    secret = Secret("hidden-word")
    plan = _one_peer(world).secret("tor", "md5", "hidden-word").plan("a")
    for text in (repr(secret), str(secret), f"{secret}", f"{secret!r:>30}", repr([secret]), repr(plan), str(plan)):
        assert "hidden-word" not in text
    for write in (msgspec.json.encode, msgspec.to_builtins, pickle.dumps, json.dumps):
        with pytest.raises(TypeError) as raised:
            write(secret)
        assert "hidden-word" not in str(raised.value)


def test_only_the_emitter_reveals_a_secret() -> None:
    source = Path(__file__).parents[3] / "src" / "calico"
    callers = [path.relative_to(source).as_posix() for path in source.rglob("*.py") if ".reveal()" in path.read_text()]
    assert callers == ["bgp/birdconf/peers.py"]


def test_a_secret_that_gets_past_the_planner_is_refused_without_being_quoted(world: Any) -> None:
    plan = _one_peer(world).secret("tor", "md5", "x").plan("a").plan
    bad = msgspec.structs.replace(plan.peers[0], password=Secret('hidden"word'))
    with pytest.raises(InvalidInput) as raised:
        render(msgspec.structs.replace(plan, peers=(bad,)), "/log")
    assert "hidden" not in str(raised.value)
    assert raised.value.__suppress_context__


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    folder = tmp_path / "tor"
    folder.mkdir()
    (folder / "md5").write_text("secret\n")
    (folder / "md5").chmod(0o600)
    return tmp_path


WANTED = SecretRef("tor", "md5")


def test_a_file_that_only_its_owner_reads_is_a_secret(secrets: Path) -> None:
    assert SecretFiles(secrets).read([WANTED]) == {WANTED: Secret("secret")}


def test_links_are_followed_as_in_a_mounted_secret(secrets: Path) -> None:
    (secrets / "tor" / "..data").mkdir()
    (secrets / "tor" / "md5").rename(secrets / "tor" / "..data" / "md5")
    (secrets / "tor" / "md5").symlink_to("..data/md5")
    assert SecretFiles(secrets).read([WANTED]) == {WANTED: Secret("secret")}


@pytest.mark.parametrize("name", ["tor/md5", "tor", ""])
def test_what_is_absent_is_absent(secrets: Path, name: str) -> None:
    missing = SecretRef("tor", "other") if name == "tor/md5" else SecretRef("other", "md5")
    files = SecretFiles(secrets if name else secrets / "none")
    assert files.read([missing]) == {}


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda path: path.chmod(0o640), "can be read by others"),
        (lambda path: path.chmod(0o604), "can be read by others"),
        (lambda path: path.parent.chmod(0o777), "can be written by others"),
        (lambda path: (path.unlink(), os.mkfifo(path, 0o600)), "no regular file"),
        (lambda path: (path.unlink(), path.mkdir()), "no regular file"),
        (lambda path: path.write_bytes(b""), "empty"),
        (lambda path: path.write_bytes(b"\xff"), "cannot express"),
        (lambda path: path.write_bytes(b"x" * 9000), "longer"),
        (lambda path: (path.unlink(), path.symlink_to("md5")), "cannot be read"),
    ],
)
def test_a_file_that_must_not_or_cannot_be_used_is_refused_by_name(secrets: Path, spoil: Any, why: str) -> None:
    spoil(secrets / "tor" / "md5")
    found = SecretFiles(secrets).read([WANTED])[WANTED]
    assert isinstance(found, Refused)
    assert str(secrets / "tor") in found.reason
    assert why in found.reason


@pytest.mark.root
def test_a_file_of_another_user_is_refused(secrets: Path) -> None:
    os.chown(secrets / "tor" / "md5", 65534, 65534)
    found = SecretFiles(secrets).read([WANTED])[WANTED]
    assert isinstance(found, Refused)
    assert "another user" in found.reason


def test_a_refused_file_is_not_replaced_by_the_datastores_password(world: Any, secrets: Path) -> None:
    from calico.bgp.planning.plan import build_plan
    from calico.bgp.planning.snapshot import SnapshotStore, named_secrets

    _one_peer(world).secret("tor", "md5", "from the datastore")
    (secrets / "tor" / "md5").chmod(0o644)
    store = SnapshotStore("a")
    store.apply(world.updates)
    snapshot = store.view()
    found = {**snapshot.secrets, **SecretFiles(secrets).read(named_secrets(snapshot))}
    planned = build_plan(msgspec.structs.replace(snapshot, secrets=found), "a")
    assert planned.plan.peers == ()
    assert _codes(planned) == {"BGPPeer tor": "bgp-password-unavailable"}


def test_what_birds_parser_says_about_a_line_with_a_password_does_not_quote_it(world: Any, bird_refusal: Any) -> None:
    text = render(_one_peer(world).secret("tor", "md5", "hidden-word").plan("a").plan, "/log")
    refusal = bird_refusal(text.replace('  password "hidden-word";', '  password "hidden-word" x;'))
    assert "syntax error" in refusal
    assert "hidden-word" not in refusal
