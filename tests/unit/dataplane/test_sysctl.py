"""Settings under /proc/sys: what is written, what is refused, and who is told of a failure."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calico.dataplane.sysctl import HOST_SETTINGS, Sysctls, interface_settings
from calico.errors import InvalidInput


def tree(root: Path, *names: str) -> Path:
    """The files that the kernel would show for these interfaces, all saying 7."""
    paths = [path for name in names for path in interface_settings(name)]
    for path in [*paths, *HOST_SETTINGS]:
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("7\n")
    return root


@given(st.text(max_size=20))
def test_no_name_leads_out_of_the_interfaces_own_directory(name):
    try:
        settings = interface_settings(name)
    except InvalidInput:
        return
    for path in settings:
        parts = path.split("/")
        assert len(parts) == 4
        assert parts[2] == name
        assert name not in ("", ".", "..", "all", "default")


@pytest.mark.parametrize("name", ["all", "default", "..", "../../kernel", "a/b", "", "x" * 16, "a b", "a\0"])
def test_names_that_mean_something_else_are_refused(name):
    with pytest.raises(InvalidInput):
        interface_settings(name)


async def test_every_setting_of_the_interface_and_the_host_is_written(tmp_path):
    sysctls = Sysctls(root=tree(tmp_path, "cali1"))
    sysctls.want_host()
    sysctls.want_interface("cali1")
    assert await sysctls.apply() == {}
    for path, value in {**interface_settings("cali1"), **HOST_SETTINGS}.items():
        assert (tmp_path / path).read_text() == value


async def test_a_failing_write_names_its_interface_and_is_tried_again(tmp_path):
    root = tree(tmp_path, "cali1", "cali2")
    sysctls = Sysctls(root=root)
    broken = root / "ipv4/conf/cali1/proxy_arp"
    broken.unlink()
    broken.mkdir()
    sysctls.want_interface("cali1")
    sysctls.want_interface("cali2")
    failed = await sysctls.apply()
    assert list(failed) == ["cali1"]
    assert "ipv4/conf/cali1/proxy_arp=1" in failed["cali1"]
    broken.rmdir()
    broken.write_text("0")
    assert await sysctls.apply() == {}
    assert broken.read_text() == "1"


async def test_an_interface_made_again_is_set_again(tmp_path):
    sysctls = Sysctls(root=tree(tmp_path, "cali1"))
    sysctls.want_interface("cali1")
    await sysctls.apply()
    tree(tmp_path, "cali1")
    sysctls.unwant_interface("cali1")
    sysctls.want_interface("cali1")
    await sysctls.apply()
    assert (tmp_path / "ipv4/conf/cali1/rp_filter").read_text() == "1"


async def test_a_resync_mends_what_somebody_changed(tmp_path):
    sysctls = Sysctls(root=tree(tmp_path, "cali1"))
    sysctls.want_interface("cali1")
    await sysctls.apply()
    (tmp_path / "ipv4/conf/cali1/proxy_arp").write_text("0")
    sysctls.resync()
    await sysctls.apply()
    assert (tmp_path / "ipv4/conf/cali1/proxy_arp").read_text() == "1"


async def test_a_host_without_ipv6_gets_the_ipv4_settings(tmp_path):
    for path in interface_settings("cali1", ipv6=False):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("0")
    sysctls = Sysctls(root=tmp_path)
    sysctls.want_host()
    sysctls.want_interface("cali1")
    assert await sysctls.apply() == {}
    assert not (tmp_path / "ipv6").exists()
