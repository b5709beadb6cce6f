"""A log that cannot be written loses lines, never its daemon, and says how many it lost."""

from __future__ import annotations

from calico.obs.log import _Lines


class Disk:
    """Takes so many bytes."""

    def __init__(self, room: int) -> None:
        self.room, self.content = room, b""

    def emit(self, data: bytes) -> int:
        if not self.room:
            raise OSError(28, "No space left on device")
        done = data[: self.room]
        self.content += done
        self.room -= len(done)
        return len(done)


def test_lines_that_found_no_room_are_counted_and_the_rest_is_whole() -> None:
    disk = Disk(8)
    lines = _Lines(disk.emit, is_terminal=False)
    for text in ("one\n", "two-is-cut\n", "three", "\n", "four\nfive\n"):
        lines.write(text)
        lines.flush()
    disk.room = 1000
    lines.write("six\n")
    assert disk.content.decode().splitlines() == ["one", "two-", "4 lines of this log were lost", "six"]
    lines.write("seven\n")
    assert disk.content.endswith(b"six\nseven\n")


def test_what_is_no_text_is_written_all_the_same() -> None:
    disk = Disk(1000)
    _Lines(disk.emit, is_terminal=False).write("a\ud800b\n")
    assert disk.content == b"a\\ud800b\n"
