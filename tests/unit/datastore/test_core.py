"""The file of the core, how members are started from it, and what is said of their health."""

from __future__ import annotations

import pytest

from calico.datastore.core.cluster import Core, core_warnings, gateway_argv, member_config, own_member, parse_core
from calico.datastore.core.health import findings
from calico.datastore.etcd.backend import MemberStatus
from calico.datastore.etcd.server import etcd_argv
from calico.errors import InvalidInput

THREE = """
members: {a: 192.0.2.1, b: 192.0.2.2, c: "2001:db8::3"}
token: red
tls: {ca: /t/ca, cert: /t/cert, key: /t/key}
"""
GIB = 1024**3


def test_members_listen_at_their_own_address_only_and_know_each_other() -> None:
    argv = etcd_argv(member_config(parse_core(THREE, "f"), "c"), "etcd")
    assert "--listen-client-urls=https://[2001:db8::3]:2379" in argv
    assert "--listen-peer-urls=https://[2001:db8::3]:2380" in argv
    peers = "a=https://192.0.2.1:2380,b=https://192.0.2.2:2380,c=https://[2001:db8::3]:2380"
    assert f"--initial-cluster={peers}" in argv
    assert "--initial-cluster-token=red" in argv
    assert "--initial-cluster-state=new" in argv
    assert "--unsafe-no-fsync" not in argv


def test_with_tls_clients_and_members_must_show_a_certificate() -> None:
    argv = etcd_argv(member_config(parse_core(THREE, "f"), "a"), "etcd")
    assert {"--client-cert-auth", "--peer-client-cert-auth", "--peer-trusted-ca-file=/t/ca"} <= set(argv)
    assert {"--cert-file=/t/cert", "--peer-key-file=/t/key"} <= set(argv)


def test_a_member_that_joins_says_so() -> None:
    assert member_config(parse_core(THREE, "f"), "a", join=True).existing
    with pytest.raises(InvalidInput, match="no member 'd'"):
        member_config(parse_core(THREE, "f"), "d")


def test_the_gateway_forwards_to_every_member() -> None:
    argv = gateway_argv(parse_core(THREE, "f"), "127.0.0.1:2379")
    assert "--endpoints=192.0.2.1:2379,192.0.2.2:2379,[2001:db8::3]:2379" in argv
    assert "--listen-addr=127.0.0.1:2379" in argv


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[]", "core cluster"),
        ("members: {", "core cluster"),
        ("token: red", "members"),
        ("members: {}", "1 to 7 members"),
        ("members: {a: 192.0.2.1}\nquota: 5", "quota"),
        ("members: {a: host}", "members.a"),
        ("members: {a: 'fe80::1%eth0'}", "members.a"),
        ("members: {'a,b': 192.0.2.1}", "members.a,b"),
        ("members: {a: 192.0.2.1, b: 192.0.2.1}", "members.b"),
    ],
)
def test_a_file_that_describes_no_core_is_refused_and_the_field_named(text: str, words: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        parse_core(text, "etcd.yaml")
    assert words in str(refusal.value)
    assert "etcd.yaml" in str(refusal.value)


def test_even_and_open_cores_are_warned_about() -> None:
    two = Core(members={"a": "192.0.2.1", "b": "192.0.2.2"})
    assert ["loss of 0" in text or "without tls" in text for text in core_warnings(two)] == [True, True]
    assert core_warnings(parse_core(THREE, "f")) == []
    assert core_warnings(Core(members={"a": "127.0.0.1"})) == []


def test_a_host_is_the_member_that_has_its_name_or_address() -> None:
    core = parse_core(THREE, "f")
    assert own_member(core, {"192.0.2.2"}) == own_member(core, {"b"}) == "b"
    for names in ({"x"}, {"a", "192.0.2.2"}):
        with pytest.raises(InvalidInput, match="--name"):
            own_member(core, names)


def status(number: int, **fields: object) -> MemberStatus:
    usual: dict[str, object] = {
        "version": "3.5.30", "cluster_id": 7, "member_id": number, "leader": 1, "revision": 5000,
        "db_size": 20 * 1024**2, "db_size_in_use": 10 * 1024**2,
    }  # fmt: skip
    return MemberStatus(f"http://m{number}", **{**usual, **fields})  # type: ignore[arg-type]


AWAY = MemberStatus("http://m", error="no connection within 2 s")


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        ([status(1), status(2), status(3)], []),
        ([status(1)], []),
        ([status(1), status(2), AWAY], [("error", "c"), ("warning", "")]),
        ([status(1), AWAY, AWAY], [("error", ""), ("error", "b"), ("error", "c")]),
        ([status(1), status(2, leader=0), status(3)], [("error", "")]),
        ([status(1), status(2, leader=2), status(3)], [("error", "")]),
        ([status(1), status(2, cluster_id=8), status(3)], [("error", "")]),
        ([status(1), status(2)], [("warning", ""), ("note", "")]),
        ([status(1), status(2), status(3, revision=3999)], [("warning", "c")]),
        ([status(1), status(2), status(3, revision=4000)], []),
        ([status(1, alarms=("memberID:1 alarm:NOSPACE",))], [("error", "a")]),
        ([status(1, alarms=("memberID:1 alarm:CORRUPT",))], [("error", "a")]),
        ([status(1, db_size=9 * GIB // 10, db_size_in_use=9 * GIB // 10)], [("warning", "a")]),
        ([status(1, db_size=GIB // 2, db_size_in_use=GIB // 8)], [("note", "a")]),
        ([status(1, version="3.4.23")], [("note", "a")]),
        ([status(1, version="3.5.16")], []),
        ([status(1), status(2, version="3.5.29"), status(3)], [("warning", "")]),
    ],
)
def test_what_is_wrong_with_a_core_is_named_worst_first(
    statuses: list[MemberStatus], expected: list[tuple[str, str]]
) -> None:
    found = findings(list(zip("abcdefg", statuses, strict=False)), GIB)
    assert [(finding.severity, finding.about) for finding in found] == expected


def test_who_is_out_of_space_is_told_what_helps() -> None:
    (found,) = findings([("a", status(1, alarms=("memberID:1 alarm:NOSPACE",)))], GIB)
    assert "calico etcd defrag --lift-alarm" in found.text
