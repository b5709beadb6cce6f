"""What settings were is remembered before they are written, once, and set back as a whole."""

from __future__ import annotations

from pathlib import Path

from calico.dataplane.settings_record import SettingsRecord, restore
from calico.dataplane.sysctl import Sysctls


def tree(root: Path, **values: str) -> Path:
    """Files of the loopback interface, the one that every host has."""
    for name, value in values.items():
        file = root / "ipv4/conf/lo" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{value}\n")
    return root


def value(root: Path, name: str) -> str:
    return (root / "ipv4/conf/lo" / name).read_text().strip()


async def test_the_first_value_is_what_is_set_back(tmp_path: Path) -> None:
    root, file = tree(tmp_path / "proc", rp_filter="7", proxy_arp="0"), tmp_path / "record"
    for _ in range(2):  # over a restart, too
        sysctls = Sysctls(root=root, before_write=SettingsRecord(file, root=root).before_write)
        sysctls.want_interface("lo")
        await sysctls.apply()
        assert value(root, "rp_filter") == "1"
        (root / "ipv4/conf/lo/rp_filter").write_text("5")  # somebody else, later
    changed, failed = restore(file, root=root, dry_run=True)
    assert value(root, "rp_filter") == "5"
    assert restore(file, root=root) == (changed, failed)
    assert not failed
    assert (value(root, "rp_filter"), value(root, "proxy_arp")) == ("7", "0")
    assert restore(file, root=root) == ([], [])


def test_of_an_interface_that_was_made_anew_nothing_is_set_back(tmp_path: Path) -> None:
    root, file = tree(tmp_path / "proc", rp_filter="1"), tmp_path / "record"
    file.write_text('["ipv4/conf/lo/rp_filter", 999, "7"]\n["../../etc/x", 0, "7"]\n[1]\n"x"\nnull\nrubbish\n["ipv4/co')
    assert restore(file, root=root) == ([], [])
    SettingsRecord(file, root=root).before_write(["ipv4/conf/lo/rp_filter"])
    (root / "ipv4/conf/lo/rp_filter").write_text("0")
    assert restore(file, root=root)[0] == ["ipv4/conf/lo/rp_filter: 0 -> 1"]


def test_a_file_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    root = tree(tmp_path / "proc", rp_filter="7")
    SettingsRecord(tmp_path / "nowhere" / "record", root=root).before_write(["ipv4/conf/lo/rp_filter"])


def test_the_file_does_not_grow_without_end(tmp_path: Path) -> None:
    root, file = tree(tmp_path / "proc", rp_filter="7"), tmp_path / "record"
    record = SettingsRecord(file, root=root)
    for number in range(3000):
        record._known.clear()  # as if the interface were another one each time
        record.before_write(["ipv4/conf/lo/rp_filter"])
        assert number == 0 or len(file.read_text().splitlines()) < 1100
    assert restore(file, root=root) == ([], [])
