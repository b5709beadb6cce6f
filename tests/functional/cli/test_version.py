"""``calico version``: of the client alone, and of a cluster that may not be initialised."""

import subprocess
from collections.abc import Callable

import pytest

from calico import __version__

pytestmark = pytest.mark.etcd
Run = Callable[..., subprocess.CompletedProcess[str]]


def test_the_client_alone_asks_nobody(calico: Run) -> None:
    assert calico("version", "--client").stdout.split() == ["Client", "Version:", __version__]


def test_an_empty_datastore_is_said_to_be_so_and_a_node_initialises_it(calico: Run) -> None:
    before = calico("version")
    assert "not initialised" in before.stdout
    node = "kind: Node\napiVersion: projectcalico.org/v3\nmetadata: {name: n1}\nspec: {}\n"
    assert calico("apply", "-f", "-", stdin=node).returncode == 0
    after = calico("version")
    assert (after.returncode, "Cluster Type:" in after.stdout) == (0, True)
