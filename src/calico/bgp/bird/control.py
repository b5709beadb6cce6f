"""BIRD's control socket as bytes and messages, without I/O: replies in, typed status out.

A reply is lines of a four-digit code, then ``-`` when more follow or a blank on the last one; a line that starts with a
blank continues the line before with the same code; a line that starts with ``+`` is an asynchronous log message.
Classes: 0xxx done, 1xxx data, 2xxx headings, 8xxx run-time errors, 9xxx malformed commands.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta

import msgspec

from calico.errors import InvalidInput

__all__ = [
    "BirdStatus",
    "Reply",
    "ReplyDecoder",
    "ReplyLine",
    "Session",
    "parse_route_count",
    "parse_sessions",
    "parse_status",
    "same_moment",
]

_LINE = re.compile(r"([0-9]{4})([- ])(.*)", re.DOTALL)
_MAX_LINE = 1 << 20
_JITTER = timedelta(milliseconds=50)  # a session that was lost is back a second later at the earliest
_STAMP = r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?: [0-9:.]+)?|[0-9:.]+"
_ROW = re.compile(rf"(\S+)\s+(\S+)\s+(\S+)\s+(\S+)\s+({_STAMP})(?:\s+(.*))?")
_COUNTS = re.compile(r"Routes:\s+(.*)")
_COUNT = re.compile(r"([0-9]+) (imported|filtered|exported)")
_CHANNEL = re.compile(r"\s+Channel ipv([46])")
_TOTAL = re.compile(r"Total: ([0-9]+) of [0-9]+ routes|([0-9]+) of [0-9]+ routes for")


class ReplyLine(msgspec.Struct, frozen=True):
    """One line of a reply with the code that it carries or continues."""

    code: int
    text: str


class Reply(msgspec.Struct, frozen=True):
    """All that BIRD says to one command; the last line's code is the outcome."""

    lines: tuple[ReplyLine, ...]

    @property
    def code(self) -> int:
        """The outcome."""
        return self.lines[-1].code

    @property
    def failed(self) -> bool:
        """BIRD refused."""
        return self.code >= 8000

    @property
    def text(self) -> str:
        """What the last line says."""
        return self.lines[-1].text


class ReplyDecoder:
    """Bytes in any chunking to replies. InvalidInput once the stream is no BIRD control stream; then it is useless."""

    def __init__(self) -> None:
        self._rest = b""
        self._lines: list[ReplyLine] = []

    def feed(self, data: bytes) -> list[Reply]:
        """The replies that ``data`` completes, in order."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > _MAX_LINE:
            raise InvalidInput("a line of BIRD's answer is longer than a megabyte")
        replies = []
        for raw in lines:
            text = raw.decode("utf-8", "replace")
            if text.startswith("+"):
                continue
            if self._take(text):
                replies.append(Reply(tuple(self._lines)))
                self._lines = []
        return replies

    def _take(self, text: str) -> bool:
        """Add a line; true when it ends the reply."""
        if text.startswith(" ") and self._lines:
            self._lines.append(ReplyLine(self._lines[-1].code, text[1:]))
            return False
        if not text and self._lines:
            return False  # BIRD separates tables by an empty line
        found = _LINE.fullmatch(text)
        if found is None:
            raise InvalidInput(f"{text[:60]!r} is no line of BIRD's control protocol")
        self._lines.append(ReplyLine(int(found[1]), found[3]))
        return found[2] == " "


class BirdStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What ``show status`` tells. ``recovering``: a graceful restart is under way, the kernel is not written yet."""

    version: str = ""
    router_id: str = ""
    last_reboot: str = ""
    last_reconfiguration: str = ""
    state: str = ""
    recovering: bool = False
    reconfiguring: bool = False


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """One BGP protocol as ``show protocols all`` describes it. ``info`` holds the last error, if any.

    ``families`` are those whose routes it carries; ``filtered`` routes are kept aside by its import filter.
    ``refreshes``: the far end sends its routes again when asked (RFC 2918); ``graceful``: it keeps ours while BIRD
    restarts (RFC 4724). Both are true where the far end has not said what it can do.
    """

    name: str
    state: str
    since: str
    info: str = ""
    peer_ip: str = ""
    remote_as: int = 0
    local_as: int = 0
    families: tuple[int, ...] = ()
    imported: int = 0
    filtered: int = 0
    exported: int = 0
    refreshes: bool = True
    graceful: bool = True

    @property
    def internal(self) -> bool:
        """Both ends are in one autonomous system."""
        return self.remote_as == self.local_as

    @property
    def established(self) -> bool:
        """Routes are being exchanged."""
        return self.state == "Established"

    @property
    def cannot_listen(self) -> bool:
        """BIRD gave the session up because the port is taken."""
        return "No listening socket" in self.info

    @property
    def worth_sparing(self) -> bool:
        """A reset would cost something: it runs, or its routes are kept while the neighbour restarts."""
        return self.established or self.imported > 0


