"""What ``calico node diags`` leaves out, and which address of a host ``calico node run`` chooses."""

from __future__ import annotations

import pytest

from calico.cli.node.autodetect import detect, given
from calico.cli.node.diags import _without_passwords
from calico.errors import InvalidInput


def test_passwords_are_left_out_of_a_bird_configuration() -> None:
    text = 'protocol bgp p {\n  neighbor 10.0.0.1 as 1;\n  password "s3cret";\n  description "password of x";\n}\n'
    assert "s3cret" not in _without_passwords(text)
    assert [line for line in text.splitlines() if "s3cret" not in line] == [
        line for line in _without_passwords(text).splitlines() if "was here" not in line
    ]


def test_a_given_address_keeps_its_prefix_length_or_gets_that_of_its_link() -> None:
    assert given("192.0.2.1/24", 4).address == "192.0.2.1/24"
    assert given("2001:db8::1/64", 6).address == "2001:db8::1/64"
    assert given("192.0.2.1", 4).address == "192.0.2.1/32"


@pytest.mark.parametrize(
    ("text", "version"), [("nonsense", 4), ("2001:db8::1", 4), ("192.0.2.1/33", 4), ("10.0.0.1", 6)]
)
def test_what_is_no_address_of_the_version_is_refused(text: str, version: int) -> None:
    with pytest.raises(InvalidInput):
        given(text, version)


@pytest.mark.parametrize("method", ["", "magic", "can-reach=", "interface=[", "cidr=x", "datastore=1"])
def test_an_unknown_method_is_refused_by_name(method: str) -> None:
    with pytest.raises(InvalidInput):
        detect(method, 4, ("http://127.0.0.1:2379",))


def test_a_datastore_on_loopback_tells_no_address() -> None:
    assert detect("datastore", 4, ("http://127.0.0.1:2379",)) is None
    assert detect("can-reach=127.0.0.1", 4, ()) is None
