"""The files of flow logs: bounded, whole lines, and never a failure for who writes."""

from __future__ import annotations

from pathlib import Path

from calico.felix.flows.journal import NAME, Journal, read_journal


def test_lines_are_found_again_in_their_order_over_all_files(tmp_path: Path) -> None:
    journal = Journal(tmp_path, size=50, files=3)
    for number in range(12):
        journal.write([b"line %02d aaaaaaaa" % number])
    journal.close()
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [NAME, f"{NAME}.1", f"{NAME}.2"]
    assert all(path.stat().st_size <= 50 + 17 for path in tmp_path.iterdir())
    found = [line.split()[1] for line in read_journal(tmp_path)]
    assert found == sorted(found)
    assert found[-1] == b"11"
    assert len(found) >= 6
    assert (tmp_path / NAME).stat().st_mode & 0o777 == 0o600


def test_one_file_alone_is_begun_anew_when_it_is_full(tmp_path: Path) -> None:
    journal = Journal(tmp_path, size=10, files=1)
    for number in range(5):
        journal.write([b"number %d" % number, b"more"])
    assert [path.name for path in tmp_path.iterdir()] == [NAME]
    assert list(read_journal(tmp_path))[-2:] == [b"number 4\n", b"more\n"]


def test_a_file_that_was_taken_away_is_made_again(tmp_path: Path) -> None:
    journal = Journal(tmp_path, size=1000, files=2)
    journal.write([b"a"])
    (tmp_path / NAME).unlink()
    journal.write([b"b"])
    assert list(read_journal(tmp_path)) == [b"b\n"]


def test_after_a_write_that_was_cut_off_a_new_line_begins(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"whole\n{cut")
    Journal(tmp_path, size=1000, files=2).write([b"next"])
    assert list(read_journal(tmp_path)) == [b"whole\n", b"{cut\n", b"next\n"]


def test_what_cannot_be_written_is_counted_and_told_and_writing_goes_on_when_it_can(tmp_path: Path) -> None:
    place = tmp_path / "logs"
    place.write_text("a file where the directory should be")
    journal = Journal(place, size=1000, files=2)
    journal.write([b"a", b"b"])
    assert (journal.lost, str(place) in journal.trouble) == (2, True)
    place.unlink()
    journal.write([b"c"])
    assert (journal.lost, journal.trouble) == (2, "")
    assert list(read_journal(place)) == [b"c\n"]
