"""What files of the host say about it, and which of several sayings counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from calico.errors import CalicoError
from calico.orchestrators.cni.host.hostfiles import mtu_of, node_of
from calico.orchestrators.cni.protocol.fault import fault_of
from calico.orchestrators.cni.protocol.netconf import NetConf


@pytest.mark.parametrize(
    ("stored", "keys", "node"),
    [
        ("filed\n", {"nodename": "said", "hostname": "old"}, "said"),
        ("filed\n", {"hostname": "old"}, "filed"),
        ("", {"hostname": "old"}, "old"),
        (None, {"hostname": "old"}, "old"),
        (None, {}, "usual"),
    ],
)
def test_a_node_is_named_by_the_network_then_by_the_file_then_by_the_host(
    tmp_path: Path, stored: str | None, keys: dict[str, Any], node: str
) -> None:
    if stored is not None:
        (tmp_path / "nodename").write_text(stored)
    assert node_of(NetConf(nodename_file=str(tmp_path / "nodename"), **keys), "usual") == node


def test_without_a_file_the_key_hostname_counts() -> None:
    assert node_of(NetConf(hostname="old"), "usual") == "old"
    assert node_of(NetConf(), "usual") == "usual"


@pytest.mark.parametrize(("stored", "code"), [(None, 11), ("", 11), ("a/b", 7)])
def test_a_file_that_is_needed_and_does_not_say_the_node_is_named(
    tmp_path: Path, stored: str | None, code: int
) -> None:
    path = tmp_path / "nodename"
    if stored is not None:
        path.write_text(stored)
    with pytest.raises(CalicoError, match="nodename") as refused:
        node_of(NetConf(nodename_file=str(path), nodename_file_optional=False), "usual")
    assert fault_of(refused.value).code == code


def test_the_mtu_is_the_networks_then_the_files_then_the_kernels(tmp_path: Path) -> None:
    path = tmp_path / "mtu"
    assert mtu_of(NetConf(), str(path)) == 0
    path.write_text("1410\n")
    assert mtu_of(NetConf(), str(path)) == 1410
    assert mtu_of(NetConf(mtu=9000), str(path)) == 9000


@pytest.mark.parametrize(("stored", "code"), [(None, 11), ("1500 bytes", 7), ("12", 7)])
def test_an_mtu_that_is_needed_must_be_told(tmp_path: Path, stored: str | None, code: int) -> None:
    path = tmp_path / "mtu"
    if stored is not None:
        path.write_text(stored)
    with pytest.raises(CalicoError, match="mtu") as refused:
        mtu_of(NetConf(require_mtu_file=True), str(path))
    assert fault_of(refused.value).code == code
