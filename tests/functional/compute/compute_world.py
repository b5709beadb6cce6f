"""A compute host with a real etcd, Felix and the agent, instances as namespaces behind taps, and a nova-metadata.

What is in etcd is what the translation of Neutron's objects makes of them.

Instances know nothing when they start: what they have afterwards they were told by the agent.
"""

from __future__ import annotations

import http.client
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from felix_world import World, resource, until

from calico.dataplane.netns import in_netns
from calico.errors import Transient
from calico.obs.statussocket import read_status
from calico.orchestrators.openstack.convert import Document, Options, convert_port, convert_subnet, to_store
from calico.orchestrators.openstack.facts import (
    Binding,
    DnsAssignment,
    FixedIp,
    HostRoute,
    Network,
    Port,
    PortView,
    Subnet,
)

__all__ = ["SECRET", "ComputeWorld", "Instance"]

SECRET = "a shared secret"
NETWORK = "aaaaaaaa-0000-4000-8000-000000000001"
PROJECT = "bbbbbbbb-0000-4000-8000-000000000001"
SUBNET4 = "cccccccc-0000-4000-8000-000000000004"
_FE = "fe80::fc16:3eff:fe00:"
_SUBNETS6 = {
    "stateful": ("cccccccc-0000-4000-8000-000000000061", "fd00:61::", "dhcpv6-stateful"),
    "stateless": ("cccccccc-0000-4000-8000-000000000062", "fd00:62::", "dhcpv6-stateless"),
    "slaac": ("cccccccc-0000-4000-8000-000000000063", "fd00:63::", "slaac"),
}


class Instance:
    """What Neutron knows of one: its port, its addresses."""

    def __init__(self, number: int, mode: str) -> None:
        self.number, self.mode = number, mode
        self.port = f"{number:08x}-1111-4000-8000-{number:012x}"
        self.device = f"dddddddd-0000-4000-8000-{number:012x}"
        self.tap = f"tap{self.port[:11]}"
        self.mac = f"fa:16:3e:00:00:{number:02x}"
        self.v4 = f"10.65.0.{number + 10}"
        subnet, prefix, _ = _SUBNETS6[mode]
        self.v6 = f"{prefix}{number + 16:x}" if mode == "stateful" else f"{prefix}f816:3eff:fe00:{number:x}"
        self.fixed = [(SUBNET4, self.v4), (subnet, self.v6)]
        self.router = f"{_FE}{number:x}"


class Client(NamedTuple):
    """A DHCP client, and where it writes what it learns at each of its events."""

    process: subprocess.Popen[bytes]
    directory: Path

    def until(self, event: str) -> dict[str, str]:
        """What it knew at an event, once that has happened."""
        file = self.directory / event
        until(file.exists, f"the client says {event}")
        return dict(line.split("=", 1) for line in file.read_text().splitlines() if "=" in line)


