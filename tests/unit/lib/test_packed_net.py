from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calico.lib import packed

OCTETS = st.sampled_from(("0", "1", "01", "9", "10", "255", "256", "", " 1", "+1", "１", "x"))
TEXTS = st.one_of(
    st.builds(
        "{}{}".format, st.lists(OCTETS, min_size=3, max_size=5).map(".".join), st.sampled_from(("", "/32", "/31"))
    ),
    st.ip_addresses().map(str),
    st.text(alphabet="0123456789./:", max_size=12),
)


@given(TEXTS, st.booleans())
def test_a_text_is_packed_or_refused_as_the_standard_library_does(text: str, strict: bool) -> None:
    try:
        network = ipaddress.ip_network(text, strict=strict)
    except ValueError:
        with pytest.raises(ValueError):
            packed.net(text, strict=strict)
    else:
        assert packed.net(text, strict=strict) == network.network_address.packed + bytes((network.prefixlen,))