def parse_status(reply: Reply) -> BirdStatus:
    """The answer to ``show status``; absent facts are left empty."""
    found: dict[str, str] = {}
    version = state = ""
    for line in reply.lines:
        if line.code == 1000:
            version = line.text.removeprefix("BIRD ").strip()
        elif line.code == 13:
            state = line.text.strip()
        for start in ("Router ID is ", "Last reboot on ", "Last reconfiguration on "):
            if line.code == 1011 and line.text.startswith(start):
                found[start] = line.text.removeprefix(start).strip()
    return BirdStatus(
        version=version,
        router_id=found.get("Router ID is ", ""),
        last_reboot=found.get("Last reboot on ", ""),
        last_reconfiguration=found.get("Last reconfiguration on ", ""),
        state=state,
        recovering=any(line.code == 24 for line in reply.lines),
        reconfiguring=state.startswith("Reconfiguration"),
    )


def parse_sessions(reply: Reply) -> dict[str, Session]:
    """The BGP sessions in the answer to ``show protocols all``, by name; other protocols are passed over.

    The heading is not trusted: the stamp holds a blank in the long ISO format, so columns are taken by form.
    """
    sessions: dict[str, Session] = {}
    details: list[str] = []
    row: re.Match[str] | None = None
    for line in (*reply.lines, ReplyLine(1002, "")):
        if line.code == 1006:
            details.append(line.text)
        elif line.code == 1002:
            if row is not None and row[2] == "BGP":
                sessions[row[1]] = _session(row, details)
            row, details = _ROW.fullmatch(line.text.rstrip()), []
    return sessions


def same_moment(one: str, other: str) -> bool:
    """Whether stamps of two answers mean one moment: BIRD counts back from now, and may be a few milliseconds off."""
    if one == other:
        return True
    try:
        return abs(datetime.fromisoformat(one) - datetime.fromisoformat(other)) < _JITTER
    except ValueError:
        return False


def parse_route_count(reply: Reply) -> int:
    """The number of routes in the answer to ``show route … count``."""
    found = _TOTAL.search(reply.text)
    if found is None:
        raise InvalidInput(f"{reply.text[:60]!r} is no route count")
    return int(found[1] or found[2])


def _session(row: re.Match[str], details: list[str]) -> Session:
    facts: dict[str, str] = {}
    counts = {"imported": 0, "filtered": 0, "exported": 0}
    families = []
    for text in details:
        key, colon, value = text.partition(":")
        if colon:
            facts.setdefault(key.strip(), value.strip())
        if found := _CHANNEL.fullmatch(text.rstrip()):
            families.append(int(found[1]))
        if found := _COUNTS.search(text):
            for number, what in _COUNT.findall(found[1]):
                counts[what] += int(number)
    state, _, told = (row[6] or "").partition(" ")
    able = _capabilities(details)
    return Session(
        name=row[1],
        state=facts.get("BGP state") or state or row[4],
        since=row[5],
        info=facts.get("Last error") or told.strip(),
        peer_ip=facts.get("Neighbor address", "").split("%")[0],
        remote_as=_as_number(facts.get("Neighbor AS", "")),
        local_as=_as_number(facts.get("Local AS", "")),
        families=tuple(families),
        refreshes=able is None or "Route refresh" in able,
        graceful=able is None or "Graceful restart" in able,
        **counts,
    )


def _capabilities(details: list[str]) -> list[str] | None:
    """What the far end says that it can do; None while it has said nothing."""
    lines = [text.strip() for text in details]
    if "Neighbor capabilities" not in lines:
        return None
    return lines[lines.index("Neighbor capabilities") :]


def _as_number(text: str) -> int:
    return int(text) if re.fullmatch(r"[0-9]{1,10}", text) else 0
