"""What `calico cni install` writes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from calico.errors import AlreadyExists, InvalidInput
from calico.orchestrators.cni.protocol.netconf import decode_config
from calico.orchestrators.cni.serving.install import (
    conflist,
    install_plugins,
    shim_text,
    standalone_text,
    write_conflist,
)


def test_both_plugins_are_the_same_executable(tmp_path: Path) -> None:
    made = install_plugins(tmp_path / "bin", standalone_text())
    assert sorted(path.name for path in made) == ["calico", "calico-ipam"]
    assert len({path.read_text() for path in made}) == 1
    assert all(os.access(path, os.X_OK) for path in made)
    assert sorted(os.listdir(tmp_path / "bin")) == ["calico", "calico-ipam"]


def test_a_network_can_have_plugins_chained_and_is_one_that_we_take() -> None:
    document = conflist("net", "1.0.0", {"mtu": 1400}, ["portmap", "tuning"])
    own, portmap, tuning = document["plugins"]
    assert portmap == {"type": "portmap", "capabilities": {"portMappings": True}}
    assert tuning == {"type": "tuning"}
    import json

    config = decode_config(json.dumps({**own, "name": "net", "cniVersion": "1.0.0"}).encode())
    assert (config.mtu, config.is_own_ipam) == (1400, True)


def test_a_networks_file_is_not_replaced_unasked(tmp_path: Path) -> None:
    path = tmp_path / "net.d" / "10-calico.conflist"
    first, second = conflist("a", "1.0.0", {}), conflist("b", "1.0.0", {})
    assert write_conflist(path, first, replace=False)
    assert not write_conflist(path, first, replace=False)
    with pytest.raises(AlreadyExists, match="--force"):
        write_conflist(path, second, replace=False)
    assert write_conflist(path, second, replace=True)


def test_what_cannot_be_installed_is_refused() -> None:
    with pytest.raises(InvalidInput, match="absolute"):
        shim_text("relative.sock")
    with pytest.raises(InvalidInput, match="absolute"):
        shim_text('/run/"; import os')
    with pytest.raises(InvalidInput, match=r"2\.0\.0"):
        conflist("net", "2.0.0", {})
