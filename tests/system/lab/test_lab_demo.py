"""The demonstration is its own test: it exits with 0 only when everything is as it says."""

import pytest

pytestmark = [pytest.mark.lab, pytest.mark.root]


@pytest.mark.parametrize("distribution", ["--mesh", "--reflectors"])
def test_everything_the_demo_shows_is_so(lab, distribution):
    done = lab.run("demo", "--name", lab.name, distribution, "--no-keep")
    assert "All as shown" in done.stdout
    assert "FAIL" not in done.stdout
    assert lab.traces() == []
