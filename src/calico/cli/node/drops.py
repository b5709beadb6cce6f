"""``calico node drops``: what this host's ruleset dropped, why, and what to do about it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from calico.cli.options import data_output_option
from calico.cli.output.printing import TableStream, json_text, print_data, print_table, safe, yaml_text

if TYPE_CHECKING:
    from calico.netlink.nftables.counters import Counted

__all__ = ["drops"]

_WIDE_REASON = "host-endpoint-default"
_WIDE_NUMBER = "0" * 12


@click.command()
@data_output_option
@click.option("--all", "everything", is_flag=True, help="Reasons for which nothing was dropped, too.")
@click.option("-w", "--watch", "--follow", "watch", is_flag=True, help="Go on, and tell what is dropped as it happens.")
@click.option(
    "--interval", type=click.FloatRange(0.1, 3600), default=2.0, show_default=True, help="Seconds between two looks."
)
def drops(output: str, everything: bool, watch: bool, interval: float) -> None:
    """Show what this host's ruleset dropped, by reason, with what each reason means and what to do.

    Needs root; asks the kernel, so Felix need not run. Counts are kept when policy changes and when Felix starts anew;
    they begin when the ruleset is first loaded after a boot. Packets of the host's own sockets and answers with a
    rejection count like dropped ones.
    """
    found = _read()
    if watch:
        _follow(found, output, interval)
        return
    chosen = {reason: counted for reason, counted in found.items() if everything or counted.packets}
    if output != "table":
        print_data(_document(chosen), output)
    elif chosen:
        texts = _texts()
        rows = [
            [reason, counted.packets, counted.bytes, *texts.get(reason, ("(of another version of Calico)", ""))]
            for reason, counted in chosen.items()
        ]
        print_table(["REASON", "PACKETS", "BYTES", "MEANING", "WHAT TO DO"], rows)
    else:
        click.echo("Nothing was dropped.")


def _read() -> dict[str, Counted]:
    from calico.dataplane.nft.drops import read_drops
    from calico.felix.host import TABLE

    return read_drops(TABLE)


def _texts() -> dict[str, tuple[str, str]]:
    from calico.rules.drops import REASONS

    return {reason.name: (reason.meaning, reason.remedy) for reason in REASONS}


def _document(found: dict[str, Counted]) -> dict[str, Any]:
    texts = _texts()
    return {
        "drops": [
            {
                "reason": reason,
                "packets": counted.packets,
                "bytes": counted.bytes,
                "meaning": texts.get(reason, ("", ""))[0],
                "remedy": texts.get(reason, ("", ""))[1],
            }
            for reason, counted in found.items()
        ]
    }


def _follow(before: dict[str, Counted], output: str, interval: float) -> None:
    """A line for each reason that counted since the last look, until interrupted; a table made anew counts from 0."""
    at = time.monotonic()
    titles = ["TIME", "REASON", "PACKETS", "PACKETS/S", "BYTES/S"]
    stream = None
    if output == "table":
        stream = TableStream(titles, [["00:00:00", _WIDE_REASON, _WIDE_NUMBER, _WIDE_NUMBER, _WIDE_NUMBER]])
    while True:
        time.sleep(interval)
        now, found = time.monotonic(), _read()
        for reason, counted in found.items():
            old = before.get(reason)
            is_new = old is None or counted.packets < old.packets
            packets = counted.packets - (0 if is_new or old is None else old.packets)
            size = counted.bytes - (0 if is_new or old is None else old.bytes)
            if packets:
                rates = (round(packets / (now - at), 1), round(size / (now - at), 1))
                line = (time.strftime("%H:%M:%S"), reason, counted.packets, *rates)
                if stream is not None:
                    stream.rows([[safe(cell) for cell in line]])
                else:
                    names = ("time", "reason", "packets", "packets_per_s", "bytes_per_s")
                    document = dict(zip(names, line, strict=True))
                    click.echo(json_text(document, indent=0) if output == "json" else "---\n" + yaml_text(document))
        before, at = found, now
