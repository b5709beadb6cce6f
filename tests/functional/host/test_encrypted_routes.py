"""The table of encrypted routes against a real kernel, with a plain device in the place of one that encrypts."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from calico.calc.messages import WireguardPeerUpdate, WireguardRouteUpdate
from calico.dataplane.encap.wgkey import private_key
from calico.dataplane.encap.wgroutes import RuleKeeper, TableDriver
from calico.dataplane.encap.wireguard import WireguardManager, WireguardSettings
from calico.dataplane.netns import in_netns
from calico.dataplane.removal import KernelRemoval
from calico.lib.packed import addr_bytes, net
from calico.lib.reconcile import Reconciler
from calico.netlink.nftables.objects import Table
from calico.netlink.rtnetlink import route as rt
from calico.netlink.rtnetlink.route import KernelRoute, NextHop
from calico.netlink.rtnetlink.rule import MarkRule
from calico.netlink.socket import NETLINK_ROUTE, NetlinkSocket

MARK = 0x40000


@pytest.mark.parametrize(
    ("family", "block", "inside"), [(2, "10.65.1.0/26", "10.65.1.9"), (10, "fd65::/64", "fd65::9")]
)
def test_what_is_not_encrypted_yet_is_led_into_the_device_and_what_is_goes_past_it(
    host, family: int, block: str, inside: str
) -> None:
    version = "-4" if family == 2 else "-6"
    for n, name in enumerate(("enc0", "eth0")):
        host.ip("link", "add", name, "type", "veth", "peer", "name", f"{name}-far")
        host.ip("link", "set", name, "up")
        host.ip("link", "set", f"{name}-far", "up")
        host.ip(version, "addr", "add", f"192.0.{n}.1/24" if family == 2 else f"2001:db8:{n}::1/64", "dev", name)
    gateway = "192.0.1.2" if family == 2 else "2001:db8:1::2"
    host.ip(version, "route", "add", block, "via", gateway)
    rule = MarkRule(family=family, mark=MARK, table=1, priority=99)

    def leads(*more: str) -> str:
        return str(host.ip(version, "route", "get", inside, *more))

    def bring(*kinds: int) -> None:
        """Routes of these kinds, one after the other, and the rule; none: neither."""

        async def main() -> None:
            with NetlinkSocket(NETLINK_ROUTE) as sock:
                index = int(host.ip("-o", "link", "show", "enc0").partition(":")[0])
                routes: Reconciler[bytes, KernelRoute] = Reconciler(TableDriver(sock, family, 1, 81))
                for kind in kinds:
                    is_way = kind == rt.TYPE_UNICAST
                    route = KernelRoute(
                        dst=net(block),
                        hops=(NextHop(oif=index),) if is_way else (),
                        metric=0 if family == 2 else rt.IP6_DEFAULT_METRIC,
                        protocol=81,
                        scope=rt.on_link_scope(net(block), b"") if is_way else 0,
                        table=1,
                        type=kind,
                    )
                    routes.want(net(block), route)
                    assert await routes.apply() == []
                    assert await routes.look() == {net(block): route}
                if not kinds:
                    assert await routes.apply() == []
                RuleKeeper(sock, rule).keep(bool(kinds))
                assert RuleKeeper(sock, rule).found() == ([rule] if kinds else [])

        in_netns(host.name, lambda: asyncio.run(main()))

    assert "dev eth0" in leads()
    bring(rt.TYPE_UNREACHABLE, rt.TYPE_UNICAST)
    assert "dev enc0" in leads()
    assert "dev eth0" in leads("mark", hex(MARK))
    bring(rt.TYPE_UNICAST, rt.TYPE_THROW)
    assert "dev eth0" in leads()
    host.ip(version, "rule", "add", "not", "fwmark", f"{MARK}/{MARK}", "lookup", "1", "priority", "77")
    bring()
    assert "lookup 1" not in host.ip(version, "rule", "show")
    assert not host.ip(version, "route", "show", "table", "1").strip()


def test_routes_of_others_in_the_table_stay(host) -> None:
    host.ip("route", "add", "unreachable", "10.9.0.0/16", "table", "1")

    async def main() -> None:
        manager = WireguardManager(WireguardSettings())
        try:
            assert await manager.apply(1500)
        finally:
            manager.close()

    in_netns(host.name, lambda: asyncio.run(main()))
    assert "10.9.0.0/16" in host.ip("route", "show", "table", "1")


def test_a_device_that_cannot_be_had_makes_all_behind_it_unreachable_and_is_named_once(host, tmp_path: Path) -> None:
    host.ip("link", "add", "wireguard.cali", "type", "bridge")

    async def main() -> None:
        manager = WireguardManager(WireguardSettings(versions=frozenset({4}), key_directory=tmp_path))
        manager.on_message(WireguardPeerUpdate(node="b", version=4, key=b"b" * 32, endpoint=addr_bytes("192.0.2.2")))
        manager.on_message(WireguardRouteUpdate(dst=net("10.65.1.0/26"), kind="peer", node="b"))
        try:
            assert await manager.apply(1500), "there is nothing to try again before somebody does something"
            assert list(manager.refused) == ["wireguard.cali"]
            assert manager.public_keys == {}
            assert manager.as_data()["wireguard.cali"]["up"] is False
        finally:
            manager.close()

    in_netns(host.name, lambda: asyncio.run(main()))
    assert "unreachable 10.65.1.0/26" in host.ip("route", "show", "table", "1")


def test_a_private_key_is_made_once_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    path = tmp_path / "run" / "wireguard.key"
    key = private_key(path)
    assert len(key) == 32
    assert private_key(path) == key
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("damage", ["open", "short", "link"])
def test_a_key_that_is_secret_no_more_or_none_is_replaced(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "wireguard.key"
    key = private_key(path)
    match damage:
        case "open":
            path.chmod(0o644)
        case "short":
            path.write_bytes(b"AAAA\n")
        case _:
            elsewhere = tmp_path / "elsewhere"
            os.rename(path, elsewhere)
            path.symlink_to(elsewhere)
    fresh = private_key(path)
    assert fresh != key
    assert not path.is_symlink()
    assert path.stat().st_mode & 0o777 == 0o600
    assert private_key(path) == fresh


def test_what_is_left_is_found_and_taken_away(host, tmp_path: Path) -> None:
    async def leave() -> None:
        manager = WireguardManager(WireguardSettings(versions=frozenset({4, 6}), key_directory=tmp_path))
        for text in ("10.65.1.0/26", "fd65::/64"):
            manager.on_message(WireguardRouteUpdate(dst=net(text), kind="unreachable", node="b"))
        try:
            await manager.apply(1500)
        finally:
            manager.close()

    async def remove(*, dry_run: bool) -> list[tuple[str, str, str]]:
        removal = KernelRemoval(Table("calico-none"), tmp_path / "none", dry_run=dry_run)
        return [(item.kind, item.name, item.fault) for item in await removal.run()]

    in_netns(host.name, lambda: asyncio.run(leave()))
    expected = [
        ("rule", "priority 99 for table 1", ""),
        ("route", "10.65.1.0/26", ""),
        ("rule", "priority 99 for table 1", ""),
        ("route", "fd65::/64", ""),
    ]
    assert in_netns(host.name, lambda: asyncio.run(remove(dry_run=True))) == expected
    assert in_netns(host.name, lambda: asyncio.run(remove(dry_run=False))) == expected
    assert in_netns(host.name, lambda: asyncio.run(remove(dry_run=True))) == []
    assert "lookup 1" not in host.ip("rule", "show") + host.ip("-6", "rule", "show")
