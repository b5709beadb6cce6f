"""``calico flows``: flow logs of this host, past ones from their files or new ones from Felix's socket."""

from __future__ import annotations

import ipaddress
import json
import socket
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from calico.cli.output.printing import TableStream, json_text, safe
from calico.errors import InvalidInput, Transient

if TYPE_CHECKING:
    from calico.felix.flows.record import Decided, End, FlowRecord

__all__ = ["flows"]

_TITLES = ("TIME", "STATE", "VERDICT", "PROTO", "SOURCE", "DESTINATION", "DECIDED BY", "BYTES")
_WIDTHS = ("00:00:00.000", "forgotten", "VERDICT", "icmpv6", "x" * 34, "x" * 34, "x" * 40, "0" * 12)
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@click.command()
@click.option("-f", "--follow", is_flag=True, help="Show flows as they come, until interrupted, instead of past ones.")
@click.option("--src", help="Source: address, CIDR, namespace/name or name of the endpoint.")
@click.option("--dst", help="Destination, likewise.")
@click.option("--any", "either", help="Source or destination, likewise.")
@click.option("-n", "--namespace", help="Namespace of the source's or destination's workload.")
@click.option("-l", "--selector", help="Calico selector that the labels of source or destination match.")
@click.option("--verdict", type=click.Choice(["allow", "deny"]), help="How policy decided.")
@click.option("--policy", help="Policy or profile (name or namespace/name) that took part in the decision.")
@click.option("--protocol", help="tcp, udp, sctp, icmp, icmpv6 or a number.")
@click.option("--port", type=click.IntRange(0, 65535), help="Destination port.")
@click.option("--since", help="Past flows told after this time: RFC 3339, or an age such as 90s, 15m, 2h, 1d.")
@click.option("--last", type=click.IntRange(1), help="Only the last so many past records.")
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", help="json: one record a line.")
@click.option(
    "--run-dir", envvar="CALICO_RUN_DIR", default="/var/run/calico", show_default=True, help="Where the socket is."
)
@click.option("--directory", default="/var/log/calico/flowlogs", show_default=True, help="Where past flows are kept.")
def flows(follow: bool, output: str, run_dir: str, directory: str, last: int | None, **wanted: Any) -> None:
    """Show which flows policy allowed and denied on this host, by which policies, and what went over them.

    Needs flow logs (FelixConfiguration flowLogsLocalReporter: Enabled) and root. A flow is told with its first packet
    (new), a denied one again when it was tried again (update), an allowed one at its end with packets and bytes.
    """
    from calico.felix.flows.record import decode_record

    matches = _filter(**wanted)
    show = _printer(output)
    if follow:
        for line in _live(Path(run_dir)):
            record = decode_record(line)
            if record is None:
                _note_lost(line)
            elif matches(record):
                show(record)
        raise Transient("Felix went away")
    found = (record for line in _past(Path(directory)) if (record := decode_record(line)) is not None)
    chosen: Iterable[FlowRecord] = filter(matches, found)
    if last is not None:
        from collections import deque

        chosen = deque(chosen, maxlen=last)
    for record in chosen:
        show(record)


def _past(directory: Path) -> Iterator[bytes]:
    from calico.felix.flows.journal import read_journal

    try:
        yield from read_journal(directory)
    except OSError as error:
        raise InvalidInput(
            f"{error.strerror}: {error.filename}; are flow logs on (flowLogsLocalReporter: Enabled), and where "
            "(--directory, FlowLogsFileDirectory)?",
            subject="flow logs",
        ) from error


def _live(run_dir: Path) -> Iterator[bytes]:
    from calico.felix.flows.feed import SOCKET

    path = run_dir / SOCKET
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        try:
            sock.connect(str(path))
        except OSError as error:
            raise Transient(
                f"{path}: {error.strerror}; does Felix run, with flow logs on (flowLogsLocalReporter: Enabled)?"
            ) from error
        with sock.makefile("rb") as lines:
            yield from lines


def _note_lost(line: bytes) -> None:
    try:
        lost = json.loads(line)["lost"]
    except (ValueError, KeyError, TypeError):
        return
    click.echo(f"warning: {safe(lost)} records were lost, this did not keep up", err=True)


