"""What elements of a map lead to is in the kernel, filled, a transaction before they do."""

import pytest

from calico.dataplane.nft import table as table_module
from calico.dataplane.nft.fake import FakeNft
from calico.dataplane.nft.mirror import Mirror
from calico.dataplane.nft.reading import read_table
from calico.dataplane.nft.table import NftDataplane
from calico.netlink.nftables.codec import TableCodec
from calico.netlink.nftables.expr import CountIn, Lookup, Meta, Payload, Rule, Verdict
from calico.netlink.nftables.objects import Chain, Hook, SetDecl, Table
from calico.netlink.socket import Failure
from calico.netlink.wire import Message
from calico.rules.names import ifname_key
from calico.rules.table import TableState

TABLE, DROP = Table("felix"), Rule((Verdict("drop"),))
KEY = ifname_key("cali1")


class Watched(FakeNft):
    """Notes the table after each transaction, and waits for packets (None)."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Mirror | None] = []

    def transaction(self, messages: list[Message], port: int) -> list[Failure]:
        failures = super().transaction(messages, port)
        if not failures:
            self.seen.append(read_table(self.socket(), TableCodec(TABLE))[0])
        return failures


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Watched:
    kernel = Watched()
    monkeypatch.setattr(table_module, "wait_for_packets", lambda: kernel.seen.append(None))
    return kernel


def start(kernel: Watched, kind: str) -> tuple[TableState, NftDataplane]:
    """A map that leads to the first list."""
    state = TableState()
    state.want_set(SetDecl("lists", ("ifname",), "verdict", size=16))
    state.want_chain(Chain("list-0", (DROP,)))
    lead(state, kind, 0)
    state.want_chain(Chain("base", (Rule((Meta("iifname"), Lookup("lists", verdict=True))), DROP), Hook("forward", 0)))
    dataplane = NftDataplane(TABLE, state, socket_factory=kernel.socket)
    dataplane.apply()
    kernel.seen.clear()
    return state, dataplane


def lead(state: TableState, kind: str, number: int) -> None:
    state.want_element("lists", KEY, Verdict(kind, f"list-{number}"))  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["jump", "goto"])
def test_a_new_list_is_filled_before_a_map_leads_to_it(kernel: Watched, kind: str) -> None:
    state, dataplane = start(kernel, kind)
    state.want_counter("seen")
    state.want_set(SetDecl("h4", ("ipv4_addr",), size=16))
    state.want_element("h4", bytes(4))
    state.want_chain(Chain("policy", (Rule((Payload("network", 12, 4), Lookup("h4"), CountIn("seen"), *DROP.exprs)),)))
    state.want_chain(Chain("list-1", (Rule((Verdict("jump", "policy"),)), DROP)))
    lead(state, kind, 1)
    state.unwant_chain("list-0")
    assert dataplane.apply().failed == ()
    ahead, *waited, after = kernel.seen
    assert waited == ([None] if kind == "goto" else [])
    assert ahead is not None
    assert after is not None
    assert (ahead.chains["policy"].count, ahead.chains["list-1"].count) == (1, 2)
    assert ahead.elements["h4"].keys() == {bytes(4)}
    assert ahead.elements["lists"][KEY] == Verdict(kind, "list-0")  # type: ignore[arg-type]
    assert after.elements["lists"][KEY] == Verdict(kind, "list-1")  # type: ignore[arg-type]
    assert "list-0" not in after.chains
    assert not dataplane.apply().changed


def test_a_new_start_makes_lists_ahead_as_well(kernel: Watched) -> None:
    state, dataplane = start(kernel, "jump")
    dataplane.close()
    state.want_chain(Chain("list-1", (DROP,)))
    state.want_set(SetDecl("other", ("ipv4_addr",), size=16))
    lead(state, "jump", 1)
    again = NftDataplane(TABLE, state, socket_factory=kernel.socket)
    again.apply()
    owned, ahead, after = kernel.seen
    assert owned is not None
    assert ahead is not None
    assert after is not None
    assert "list-1" not in owned.chains
    assert (ahead.chains["list-1"].count, ahead.elements["lists"][KEY]) == (1, Verdict("jump", "list-0"))
    assert after.elements["lists"][KEY] == Verdict("jump", "list-1")


def test_a_chain_that_looks_up_a_set_which_is_made_anew_waits_for_it_and_so_does_what_leads_there(
    kernel: Watched,
) -> None:
    state, dataplane = start(kernel, "jump")
    state.want_set(SetDecl("h4", ("ipv4_addr",), size=16))
    state.want_chain(Chain("old", (Rule((Payload("network", 12, 4), Lookup("h4"), *DROP.exprs)),)))
    dataplane.apply()
    kernel.seen.clear()
    state.want_set(SetDecl("h4", ("ipv4_addr",), size=64))
    state.want_chain(Chain("policy", (Rule((Payload("network", 12, 4), Lookup("h4"), *DROP.exprs)),)))
    state.want_chain(Chain("list-1", (Rule((Verdict("jump", "policy"),)), DROP)))
    lead(state, "jump", 1)
    assert dataplane.apply().failed == ()
    assert len(kernel.seen) == 1


def test_what_leads_to_a_list_that_is_there_is_one_transaction(kernel: Watched) -> None:
    state, dataplane = start(kernel, "goto")
    state.want_chain(Chain("list-1", (DROP, DROP)))
    dataplane.apply()
    lead(state, "goto", 1)
    state.want_chain(Chain("list-1", (DROP,)))
    dataplane.apply()
    assert len(kernel.seen) == 2


def test_where_the_first_part_is_refused_all_goes_in_one_and_what_is_to_blame_is_named(kernel: Watched) -> None:
    state, dataplane = start(kernel, "jump")
    state.want_chain(Chain("list-1", (Rule((Payload("network", 12, 4), Lookup("nowhere"), *DROP.exprs)),)))
    lead(state, "jump", 1)
    assert [(item.kind, item.name) for item in dataplane.apply().failed] == [("rules", "list-1")]
    (after,) = kernel.seen
    assert after is not None
    assert after.elements["lists"][KEY] == Verdict("jump", "list-1")
