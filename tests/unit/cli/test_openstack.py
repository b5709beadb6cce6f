from __future__ import annotations

import importlib.util

import pytest
from click.testing import CliRunner

from calico.cli.main import cli


@pytest.mark.skipif(importlib.util.find_spec("neutron") is not None, reason="Neutron is installed here")
def test_resync_says_what_to_install_where_neutron_is_not() -> None:
    done = CliRunner().invoke(cli, ["openstack", "resync", "--dry-run"])
    assert done.exit_code == 3
    assert "neutron is not installed" in done.output
    assert "pip install 'calico-network[openstack]'" in done.output
