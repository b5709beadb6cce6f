"""A thousand states of the datastore, each a good one with parts exchanged for others: BIRD accepts what becomes of
every one, and is told no more and no less than the plan says."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest
from bgp_readback import LOG, altered
from bgp_states import GOOD, mutated, planned

from calico.bgp.bird.process import check_file
from calico.bgp.birdconf.render import render

STATES, AT_ONCE = 1000, 8


def test_the_good_state_uses_everything(bird_refusal: Any) -> None:
    plan = planned(GOOD, random.Random(1))
    text = render(plan, LOG)
    assert len(plan.peers) == 8
    assert bird_refusal(text) == ""
    assert list(altered(plan, text)) == []


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("protocol bgp Global_any", "protocol bgp Global_other"),
        lambda text: text.replace("correct horse", "correct hors"),
        lambda text: text.replace("10.9.0.9 port", "10.9.0.8 port"),
        lambda text: text + "protocol pipe evil { }\n",
        lambda text: text.replace("route 10.65.0.0/26 blackhole;", ""),
        lambda text: text.replace("'bgp_edge.1_exportFilterV4'(false);", ""),
        lambda text: text + 'log "evil" all;\n',
    ],
)
def test_the_tokenizer_notices_what_is_altered(change: Any) -> None:
    plan = planned(GOOD, random.Random(1))
    text = render(plan, LOG)
    assert change(text) != text
    assert list(altered(plan, change(text))) != []


@pytest.mark.timeout(300)
def test_no_mutated_resource_puts_a_broken_or_altered_configuration_into_bird(tmp_path: Path) -> None:
    draw = random.Random(4)
    texts = []
    for number in range(STATES):
        state = mutated(draw)
        plan = planned(state, draw)
        text = render(plan, LOG)
        assert list(altered(plan, text)) == [], (number, state)
        texts.append(text)
    assert len(set(texts)) > STATES // 2, "most make a difference; the rest leave no usable Node or BGPConfiguration"
    refusals = asyncio.run(_refusals(texts, tmp_path))
    assert refusals == {}


async def _refusals(texts: list[str], directory: Path) -> dict[int, str]:
    """What BIRD's parser says against the texts, by number; a few parsers at once."""
    slots = asyncio.Semaphore(AT_ONCE)

    async def check(number: int, text: str) -> tuple[int, str]:
        async with slots:
            path = directory / f"{number}.conf"
            path.write_text(text)
            refusal = await check_file("bird", path)
            path.unlink()
            return number, refusal

    done = await asyncio.gather(*(check(number, text) for number, text in enumerate(texts)))
    return {number: f"{refusal}\n{texts[number]}" for number, refusal in done if refusal}