class ComputeWorld(World):
    """``vms``: name -> how it gets IPv6: ``stateful``, ``stateless`` or ``slaac``."""

    def __init__(self, vms: dict[str, str]) -> None:
        self.agent: subprocess.Popen[bytes] | None = None
        self.nova: subprocess.Popen[str] | None = None
        self.instances: dict[str, Instance] = {}
        super().__init__(())
        try:
            for name, mode in vms.items():
                self.boot(name, mode)
        except BaseException:
            self.close()
            raise

    # ---- instances

    def boot(self, name: str, mode: str) -> Instance:
        """A namespace behind a tap, up, without any address."""
        instance = self.instances[name] = Instance(len(self.instances) + 1, mode)
        self._make(name)
        self.sysctl(name, "ipv6/conf/default/accept_ra", "0")
        self.plug(name)
        return instance

    def plug(self, name: str) -> None:
        """The tap and the instance's end of it; again after it was unplugged."""
        instance = self.instances[name]
        host_mac = f"fe{instance.mac[2:]}"
        self.ip("h", f"link add {instance.tap} address {host_mac} type veth peer name eth0 address {instance.mac} "
                f"netns {self.netns(name)}", f"link set {instance.tap} up")  # fmt: skip
        self.ip(name, "link set eth0 up")

    def unplug(self, name: str) -> None:
        self.ip("h", f"link del {self.instances[name].tap}")

    def reset(self, name: str) -> None:
        """The instance forgets all that it was told."""
        self.sysctl(name, "ipv6/conf/eth0/accept_ra", "0")
        self.ip(name, "link set eth0 down", "addr flush dev eth0", "link set eth0 mtu 1500 up")

    def port_document(self, name: str, **port: Any) -> Document:
        """The WorkloadEndpoint that Neutron's side makes of the port."""
        one = self.instances[name]
        network, subnets = self._network(), (self.subnet4, self.subnet6(one.mode))
        fixed = (FixedIp(subnet_id=SUBNET4, ip_address=one.v4), FixedIp(subnet_id=subnets[1].id, ip_address=one.v6))
        facts: dict[str, Any] = {
            "id": one.port, "network_id": NETWORK, "project_id": PROJECT, "device_id": one.device,
            "device_owner": "compute:nova", "mac_address": one.mac, "fixed_ips": fixed,
            "bindings": (Binding(host="h1", vif_type="tap"),),
            "dns_assignment": (DnsAssignment(ip_address=one.v4, hostname=name, fqdn=f"{name}.cloud.example."),),
        }  # fmt: skip
        view = PortView(port=Port(**{**facts, **port}), network=network, subnets=subnets)
        (document,) = convert_port(view, Options()).documents
        return document

    def _network(self) -> Network:
        return Network(id=NETWORK, project_id=PROJECT, mtu=1400)

    def subnet6(self, mode: str) -> Subnet:
        """The subnet of instances that get IPv6 in this way."""
        identifier, prefix, name = _SUBNETS6[mode]
        return Subnet(id=identifier, network_id=NETWORK, cidr=f"{prefix}/64", ip_version=6, gateway_ip=f"{prefix}1",
                      ipv6_ra_mode=name, ipv6_address_mode=name, dns_nameservers=("fd00::53",))  # fmt: skip

    def write_ports(self, *names: str, **fields: Any) -> None:
        """All ports, or these, as they are or with other facts."""
        self._write(*(self.port_document(name, **fields) for name in names or self.instances))

    def write_cloud(self) -> None:
        """What a cloud has before its first instance, and all ports."""
        cluster = {"clusterGUID": "f" * 32, "datastoreReady": True, "clusterType": "openstack"}
        information = resource("ClusterInformation", "default", cluster)
        tier = resource("Tier", "default", {"order": 1000000, "defaultAction": "Deny"})
        self.apply(information, tier, settle=False)
        self.write_subnet4()
        for mode in _SUBNETS6:
            self._write_subnet(self.subnet6(mode))
        self.write_ports()

    def write_subnet4(self, **fields: Any) -> None:
        """The IPv4 subnet as it is, or with other facts."""
        routes = (HostRoute(destination="192.0.2.0/24", nexthop="10.65.0.1"),)
        facts = {"id": SUBNET4, "network_id": NETWORK, "cidr": "10.65.0.0/24", "gateway_ip": "10.65.0.1",
                 "host_routes": routes, "dns_nameservers": ("10.0.0.53",)}  # fmt: skip
        self.subnet4 = Subnet(**{**facts, **fields})
        self._write_subnet(self.subnet4)

    def _write_subnet(self, subnet: Subnet) -> None:
        self._write(*convert_subnet(subnet, self._network(), (), Options()).documents)

    def _write(self, *documents: Document) -> None:
        stored = {one.path: to_store(one, None, uid="u", created="2026-01-01T00:00:00Z").decode() for one in documents}
        self.put_raw(dict(stored), settle=False)

    # ---- processes

    def start_agent(self, *options: str) -> None:
        """Start the agent; returns at once."""
        secret = self.directory / "secret"
        secret.write_text(SECRET)
        command = [*self.enter("h"), sys.executable, "-m", "calico", "openstack", "agent", "--node", "h1"]
        command += ["--run-dir", str(self.run_dir), "--state-dir", str(self.directory / "state")]
        command += ["--log-file", str(self.directory / "agent.log"), "--metadata-url", "http://127.0.0.1:9775"]
        command += ["--metadata-secret-file", str(secret), "--metadata-rate", "40"]
        command += ["--health", "127.0.0.1:9798", "--metrics", "127.0.0.1:9799", *options]
        with open(self.directory / "agent.out", "ab") as output:
            self.agent = subprocess.Popen(command, stdout=output, stderr=output)

    def stop_agent(self) -> int:
        """As systemd does; its exit code."""
        if self.agent is None:
            return 0
        self.agent.terminate()
        try:
            return self.agent.wait(timeout=30)
        finally:
            self.agent.kill()
            self.agent = None

    def agent_status(self) -> dict[str, Any]:
        try:
            return read_status(self.run_dir / "openstack-agent.sock")
        except Transient:
            return {"instances": [], "in_sync": False, "conditions": [], "requests": {}}

    def told(self, name: str) -> dict[str, Any] | None:
        """What the agent tells an instance, as it says itself."""
        tap = self.instances[name].tap
        return next((one for one in self.agent_status()["instances"] if one["interface"] == tap), None)

    def until_answered(self, *names: str) -> None:
        """Return when the agent has sockets on the taps of these instances, and their router an address."""

        def answered() -> bool:
            if self.agent is not None and self.agent.poll() is not None:
                raise AssertionError(self.agent_log())
            return all((found := self.told(name)) and found["router"] for name in names or self.instances)

        try:
            until(answered, "the agent answers the instances", deadline_s=60.0)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.agent_status()}\n{self.agent_log()[-3000:]}") from None

    def until_listening(self, *names: str, families: tuple[int, ...] = (4, 6)) -> None:
        """Return when the metadata service takes connections of these instances, whatever earlier tests did to it."""

        def listening() -> bool:
            try:
                return all(self.request(name, family=family)[0] == 200 for name in names for family in families)
            except OSError:
                return False

        until(listening, "the metadata service answers", deadline_s=60.0, pause_s=0.5)

    def agent_log(self) -> str:
        files = (self.directory / "agent.out", self.directory / "agent.log")
        return "".join(file.read_text() for file in files if file.exists())

    def start_nova(self) -> None:
        """A nova-metadata that says what it was asked."""
        command = [*self.enter("h"), sys.executable, str(Path(__file__).with_name("nova_stub.py")), "9775"]
        self.nova = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.nova.stdout is not None
        assert self.nova.stdout.readline() == "ready\n"

    def close(self) -> None:
        for process in (self.agent, self.nova):
            if process is not None:
                with suppress(Exception):
                    process.kill()
                    process.wait()
        if self.nova is not None and self.nova.stdout is not None:
            self.nova.stdout.close()
        self.agent = self.nova = None
        super().close()

    # ---- clients

    def run_in(self, name: str, *command: str, timeout_s: float = 60.0) -> subprocess.CompletedProcess[str]:
        """A program inside an instance, whose /etc, /run and /var/lib/dhcp are its own."""
        box = self.directory / f"box-{name}"
        if not box.exists():
            box.mkdir()
            shutil.copytree("/etc", box / "etc", symlinks=True, ignore=_unwanted)
            for part in ("run", "dhcp", "dhcpcd"):
                (box / part).mkdir()
        script = (f"mount --make-rprivate / && mount --bind {box}/etc /etc && mount --bind {box}/run /run && "
                  f"mkdir -p /var/lib/dhcp /var/lib/dhcpcd && mount --bind {box}/dhcp /var/lib/dhcp && "
                  f"mount --bind {box}/dhcpcd /var/lib/dhcpcd && hostname localhost && exec \"$@\"")  # fmt: skip
        words = [
            *self.enter(name),
            "unshare",
            "--mount",
            "--uts",
            "--pid",
            "--fork",
            "--kill-child",
            "sh",
            "-c",
            script,
            "sh",
            *command,
        ]
        return subprocess.run(words, capture_output=True, text=True, check=False, timeout=timeout_s)

    @contextmanager
    def client(self, name: str) -> Iterator[Client]:
        """busybox' client while it runs; it sets nothing."""
        out = self.directory / f"client-{name}-{time.monotonic_ns()}"
        out.mkdir()
        script = out / "record"
        script.write_text(f'#!/bin/sh\nenv >{out}/.new && mv {out}/.new "{out}/$1"\n')
        script.chmod(0o755)
        words = [*self.enter(name), "udhcpc", "-i", "eth0", "-f", "-t", "6", "-T", "2", "-s", str(script)]
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            yield Client(process, out)
        finally:
            process.kill()
            process.wait()

    def configure(self, name: str) -> None:
        """Set what DHCPv4 would tell, without asking."""
        self.ip(name, f"addr replace {self.instances[name].v4}/24 dev eth0", "route replace default via 10.65.0.1")

    def request(self, name: str, method: str = "GET", target: str = "/", *, family: int = 4, body: bytes = b"",
                headers: dict[str, str] | None = None) -> tuple[int, bytes, dict[str, str]]:  # fmt: skip
        """A request to the metadata service from an instance: status, body, headers of the answer."""
        connection = http.client.HTTPConnection("169.254.169.254", timeout=20)
        connection.sock = self.connect(name, family)
        try:
            connection.request(method, target, body=body or None, headers=headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read(), dict(answer.getheaders())
        finally:
            connection.close()

    def ask_agent(self, port: int, path: str) -> tuple[int, str]:
        """What the agent answers about itself over HTTP."""
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        connection.sock = in_netns(self.netns("h"), lambda: socket.create_connection(("127.0.0.1", port), timeout=20))
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def connect(self, name: str, family: int = 4) -> socket.socket:
        """A connection from an instance to the metadata service."""

        def make() -> socket.socket:
            if family == 4:
                return socket.create_connection(("169.254.169.254", 80), timeout=20)
            sock = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
            sock.settimeout(20)
            sock.connect(("fe80::a9fe:a9fe", 80, 0, socket.if_nametoindex("eth0")))
            return sock

        return in_netns(self.netns(name), make)

    def box(self, name: str) -> Path:
        """Where the files of an instance are."""
        return self.directory / f"box-{name}"

    def dhcp4(self, name: str) -> dict[str, str]:
        """What busybox' client learns, by the names that it gives; it sets nothing."""
        lease = self.try_dhcp4(name)
        assert lease is not None, f"no lease\n{self.agent_status()}\n{self.agent_log()[-3000:]}"
        return lease

    def try_dhcp4(self, name: str, tries: int = 6, pause_s: int = 2) -> dict[str, str] | None:
        """The same; None when nobody answers."""
        script = self.directory / "record"
        script.write_text('#!/bin/sh\n[ "$1" = bound ] || [ "$1" = renew ] || exit 0\nenv >"$OUT"\n')
        script.chmod(0o755)
        out = self.directory / f"lease-{name}-{time.monotonic_ns()}"
        options = [f"-O{code}" for code in (3, 6, 12, 15, 26, 42, 66, 67, 119, 121)]
        words = ["env", f"OUT={out}", "udhcpc", "-i", "eth0", "-n", "-q", "-f", "-t", str(tries), "-T", str(pause_s),
                 "-s", str(script), *options]  # fmt: skip
        done = subprocess.run([*self.enter(name), *words], capture_output=True, check=False, timeout=60)
        if done.returncode:
            return None
        return dict(line.split("=", 1) for line in out.read_text().splitlines() if "=" in line)


def _unwanted(directory: str, names: list[str]) -> list[str]:
    """Of /etc only what resolves names and what DHCP clients read."""
    if directory != "/etc":
        return []
    wanted = {"dhcp", "dhcpcd.conf", "dhcpcd.exit-hook", "hosts", "passwd", "group", "nsswitch.conf", "resolv.conf",
              "alternatives", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "udhcpc", "services", "protocols",
              "network", "localtime", "fstab"}  # fmt: skip
    return [name for name in names if name not in wanted or not os.access(Path(directory, name), os.R_OK)]
