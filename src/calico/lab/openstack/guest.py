"""What is inside an instance: its namespace, its interface, and a real DHCP client that configures it."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

from calico.dataplane.links import Links
from calico.dataplane.netns import in_netns
from calico.errors import NotFound, Transient
from calico.lab.openstack.instance import Instance

__all__ = ["configure", "move_guest", "plug", "prepare_move", "unplug"]

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


def prepare_move(instance: Instance, host_netns: str, tap_mac: str, mtu: int, interface: str) -> None:
    """Plug a second interface to another host. Like a guest that does not run there yet, it takes and sends nothing."""
    in_netns(instance.netns, lambda: _generate_addresses("default", on=False))
    plug(instance, host_netns, tap_mac, mtu, interface)
    _hold(instance, interface)


def move_guest(instance: Instance, interface: str) -> tuple[float, float]:
    """Pause the guest, let it go on with its other interface, and announce it there as QEMU does (RARP).

    Returns when it was paused and when it ran again (CLOCK_MONOTONIC). The old interface stays, and takes nothing any
    more. Sockets and namespace stay: nothing inside notices but for what was on its way.
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
    with in_netns(instance.netns, lambda: _packet_socket(interface)) as announcer:
        paused = time.monotonic()
        _hold(instance, instance.interface)
        done = _inside(instance, "ip", "-batch", "-", text="\n".join([*lines, *moved, ""]))
        if done.returncode != 0:
            raise Transient(f"{instance.name} cannot go on with {interface}: {done.stderr.strip()}")
        _nft(instance, f"delete chain netdev paused {interface}")
        resumed = time.monotonic()
        announcer.send(_announcement(_bytes(instance.mac)))
    in_netns(instance.netns, lambda: _generate_addresses(interface, on=True))
    return paused, resumed


def _hold(instance: Instance, interface: str) -> None:
    """Whatever comes in on the interface is lost."""
    hook = f"type filter hook ingress device {interface} priority -500; policy drop;"
    _nft(instance, f"add table netdev paused; add chain netdev paused {interface} {{ {hook} }}")


def _nft(instance: Instance, commands: str) -> None:
    done = _inside(instance, "nft", "-f", "-", text=f"{commands}\n")
    if done.returncode != 0:
        raise Transient(f"{instance.name} cannot be paused or resumed: {done.stderr.strip()}")


def _packet_socket(interface: str) -> socket.socket:
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    sock.bind((interface, 0))
    return sock


def _announcement(mac: bytes) -> bytes:
    """A reverse ARP request of a station for itself, to everybody (RFC 903)."""
    return b"\xff" * 6 + mac + bytes.fromhex("8035 0001 0800 06 04 0003") + (mac + bytes(4)) * 2


def _generate_addresses(interface: str, *, on: bool) -> None:
    """Whether an interface gives itself a link-local address, and speaks because of it."""
    Path("/proc/sys/net/ipv6/conf", interface, "addr_gen_mode").write_text("0" if on else "1")


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
