from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calico.errors import InvalidInput
from calico.lib.packed import addr_bytes
from calico.orchestrators.openstack.answers.extra import NEXT_SERVER, extra_option


@pytest.mark.parametrize(
    ("name", "value", "version", "option"),
    [
        ("bootfile-name", "pxelinux.0", 4, (67, b"pxelinux.0")),
        ("option:bootfile-name", "pxelinux.0", 4, (67, b"pxelinux.0")),
        ("67", "123", 4, (67, b"123")),
        ("tftp-server", "192.0.2.1", 4, (66, b"192.0.2.1")),
        ("150", "192.0.2.1", 4, (150, addr_bytes("192.0.2.1"))),
        ("tftp-server-address", "192.0.2.1,192.0.2.2", 4, (150, addr_bytes("192.0.2.1") + addr_bytes("192.0.2.2"))),
        ("server-ip-address", "192.0.2.1", 4, (NEXT_SERVER, addr_bytes("192.0.2.1"))),
        ("mtu", "1400", 4, (26, b"\x05\x78")),
        ("26", "1400", 4, (26, b"\x05\x78")),
        ("ntp-server", "192.0.2.1", 4, (42, addr_bytes("192.0.2.1"))),
        ("domain-search", "a.example, b.example", 4, (119, b"\1a\7example\0\1b\7example\0")),
        ("classless-static-route", "10.0.0.0/8,192.0.2.1", 4, (121, b"\x08\x0a" + addr_bytes("192.0.2.1"))),
        ("sip-server", "192.0.2.1", 4, (120, b"\1" + addr_bytes("192.0.2.1"))),
        ("sip-server", "sip.example", 4, (120, b"\0\3sip\7example\0")),
        ("time-offset", "-3600", 4, (2, (-3600 & 0xFFFFFFFF).to_bytes(4, "big"))),
        ("T1", "100", 4, (58, b"\0\0\0\x64")),
        ("vendor-id-encap", "01:02:ff", 4, (125, b"\1\2\xff")),
        ("210", "01:02:ff", 4, (210, b"\1\2\xff")),
        ("210", "7", 4, (210, b"\7")),
        ("210", "700", 4, (210, b"\x02\xbc")),
        ("210", "192.0.2.1", 4, (210, addr_bytes("192.0.2.1"))),
        ("210", "some text", 4, (210, b"some text")),
        ("dns-server", "[fd00::1],fd00::2", 6, (23, addr_bytes("fd00::1") + addr_bytes("fd00::2"))),
        ("option6:bootfile-url", "http://x", 6, (59, b"http://x")),
        ("bootfile-param", "a,bc", 6, (60, b"\0\1a\0\2bc")),
        ("1000", "fd00::1", 6, (1000, addr_bytes("fd00::1"))),
    ],
)
def test_values_mean_what_they_mean_to_dnsmasq(name: str, value: str, version: int, option: tuple[int, bytes]) -> None:
    assert extra_option(name, value, version) == option


@pytest.mark.parametrize(
    ("name", "value", "version"),
    [
        ("no-such-option", "1", 4),
        ("bootfile-url", "http://x", 4),
        ("mtu", "1400", 6),
        ("mtu", "70000", 4),
        ("mtu", "many", 4),
        ("router", "fd00::1", 4),
        ("dns-server", "192.0.2.1", 6),
        ("0", "1", 4),
        ("255", "1", 4),
        ("65536", "1", 6),
        ("51", "100", 4),
        ("54", "192.0.2.1", 4),
        ("53", "5", 4),
        ("3", "1", 6),
        ("tag:ipxe,67", "http://x", 4),
        ("server-ip-address", "192.0.2.1,192.0.2.2", 4),
        ("classless-static-route", "10.0.0.0/8", 4),
        ("domain-search", "a..b", 4),
        ("210", "x" * 2000, 4),
        ("", "1", 4),
    ],
)
def test_what_cannot_be_an_option_is_refused_by_name(name: str, value: str, version: int) -> None:
    with pytest.raises(InvalidInput) as caught:
        extra_option(name, value, version)
    assert caught.value.field == name


@given(st.text(max_size=30) | st.integers(0, 300).map(str), st.text(max_size=60), st.sampled_from([4, 6]))
def test_any_text_is_an_option_or_refused(name: str, value: str, version: int) -> None:
    try:
        code, raw = extra_option(name, value, version)
    except InvalidInput:
        return
    assert 0 < code < 1 << 16
    assert len(raw) <= 1024
