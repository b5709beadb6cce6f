"""Every error has a code that tells the runtime what to do."""

from __future__ import annotations

import pytest

from calico.errors import Conflict, InvalidInput, NotFound, ResyncRequired, Transient
from calico.orchestrators.cni.protocol.fault import PluginError, error_object, fault_of


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Transient("away"), 11),
        (Conflict("changed"), 11),
        (ResyncRequired("compacted"), 11),
        (TimeoutError(), 11),
        (InvalidInput("wrong"), 7),
        (PermissionError("no"), 5),
        (NotFound("no Node"), 999),
        (RuntimeError("bug"), 999),
        (PluginError(102, "no address"), 102),
        (ExceptionGroup("both", [Transient("away"), InvalidInput("wrong")]), 7),
        (ExceptionGroup("both", [Transient("away"), Transient("gone")]), 11),
    ],
)
def test_what_may_pass_is_to_be_tried_again_and_nothing_else(error: BaseException, code: int) -> None:
    assert fault_of(error).code == code
    assert fault_of(error).message


def test_an_error_object_has_details_only_when_there_are_some() -> None:
    assert error_object(PluginError(7, "m"), "1.0.0") == {"cniVersion": "1.0.0", "code": 7, "msg": "m"}
    assert error_object(PluginError(7, "m", "d"), "1.0.0")["details"] == "d"
