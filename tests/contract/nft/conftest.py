"""The kernels that a table can be kept in: the fake one, and the real one in a fresh network namespace."""

import uuid
from collections.abc import Callable, Iterator

import msgspec
import pytest

from calico.dataplane.netns import in_netns, temporary_netns
from calico.dataplane.nft.fake import FakeNft
from calico.dataplane.nft.reading import NftSocket, TableStatus, read_generation, read_table
from calico.dataplane.nft.table import NftDataplane
from calico.netlink.nftables.codec import Request, TableCodec, encode_batch
from calico.netlink.nftables.expr import Expr, Lookup
from calico.netlink.nftables.expr_codec import decode_exprs
from calico.netlink.nftables.objects import ElementValue, Hook, SetDecl, Table
from calico.netlink.socket import NETLINK_NETFILTER, Failure, NetlinkSocket
from calico.rules.table import TableState

TABLE = Table("felix")


class Content:
    """What a table in the kernel consists of, read by someone who did not write it."""

    def __init__(self, sock: NftSocket, table: Table) -> None:
        mirror, self.status = read_table(sock, TableCodec(table))
        self.status: TableStatus
        self.kernel_names = {name: kernel_set.kernel_name for name, kernel_set in mirror.sets.items()}
        own_names = {kernel_name: name for name, kernel_name in self.kernel_names.items()}
        self.hooks: dict[str, Hook | None] = {name: chain.hook for name, chain in mirror.chains.items()}
        self.sets: dict[str, SetDecl | None] = {name: kernel_set.decl for name, kernel_set in mirror.sets.items()}
        self.elements: dict[str, dict[bytes, ElementValue]] = mirror.elements
        self.counters = mirror.counters
        self.chains: dict[str, list[tuple[Expr, ...]]] = {
            name: [tuple(_own(expr, own_names) for expr in decode_exprs(rule.exprs)) for rule in chain.read]
            for name, chain in mirror.chains.items()
        }


def _own(expr: Expr, own_names: dict[str, str]) -> Expr:
    if isinstance(expr, Lookup):
        return msgspec.structs.replace(expr, set=own_names.get(expr.set, expr.set))
    return expr


class Kernel:
    """Opens sockets, dataplanes, and looks at tables with a socket of its own."""

    def __init__(self, open_socket: Callable[[], NftSocket]) -> None:
        self._open_socket = open_socket
        self._closing: list[Callable[[], None]] = []

    def socket(self) -> NftSocket:
        sock = self._open_socket()
        self._closing.append(sock.close)
        return sock

    def dataplane(self, state: TableState, table: Table = TABLE) -> NftDataplane:
        return NftDataplane(table, state, socket_factory=self.socket)

    def generation(self) -> int:
        """How many transactions there were, whoever made them."""
        return read_generation(self.socket())

    def content(self, table: Table = TABLE) -> Content:
        return Content(self.socket(), table)

    def agrees(self, state: TableState, table: Table = TABLE) -> None:
        """The kernel has exactly what is desired."""
        content = self.content(table)
        assert content.chains == {name: [rule.exprs for rule in chain.rules] for name, chain in state.chains.items()}
        assert content.hooks == {name: chain.hook for name, chain in state.chains.items()}
        assert content.sets == dict(state.sets)
        assert content.counters == state.counters
        assert content.elements == {name: dict(state.elements(name)) for name in state.sets}

    def write(self, *requests: Request) -> list[Failure]:
        """A transaction of someone else."""
        sock = self.socket()
        first = sock.next_seq(len(requests) + 2)
        return sock.exchange(encode_batch(requests, first, None), first, first + len(requests) + 1)[1]

    def close(self) -> None:
        for close in self._closing:
            close()


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.root)])
def kernel(request: pytest.FixtureRequest) -> Iterator[Kernel]:
    if request.param == "fake":
        yield Kernel(FakeNft().socket)
        return
    with temporary_netns(f"nftcontract-{uuid.uuid4().hex[:10]}") as netns:
        kernel = Kernel(lambda: in_netns(netns, lambda: NetlinkSocket(NETLINK_NETFILTER)))
        try:
            yield kernel
        finally:
            kernel.close()
