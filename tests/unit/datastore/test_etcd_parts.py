from __future__ import annotations

import grpc
import pytest

from calico.datastore.api import Compacted, FutureRevision, Update
from calico.datastore.etcd.channel import parse_endpoint
from calico.datastore.etcd.errors import error_of, is_token_error
from calico.datastore.etcd.watch import complete_updates, prefix_end
from calico.datastore.etcd.wire import FIELDS, METHODS, key_of, message, raw_key
from calico.errors import CalicoError, InvalidInput, NotFound, Transient, Uncertain

C = grpc.StatusCode


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:2379", ("127.0.0.1:2379", False)),
        ("https://etcd-1.example:2379/", ("etcd-1.example:2379", True)),
        ("http://[fd00::1]:2379", ("[fd00::1]:2379", False)),
    ],
)
def test_an_endpoint_is_a_url_with_a_port(url: str, expected: tuple[str, bool]) -> None:
    assert parse_endpoint(url) == expected


@pytest.mark.parametrize("url", ["127.0.0.1:2379", "http://host", "ftp://host:1", "http://host:x", "http://h:1/path"])
def test_a_malformed_endpoint_is_named(url: str) -> None:
    with pytest.raises(InvalidInput, match="http://host:port") as refused:
        parse_endpoint(url)
    assert refused.value.subject == url


@pytest.mark.parametrize(
    ("prefix", "end"),
    [(b"/a/", b"/a0"), (b"a\xff", b"b"), (b"a\xfe\xff\xff", b"a\xff")],
)
def test_a_prefix_ends_where_no_longer_key_starts_with_it(prefix: bytes, end: bytes) -> None:
    assert prefix_end(prefix) == end


@pytest.mark.parametrize(
    ("code", "details", "writes", "error"),
    [
        (C.OUT_OF_RANGE, "etcdserver: mvcc: required revision has been compacted", False, Compacted),
        (C.OUT_OF_RANGE, "etcdserver: mvcc: required revision is a future revision", False, FutureRevision),
        (C.NOT_FOUND, "etcdserver: requested lease not found", True, NotFound),
        (C.PERMISSION_DENIED, "etcdserver: permission denied", True, InvalidInput),
        (C.INVALID_ARGUMENT, "etcdserver: request is too large", True, InvalidInput),
        (C.INVALID_ARGUMENT, "etcdserver: authentication failed, invalid user ID or password", False, InvalidInput),
        (C.RESOURCE_EXHAUSTED, "etcdserver: mvcc: database space exceeded", True, Transient),
        (C.UNAVAILABLE, "failed to connect to all addresses; last error: refused", True, Transient),
        (C.UNAVAILABLE, "etcdserver: no leader", True, Transient),
        (C.UNAVAILABLE, "Socket closed", True, Uncertain),
        (C.UNAVAILABLE, "Socket closed", False, Transient),
        (C.UNAVAILABLE, "etcdserver: request timed out", True, Uncertain),
        (C.DEADLINE_EXCEEDED, "Deadline Exceeded", True, Uncertain),
        (C.INTERNAL, "Internal error from Core", True, Uncertain),
        (C.UNKNOWN, "Stream removed", False, Transient),
    ],
)
def test_errors_are_sorted_by_what_to_do(
    code: grpc.StatusCode, details: str, writes: bool, error: type[CalicoError]
) -> None:
    found = error_of("http://e:1", "writing /a", code, details, writes=writes)
    assert type(found) is error
    assert "http://e:1" in str(found)
    assert "writing /a" in str(found)


def test_a_failed_handshake_is_told_in_words_about_certificates() -> None:
    found = error_of("https://e:1", "reading /a", C.UNAVAILABLE, "Unwrap failed (TSI_DATA_CORRUPTED)")
    assert "certificates" in str(found)


def test_a_stale_token_is_told_from_a_missing_right() -> None:
    assert is_token_error("etcdserver: invalid auth token")
    assert is_token_error("etcdserver: revision of auth store is old")
    assert not is_token_error("etcdserver: permission denied")


def test_every_message_round_trips_and_unset_differs_from_zero() -> None:
    compare = message("Compare")(key=b"k", mod_revision=0)
    assert compare.SerializeToString() == b"\x1a\x01k\x30\x00"
    assert message("Compare").FromString(compare.SerializeToString()) == compare
    for name in FIELDS:
        assert message(name)().SerializeToString() == b""


def test_every_method_names_messages_that_exist() -> None:
    for method in METHODS.values():
        assert {method.request, method.response} <= FIELDS.keys()


@pytest.mark.parametrize(
    ("revisions", "complete"), [((), 0), ((5,), 0), ((5, 5), 0), ((4, 5), 1), ((4, 4, 5, 6, 6), 3)]
)
def test_of_a_fragment_only_whole_revisions_are_handed_on(revisions: tuple[int, ...], complete: int) -> None:
    assert complete_updates([Update("/a", b"", revision) for revision in revisions]) == complete


@pytest.mark.parametrize("raw", [b"/a", b"\xff", b"\xfe\xff/\x00", "/é".encode(), b"", b"\xed\xb3\xbf"])
def test_no_two_keys_look_alike(raw: bytes) -> None:
    assert raw_key(key_of(raw)) == raw