def _filter(
    *,
    src: str | None,
    dst: str | None,
    either: str | None,
    namespace: str | None,
    selector: str | None,
    verdict: str | None,
    policy: str | None,
    protocol: str | None,
    port: int | None,
    since: str | None,
) -> Callable[[FlowRecord], bool]:
    """All that is given must hold."""
    tests: list[Callable[[FlowRecord], bool]] = []
    if src is not None:
        is_source = _end_filter("--src", src)
        tests.append(lambda record: is_source(record.src))
    if dst is not None:
        is_target = _end_filter("--dst", dst)
        tests.append(lambda record: is_target(record.dst))
    if either is not None:
        is_either = _end_filter("--any", either)
        tests.append(lambda record: is_either(record.src) or is_either(record.dst))
    if namespace is not None:
        tests.append(lambda record: namespace in (record.src.namespace, record.dst.namespace))
    if selector is not None:
        from calico.model.selector import parse

        parsed = parse(selector)
        tests.append(lambda record: parsed.matches(record.src.labels) or parsed.matches(record.dst.labels))
    if verdict is not None:
        tests.append(lambda record: record.verdict == verdict)
    if policy is not None:
        tests.append(lambda record: any(policy in _policy_names(each) for each in record.decisions))
    if protocol is not None:
        tests.append(lambda record: record.protocol == protocol.lower())
    if port is not None:
        tests.append(lambda record: record.dst.port == port)
    if since is not None:
        begin = _time_of(since)
        tests.append(lambda record: datetime.fromisoformat(record.time) >= begin)
    return lambda record: all(test(record) for test in tests)


def _end_filter(option: str, text: str) -> Callable[[End], bool]:
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        if text.count("/") > 1 or not text.strip("/"):
            raise InvalidInput(f"{option}: {text!r} is no address, CIDR, name or namespace/name") from None
        namespace, slash, name = text.rpartition("/")
        return lambda end: end.name == name and (not slash or end.namespace == namespace)
    return lambda end: ipaddress.ip_address(end.ip) in network


def _policy_names(decided: Decided) -> tuple[str, ...]:
    return (decided.policy, f"{decided.namespace}/{decided.policy}") if decided.policy else ()


def _time_of(text: str) -> datetime:
    if text[-1:] in _UNITS and text[:-1].replace(".", "", 1).isdigit():
        return datetime.now(UTC) - timedelta(seconds=float(text[:-1]) * _UNITS[text[-1]])
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidInput(f"--since: {text!r} is neither a time (RFC 3339) nor an age (90s, 15m, 2h, 1d)") from None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def _printer(output: str) -> Callable[[FlowRecord], None]:
    if output == "json":
        import msgspec

        return lambda record: click.echo(json_text(msgspec.to_builtins(record), indent=0))
    stream = TableStream(_TITLES, [_WIDTHS])
    return lambda record: stream.rows([_row(record)])


def _row(record: FlowRecord) -> list[str]:
    cells = (
        record.time[11:23],
        record.state,
        record.verdict + (f" x{record.attempts}" if record.attempts > 1 else ""),
        record.protocol,
        _end_text(record.src),
        _end_text(record.dst),
        "; ".join(map(_decided_text, record.decisions)),
        f"{record.bytes[0]}/{record.bytes[1]}" if record.bytes else "",
    )
    return [safe(cell) for cell in cells]


def _end_text(end: End) -> str:
    name = f"{end.namespace}/{end.name}" if end.namespace else end.name
    where = f"[{end.ip}]:{end.port}" if ":" in end.ip else f"{end.ip}:{end.port}"
    return f"{name} ({where})" if name else where


def _decided_text(decided: Decided) -> str:
    who = f"{decided.namespace}/{decided.policy}" if decided.namespace else decided.policy
    rule = f" rule {decided.rule}" if decided.rule is not None else ""
    end = f"tier {decided.tier}" if decided.tier else "end"
    by = f"{decided.kind} {who}{rule}".lstrip() if decided.policy else end
    reason = f" ({decided.reason})" if decided.reason not in ("", "policy-deny") else ""
    return f"{decided.direction} {decided.verdict} by {by}{reason}"
