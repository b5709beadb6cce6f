"""Instances that have IPv6 only: their addresses by router advertisement and by DHCPv6, and groups that filter them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from cloud import Cloud, Machine


@contextlib.contextmanager
def router(cloud: Cloud) -> Iterator[str]:
    """A router, by its id: this cloud keeps networks apart that none joins."""
    made: str = cloud.api.create("router", name="six")["id"]
    try:
        yield made
    finally:
        cloud.api.call("DELETE", f"routers/{made}")


@contextlib.contextmanager
def instance(cloud: Cloud, router: str, name: str, host: str, mode: str, cidr: str) -> Iterator[Machine]:
    """An instance on a network of its own whose one subnet has IPv6 addresses by ``mode``, joined by ``router``."""
    network = cloud.api.create("network", name=f"six-{name}")
    modes = {"ipv6_ra_mode": mode, "ipv6_address_mode": mode}
    subnet = cloud.api.create("subnet", network_id=network["id"], ip_version=6, cidr=cidr, **modes)
    interface = {"subnet_id": subnet["id"]}
    cloud.api.call("PUT", f"routers/{router}/add_router_interface", interface)
    port = cloud.api.create("port", network_id=network["id"])
    machine = cloud.boot(name, host, port=port["id"], dhcp=False)
    try:
        yield machine
    finally:
        cloud.delete(name)
        cloud.api.call("DELETE", f"ports/{port['id']}")
        cloud.api.call("PUT", f"routers/{router}/remove_router_interface", interface)
        cloud.api.call("DELETE", f"networks/{network['id']}")


def has_address(machine: Machine) -> bool:
    return f"inet6 {machine.address}/" in machine.run("ip", "-6", "-o", "addr", "show", "scope", "global")


def test_instances_configure_themselves_and_ipv6_rules_open_and_close(cloud: Cloud, tmp_path: Path) -> None:
    """One by SLAAC, as its kernel does it, the other by stateful DHCPv6 with ISC's client."""
    with (
        router(cloud) as joined,
        instance(cloud, joined, "slaac", "compute1", "slaac", "fd65:1::/64") as slaac,
        instance(cloud, joined, "stateful", "compute2", "dhcpv6-stateful", "fd65:2::/64") as stateful,
    ):
        cloud.until("the kernel makes the address that Neutron says", lambda: has_address(slaac))
        interface = cloud.instance("stateful").interface
        files = f"-lf {tmp_path}/leases -pf {tmp_path}/pid"
        try:
            stateful.run("unshare", "-m", "sh", "-c", _DHCP.format(files=files, interface=interface))
        finally:
            stateful.run("sh", "-c", f"test ! -s {tmp_path}/pid || kill $(cat {tmp_path}/pid)")
        assert has_address(stateful)
        cloud.opens(slaac, stateful.address)
        assert slaac.connects(stateful.address) == slaac.address
        cloud.opens(stateful, slaac.address)

        group = cloud.group()
        with cloud.with_groups("stateful", group):
            cloud.closes(slaac, stateful.address)
            cloud.rule(group, ethertype="IPv4", protocol="tcp")
            rule = cloud.rule(
                group, ethertype="IPv6", protocol="tcp", port_range_min=80, port_range_max=80,
                remote_ip_prefix=f"{slaac.address}/128",
            )  # fmt: skip
            cloud.opens(slaac, stateful.address, 80)
            assert not slaac.connects(stateful.address, 443)
            cloud.api.call("DELETE", f"security-group-rules/{rule}")
            cloud.closes(slaac, stateful.address, 80)


_DHCP = """\
mount --bind /dev/null /etc/resolv.conf && exec dhclient -6 -1 -v {files} {interface}
"""
