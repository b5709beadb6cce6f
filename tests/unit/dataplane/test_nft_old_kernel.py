"""What a kernel that cannot own tables, or that loses answers, makes of a kept table."""

import pytest

from calico.dataplane.nft.fake import FakeNft, FakeNftSocket
from calico.dataplane.nft.table import NftDataplane
from calico.errors import Transient, Uncertain
from calico.netlink.nftables import uapi
from calico.netlink.nftables.expr import Rule, Verdict
from calico.netlink.nftables.objects import Chain, SetDecl, Table
from calico.netlink.socket import Failure
from calico.rules.table import TableState


def state_of(*addresses: bytes) -> TableState:
    state = TableState()
    state.want_chain(Chain("c", (Rule((Verdict("drop"),)),)))
    state.want_set(SetDecl("s", ("ipv4_addr",), size=16))
    for address in addresses:
        state.want_element("s", address)
    return state


def test_a_kernel_that_knows_no_owners_gets_a_plain_table_and_is_asked_once() -> None:
    kernel = FakeNft(knows_owners=False)
    sock = kernel.socket()
    state = state_of(b"1234")
    dataplane = NftDataplane(Table("felix"), state, socket_factory=lambda: sock)
    assert dataplane.apply().failed == ()
    assert not dataplane.owned
    (table,) = kernel.tables.values()
    assert table.flags == 0
    asked = sock.sent[uapi.NEWTABLE]
    state.want_element("s", b"5678")
    dataplane.resync()
    assert dataplane.apply().changed
    assert sock.sent[uapi.NEWTABLE] == asked


def test_a_plain_table_is_found_again_after_a_restart() -> None:
    kernel = FakeNft(knows_owners=False)
    NftDataplane(Table("felix"), state_of(b"1234"), socket_factory=kernel.socket).apply()
    again = NftDataplane(Table("felix"), state_of(b"1234"), socket_factory=kernel.socket).apply()
    assert (again.changed, again.failed) == (False, ())


def test_a_table_is_never_owned_without_persisting() -> None:
    kernel = FakeNft()
    sock = kernel.socket()
    dataplane = NftDataplane(Table("felix"), state_of(), socket_factory=lambda: sock)
    dataplane.apply()
    (table,) = kernel.tables.values()
    assert table.flags == uapi.TABLE_F_OWNER | uapi.TABLE_F_PERSIST
    dataplane.close()
    assert len(kernel.tables) == 1


def test_a_member_costs_one_request_and_reads_nothing() -> None:
    sock = FakeNft().socket()
    state = state_of()
    dataplane = NftDataplane(Table("felix"), state, socket_factory=lambda: sock)
    dataplane.apply()
    sock.sent.clear()
    state.want_element("s", b"1234")
    dataplane.apply()
    assert sock.sent == {uapi.NEWSETELEM: 1}


class LossySocket(FakeNftSocket):
    """Carries a transaction out and loses the answer, once."""

    def __init__(self, kernel: FakeNft, port: int) -> None:
        super().__init__(kernel, port)
        self.losing = False

    def exchange(self, data: bytes, first_seq: int, last_seq: int) -> tuple[bool, list[Failure]]:
        answer = super().exchange(data, first_seq, last_seq)
        if self.losing:
            self.losing = False
            return False, []
        return answer


@pytest.fixture
def lossy() -> LossySocket:
    return LossySocket(FakeNft(), 7)


def test_a_lost_answer_is_uncertain_and_the_next_apply_finds_out(lossy: LossySocket) -> None:
    state = state_of()
    dataplane = NftDataplane(Table("felix"), state, socket_factory=lambda: lossy)
    dataplane.apply()
    state.want_element("s", b"1234")
    lossy.losing = True
    with pytest.raises(Uncertain):
        dataplane.apply()
    again = dataplane.apply()
    assert (again.changed, again.failed) == (False, ())
    state.want_element("s", b"5678")
    assert dataplane.apply().messages == 1


def test_a_table_of_another_owner_stays_dirty() -> None:
    kernel = FakeNft()
    other = NftDataplane(Table("felix"), state_of(b"1234"), socket_factory=kernel.socket)
    other.apply()
    ours = NftDataplane(Table("felix"), state_of(b"5678"), socket_factory=kernel.socket)
    for _ in range(2):
        with pytest.raises(Transient, match="owned"):
            ours.apply()
    other.close()
    assert ours.apply().changed
