"""What a Log rule writes before each packet (datamodel 15.3): the operator's template, filled in for its policy."""

from __future__ import annotations

import re

from calico.model.keys import ResourceKey
from calico.rules.names import printable

__all__ = ["log_prefix"]

_KERNEL_MAX = 127
"""Bytes of a prefix that the kernel keeps (NF_LOG_PREFIXLEN without its final NUL)."""

_END = ": "
_SPECIFIER = re.compile(r"%[tknp]")


def log_prefix(template: str, key: ResourceKey, tier: str) -> str:
    """The prefix for rules of a policy or (``tier`` is empty) a profile.

    ``%t`` is the tier, ``%k`` the kind, ``%n`` the name, ``%p`` the namespace (if any) and the name. Names come from
    others and go to terminals, so only printable ASCII is left of them.
    """
    values = {
        "%t": tier,
        "%k": key.kind,
        "%n": key.name,
        "%p": f"{key.namespace}/{key.name}" if key.namespace else key.name,
    }
    filled = _SPECIFIER.sub(lambda found: values[found.group()], template)
    return printable(filled)[: _KERNEL_MAX - len(_END)] + _END
