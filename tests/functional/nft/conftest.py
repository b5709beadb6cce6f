"""A fresh network namespace per test, tables kept in it, and ``nft`` as an independent reader."""

import json
import subprocess
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from calico.dataplane.netns import in_netns, temporary_netns
from calico.dataplane.nft.table import NftDataplane
from calico.netlink.nftables.objects import Table
from calico.netlink.socket import NETLINK_NETFILTER, NetlinkSocket
from calico.rules.table import TableState


class Host:
    """One namespace and what is open in it."""

    def __init__(self, netns: str) -> None:
        self.netns = netns
        self.path = f"/run/netns/{netns}"
        self._open: list[NftDataplane] = []

    def socket(self) -> NetlinkSocket:
        return in_netns(self.netns, lambda: NetlinkSocket(NETLINK_NETFILTER))

    def dataplane(self, state: TableState, table: Table | None = None) -> NftDataplane:
        dataplane = NftDataplane(table or Table("felix"), state, socket_factory=self.socket)
        self._open.append(dataplane)
        return dataplane

    def nft(self, *args: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        command = ["nsenter", f"--net={self.path}", "nft", *args]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if check:
            assert done.returncode == 0, done.stderr
        return done

    def listing(self, *what: str) -> str:
        return self.nft("list", *(what or ("ruleset",))).stdout

    def objects(self, kind: str) -> list[dict[str, Any]]:
        """Objects of a kind as ``nft -j`` tells them."""
        listed = json.loads(self.nft("-j", "list", "ruleset").stdout)["nftables"]
        return [entry[kind] for entry in listed if kind in entry]

    def rules(self, chain: str) -> list[str]:
        """The rules of a chain as ``nft`` writes them."""
        lines = self.listing("chain", "inet", "felix", chain).splitlines()
        inside = [line.strip() for line in lines if line.startswith("\t\t")]
        return [line for line in inside if not line.startswith("type ")]

    def elements(self, name: str, kind: str = "set") -> list[Any]:
        found = [entry for entry in self.objects(kind) if entry["name"] == name]
        assert len(found) == 1, found
        return found[0].get("elem", [])

    def close(self) -> None:
        for dataplane in self._open:
            dataplane.close()


@pytest.fixture
def host() -> Iterator[Host]:
    with temporary_netns(f"nfttest-{uuid.uuid4().hex[:10]}") as netns:
        host = Host(netns)
        try:
            yield host
        finally:
            host.close()


@pytest.fixture
def programmed(host: Host) -> Callable[[TableState], NftDataplane]:
    """Apply a state in a fresh table; nothing may be refused."""

    def apply(state: TableState) -> NftDataplane:
        dataplane = host.dataplane(state)
        assert dataplane.apply().failed == ()
        return dataplane

    return apply
