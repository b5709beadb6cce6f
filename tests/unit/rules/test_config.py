"""A configuration that would make the ruleset match what it must not is refused."""

from __future__ import annotations

import pytest

from calico.errors import InvalidInput
from calico.rules.config import RulesConfig


@pytest.mark.parametrize("prefixes", [(), ("",), ("cali", ""), ("a" * 16,), ("ca\0li",)])
def test_prefixes_must_be_beginnings_of_interface_names(prefixes: tuple[str, ...]) -> None:
    with pytest.raises(InvalidInput, match="interface_prefixes"):
        RulesConfig(interface_prefixes=prefixes)


@pytest.mark.parametrize("mark", [0, 3, -1, 1 << 32])
def test_the_pass_mark_is_exactly_one_bit(mark: int) -> None:
    with pytest.raises(InvalidInput, match="pass_mark"):
        RulesConfig(pass_mark=mark)
