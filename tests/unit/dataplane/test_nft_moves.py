"""An address that stays a member is in one part of its set, whenever a packet looks at the one and at the other."""

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calico.calc.messages import IPSetDelta, IPSetUpdate
from calico.dataplane.nft import table as table_module
from calico.dataplane.nft.fake import FakeNft
from calico.dataplane.nft.reading import read_table
from calico.dataplane.nft.table import NftDataplane
from calico.lib import packed
from calico.netlink.nftables.codec import TableCodec
from calico.netlink.nftables.objects import Table
from calico.netlink.socket import Failure
from calico.netlink.wire import Message
from calico.rules.ipsets import IPSets
from calico.rules.table import TableState

TABLE = Table("felix")
HOSTS = [packed.net(f"10.0.0.{number}/32") for number in range(8)]
NETS = [packed.net(f"10.0.0.{first}/{length}") for length in (31, 30, 29) for first in range(0, 8, 1 << 32 - length)]
OTHERS = [packed.net(f"10.1.0.{number}/32") for number in range(60)]

Parts = tuple[frozenset[bytes], frozenset[bytes]]
"""The addresses in the hash, and those within the networks."""


class Watched(FakeNft):
    """Notes what the two parts hold after each transaction. ``spans``: what one packet may see, since waits are noted
    too."""

    def __init__(self) -> None:
        super().__init__()
        self.spans: list[list[Parts]] = [[]]

    def transaction(self, messages: list[Message], port: int) -> list[Failure]:
        failures = super().transaction(messages, port)
        if not failures:
            self.spans[-1].append(self.parts())
        return failures

    def parts(self) -> Parts:
        mirror, _ = read_table(self.socket(), TableCodec(TABLE))
        nets = mirror.elements.get("n4-s", {})
        return frozenset(mirror.elements.get("h4-s", ())), members(nets)

    def on_wait(self) -> None:
        self.spans.append([self.spans[-1][-1]])


def members(nets: Sequence[bytes] | dict[bytes, object] | set[bytes] | frozenset[bytes]) -> frozenset[bytes]:
    """The addresses of some networks, of those that there are."""
    values = {net: (int.from_bytes(net[:-1], "big"), 32 - net[-1]) for net in nets}
    every = [host[:-1] for host in (*HOSTS, *OTHERS)]
    return frozenset(
        address
        for address in every
        if any(int.from_bytes(address, "big") >> bits == value >> bits for value, bits in values.values())
    )


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sets(st.sampled_from([*HOSTS, *NETS]), max_size=6), min_size=2, max_size=5), st.booleans())
def test_what_stays_a_member_is_found_at_every_moment(history: list[set[bytes]], grows: bool) -> None:
    """``grows``: with the second change the hash has to be made anew, since more addresses enter than it has room."""
    kernel = Watched()
    state = TableState()
    sets = IPSets(state)
    sets.replace(IPSetUpdate(id="s", kind="nets", members=frozenset(history[0])))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table_module, "wait_for_packets", kernel.on_wait)
        dataplane = NftDataplane(TABLE, state, socket_factory=kernel.socket)
        dataplane.apply()
        for before, after in pairwise(history):
            kernel.spans = [[kernel.parts()]]
            added, removed = after - before, before - after
            if grows and after is history[1]:
                added = added | set(OTHERS)
            sets.change(IPSetDelta(id="s", added=frozenset(added), removed=frozenset(removed)))
            assert dataplane.apply().failed == ()
            kept = members(before) & members(after)
            for span in kernel.spans:
                for place, (exact, within) in enumerate(span):
                    for later_exact, later_within in span[place:]:
                        assert kept <= exact | later_within
                        if not grows:  # rules that began before look into the hash that was
                            assert kept <= within | later_exact
            for span in kernel.spans:
                for exact, within in span:
                    assert (exact | within) - set(members(OTHERS)) in (members(before), members(after))
            assert kernel.parts()[0].isdisjoint(kernel.parts()[1])


def test_what_does_not_move_is_one_transaction() -> None:
    kernel = Watched()
    state = TableState()
    sets = IPSets(state)
    sets.replace(IPSetUpdate(id="s", kind="nets", members=frozenset(HOSTS[:2] + NETS[-1:])))
    dataplane = NftDataplane(TABLE, state, socket_factory=kernel.socket)
    dataplane.apply()
    kernel.spans = [[]]
    sets.change(IPSetDelta(id="s", added=frozenset(OTHERS[:1]), removed=frozenset()))
    dataplane.apply()
    sets.change(IPSetDelta(id="s", added=frozenset(OTHERS[1:2]), removed=frozenset(OTHERS[:1])))
    dataplane.apply()
    assert len(kernel.spans[0]) == 2
