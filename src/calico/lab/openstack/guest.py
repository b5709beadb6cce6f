"""What is inside an instance: its namespace, its interface, and a real DHCP client that configures it."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

from calico.dataplane.links import Links
from calico.dataplane.netns import in_netns
from calico.errors import NotFound, Transient
from calico.lab.openstack.instance import Instance

__all__ = ["configure", "move_guest", "plug", "unplug"]

_TRIES, _PAUSE_S = 10, 1

_LEASE_SCRIPT = """\
#!/bin/sh
# Called by udhcpc with what the server told: sets addresses and routes as a distribution's own script does.
case "$1" in
    deconfig) ip addr flush dev "$interface" scope global; ip link set "$interface" up ;;
    bound|renew)
        [ -n "$mtu" ] && ip link set "$interface" mtu "$mtu"
        ip addr replace "$ip/${mask:-32}" dev "$interface"
        if [ -n "$staticroutes" ]; then  # RFC 3442: who is told of routes does not look at the router
            set -- $staticroutes
            while [ "$#" -ge 2 ]; do
                case "$2" in
                    0.0.0.0) ip route replace "$1" dev "$interface" ;;
                    *) ip route replace "$1" via "$2" dev "$interface" onlink ;;
                esac
                shift 2
            done
        else
            for gateway in $router; do ip route replace default via "$gateway" dev "$interface" onlink; break; done
        fi ;;
esac
"""


def plug(instance: Instance, host_netns: str, tap_mac: str, mtu: int, interface: str = "") -> None:
    """Join the instance's namespace (which exists) to a host by the port's tap, as libvirt does."""
    in_netns(instance.netns, _accept_routers)
    with Links(host_netns) as host:
        host.create_veth(
            instance.tap,
            interface or instance.interface,
            peer_netns=instance.netns,
            mac=_bytes(tap_mac),
            peer_mac=_bytes(instance.mac),
            mtu=mtu,
        )


def unplug(instance: Instance, host_netns: str) -> None:
    """Take the tap away; NotFound when it is gone already."""
    with Links(host_netns) as host:
        host.delete(instance.tap)


def configure(instance: Instance, directory: Path) -> None:
    """Run busybox' DHCP client until it has a lease. Transient when nobody answers, NotFound without the client."""
    client = shutil.which("udhcpc", path="/usr/sbin:/sbin:/usr/bin:/bin")
    if client is None:
        raise NotFound("an instance needs a DHCP client, and udhcpc is not installed; apt-get install udhcpc")
    script = directory / "lease-script"
    script.write_text(_LEASE_SCRIPT)
    script.chmod(0o755)
    options = ("-O", "121", "-O", "mtu", "-s", str(script))
    words = (client, "-i", instance.interface, "-n", "-q", "-f", "-t", str(_TRIES), "-T", str(_PAUSE_S), *options)
    done = _inside(instance, *words)
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:] or ["no lease"]
        raise Transient(f"{instance.name} got no address by DHCP on {instance.host}: {last[0]}")


def move_guest(instance: Instance, old_host_netns: str, interface: str) -> None:
    """What a guest had on its interface it has on another one; the old one goes, as when a guest is resumed elsewhere.

    Sockets and namespace stay: nothing inside notices but for what was on its way.
    """
    lines = []
    for address in _ip(instance, "addr", "show", "dev", instance.interface)[0].get("addr_info", []):
        if address["scope"] == "global":
            lines.append(f"addr add {address['local']}/{address['prefixlen']} dev {interface} noprefixroute")
    moved = []
    for version in ("-4", "-6"):
        for route in _ip(instance, version, "route", "show", "dev", instance.interface):
            if route["dst"].startswith("fe80") or route.get("protocol") == "ra":
                continue
            via = f" via {route['gateway']} onlink" if "gateway" in route else ""
            moved.append(f"route replace {route['dst']}{via} dev {interface}")
    moved.sort(key=lambda line: " via " in line)
    unplug(instance, old_host_netns)
    done = _inside(instance, "ip", "-batch", "-", text="\n".join([*lines, *moved, ""]))
    if done.returncode != 0:
        raise Transient(f"{instance.name} cannot go on with {interface}: {done.stderr.strip()}")


def _accept_routers() -> None:
    for path, value in {"default/accept_ra": "1", "default/accept_dad": "0"}.items():
        Path("/proc/sys/net/ipv6/conf", path).write_text(value)


def _ip(instance: Instance, *words: str) -> list[dict[str, Any]]:
    done = _inside(instance, "ip", "-j", *words)
    found: list[dict[str, Any]] = json.loads(done.stdout or "[]")
    return found


def _inside(instance: Instance, *words: str, text: str = "") -> subprocess.CompletedProcess[str]:
    command = ["nsenter", f"--net=/run/netns/{instance.netns}", *words]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=False)


def _bytes(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))
