"""What ``calico node install`` puts below a root, and what it leaves as it was."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from calico.cli.node.install import install_tree
from calico.cli.node.layout import LAYOUT, PACKAGED_UNIT_DIR, UNIT_SOURCES, UNITS
from calico.errors import AlreadyExists

PROGRAM = "/opt/calico/bin/calico"


def tree(root: Path) -> dict[str, int]:
    """path -> mode of everything that is no directory on the way."""
    return {f"/{path.relative_to(root)}": stat.S_IMODE(path.lstat().st_mode) for path in root.rglob("*")}


def test_everything_of_the_list_is_there_with_its_mode(tmp_path: Path) -> None:
    install_tree(tmp_path, "h1", PROGRAM)
    found = tree(tmp_path)
    for item in LAYOUT:
        if item.runtime:
            assert item.path not in found
        elif item.kind != "link":
            assert found[item.path] == item.mode, item.path
    assert (tmp_path / "usr/bin/calico").readlink() == Path(PROGRAM)
    assert "NODENAME=h1\n" in (tmp_path / "etc/calico/calico.env").read_text()


def test_nothing_is_there_that_the_list_does_not_name(tmp_path: Path) -> None:
    install_tree(tmp_path, "h1", PROGRAM)
    listed = {item.path for item in LAYOUT}
    ways = {str(parent) for path in listed for parent in Path(path).parents}
    assert set(tree(tmp_path)) - ways <= listed


def test_the_list_names_every_unit_that_there_is() -> None:
    assert set(UNITS) == {path.name for path in UNIT_SOURCES.iterdir()}


def test_again_changes_nothing(tmp_path: Path) -> None:
    install_tree(tmp_path, "h1", PROGRAM)
    before = {path: (tmp_path / path.lstrip("/")).lstat().st_mtime_ns for path in tree(tmp_path)}
    assert {done.what for done in install_tree(tmp_path, "h1", PROGRAM)} <= {"unchanged", "kept"}
    assert {path: (tmp_path / path.lstrip("/")).lstat().st_mtime_ns for path in before} == before


def test_an_upgrade_renews_units_and_program_and_keeps_what_the_operator_wrote(tmp_path: Path) -> None:
    install_tree(tmp_path, "h1", "/old/bin/calico")
    unit, environment = tmp_path / "etc/systemd/system/calico-felix.service", tmp_path / "etc/calico/calico.env"
    unit.write_text("[Service]\nExecStart=/old\n")
    environment.write_text("NODENAME=mine\n")
    (tmp_path / "etc/calico/bgp-secrets/s").write_text("secret")
    (tmp_path / "etc/calico/bgp-secrets").chmod(0o755)
    done = {each.path: each.what for each in install_tree(tmp_path, "h1", PROGRAM)}
    assert done["/etc/systemd/system/calico-felix.service"] == "updated"
    assert done["/usr/bin/calico"] == "updated"
    assert done["/etc/calico/calico.env"] == "kept"
    assert done["/etc/calico/bgp-secrets"] == "updated"
    assert unit.read_text() == (UNIT_SOURCES / "calico-felix.service").read_text()
    assert environment.read_text() == "NODENAME=mine\n"
    assert stat.S_IMODE((tmp_path / "etc/calico/bgp-secrets").stat().st_mode) == 0o700


def test_a_program_of_others_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "usr/bin").mkdir(parents=True)
    (tmp_path / "usr/bin/calico").write_text("not ours")
    with pytest.raises(AlreadyExists, match="remove it"):
        install_tree(tmp_path, "h1", PROGRAM)
    assert (tmp_path / "usr/bin/calico").read_text() == "not ours"


def test_as_a_package_units_are_where_packages_have_them(tmp_path: Path) -> None:
    install_tree(tmp_path, "h1", "", packaged=True)
    assert (tmp_path / PACKAGED_UNIT_DIR.lstrip("/") / "calico-felix.service").exists()
    assert not (tmp_path / "etc/systemd").exists()
    assert not (tmp_path / "usr/bin/calico").exists()
