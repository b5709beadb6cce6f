"""Real DHCP clients of Debian in instances that no policy lets say anything else."""

from __future__ import annotations

import json
import random
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from compute_world import ComputeWorld
from felix_world import until

from calico.dataplane.netns import in_netns
from calico.orchestrators.openstack.facts import DhcpOption


def routes(host: ComputeWorld, name: str, family: int = 4) -> list[str]:
    return host.show(name, f"-{family} route").splitlines()


def test_busybox_learns_all_of_its_lease(host: ComputeWorld) -> None:
    lease = host.dhcp4("a")
    assert lease["ip"] == host.instances["a"].v4
    assert lease["subnet"] == "255.255.255.0"
    assert lease["router"] == "10.65.0.1"
    assert lease["dns"] == "10.0.0.53"
    assert lease["mtu"] == "1400"
    assert lease["hostname"] == "a"
    assert lease["domain"] == "cloud.example"
    assert lease["serverid"] == "10.65.0.1"
    assert lease["lease"] == "86400"
    assert "192.0.2.0/24 10.65.0.1" in lease["staticroutes"]
    assert "169.254.169.254/32 10.65.0.1" in lease["staticroutes"]


def test_isc_dhclient_sets_up_an_instance_that_then_reaches_the_outside_and_its_metadata(host: ComputeWorld) -> None:
    host.reset("a")
    script = "dhclient -4 -1 -v eth0 && cat /etc/resolv.conf"
    done = host.run_in("a", "sh", "-c", script)
    assert done.returncode == 0, f"{done.stderr}\n{host.agent_log()[-3000:]}"
    assert "nameserver 10.0.0.53" in done.stdout
    assert "search cloud.example" in done.stdout
    assert f"inet {host.instances['a'].v4}/24" in host.show("a", "addr show dev eth0")
    assert "mtu 1400" in host.show("a", "link show dev eth0")
    assert any(line.startswith("default via 10.65.0.1") for line in routes(host, "a"))
    status, body, _ = host.request("a", target="/openstack/latest/meta_data.json")
    assert status == 200, body
    rule = {"action": "Allow", "ipVersion": 4}
    policy = {"ingress": [], "egress": [rule], "selector": "all()"}
    document = {"apiVersion": "projectcalico.org/v3", "kind": "NetworkPolicy", "spec": policy,
                "metadata": {"name": "ossg.default.all", "namespace": "openstack"}}  # fmt: skip
    key = "networkpolicies/openstack/ossg.default.all"
    ping = [*host.enter("a"), "ping", "-c", "3", "-i", "0.2", "-w", "10", "198.51.100.7"]
    assert subprocess.run([*ping[:-2], "1", "198.51.100.7"], capture_output=True, check=False).returncode == 1
    host.put_raw({key: json.dumps(document)})
    try:
        assert subprocess.run(ping, capture_output=True, check=False).returncode == 0
    finally:
        host.put_raw({key: None})


def test_dhcpcd_finds_nobody_else_with_its_address_and_takes_it_by_rapid_commit(host: ComputeWorld) -> None:
    host.reset("b")
    before = host.agent_status()["requests"].get("dhcp4 discover ack", 0)
    done = host.run_in("b", "dhcpcd", "-1", "-d", "-4", "eth0")
    assert done.returncode == 0, f"{done.stderr}\n{host.agent_log()[-3000:]}"
    assert f"inet {host.instances['b'].v4}/24" in host.show("b", "addr show dev eth0")
    assert "DAD completed" in done.stderr
    assert any(line.startswith("169.254.169.254 via 10.65.0.1") for line in routes(host, "b"))
    assert host.agent_status()["requests"]["dhcp4 discover ack"] == before + 1


def test_isc_dhclient_gets_its_ipv6_address_by_stateful_dhcp(host: ComputeWorld) -> None:
    host.reset("d")
    host.run_in("d", "sh", "-c", "true")
    until(lambda: "tentative" not in host.show("d", "addr show dev eth0"), "the link-local address is usable")
    done = host.run_in("d", "sh", "-c", "dhclient -6 -1 -v eth0 && cat /etc/resolv.conf")
    assert done.returncode == 0, f"{done.stderr}\n{host.agent_log()[-3000:]}"
    assert f"inet6 {host.instances['d'].v6}/128" in host.show("d", "addr show dev eth0")
    assert "nameserver fd00::53" in done.stdout


def test_an_instance_of_a_stateless_subnet_learns_names_by_dhcp_and_makes_its_address_itself(
    host: ComputeWorld,
) -> None:
    host.reset("b")
    host.sysctl("b", "ipv6/conf/eth0/accept_ra", "1")
    host.ip("b", "link set eth0 down", "link set eth0 up")
    until(lambda: host.instances["b"].v6 in host.show("b", "addr show dev eth0"), "the kernel makes its address")
    done = host.run_in("b", "sh", "-c", "dhclient -6 -S -1 -v eth0 && cat /etc/resolv.conf")
    assert done.returncode == 0, f"{done.stderr}\n{host.agent_log()[-3000:]}"
    assert "nameserver fd00::53" in done.stdout
    assert "search cloud.example" in done.stdout


def test_the_kernel_of_an_instance_configures_itself_by_router_advertisement(host: ComputeWorld) -> None:
    host.reset("c")
    host.sysctl("c", "ipv6/conf/eth0/accept_ra", "1")
    host.ip("c", "link set eth0 down", "link set eth0 up")
    one = host.instances["c"]
    until(lambda: one.v6 in host.show("c", "addr show dev eth0"), "the kernel makes its address")
    (default,) = [line for line in routes(host, "c", 6) if line.startswith("default")]
    assert f"via {one.router} " in default
    assert "mtu 1400" in default
    assert not any(line.startswith("fd00:63::/64") for line in routes(host, "c", 6)), "neighbours are not on the link"


def test_extra_dhcp_options_and_changes_of_a_subnet_arrive_with_the_next_lease(host: ComputeWorld) -> None:
    extra = (
        DhcpOption(opt_name="bootfile-name", opt_value="pxelinux.0"),
        DhcpOption(opt_name="42", opt_value="192.0.2.123"),
        DhcpOption(opt_name="server-ip-address", opt_value="192.0.2.9"),
        DhcpOption(opt_name="no-such-option", opt_value="1"),
    )
    host.write_ports("a", extra_dhcp_opts=extra)
    host.write_subnet4(
        dns_nameservers=(
            "10.0.0.54",
            "10.0.0.55",
        )
    )

    def told() -> Any:
        found = host.told("a")
        return found and found["extra_options"] and "10.0.0.55" in found["dns"]

    until(told, "the agent learns of it")
    lease = host.dhcp4("a")
    assert lease["bootfile"] == "pxelinux.0"
    assert lease["ntpsrv"] == "192.0.2.123"
    assert lease["siaddr"] == "192.0.2.9"
    assert lease["dns"] == "10.0.0.54 10.0.0.55"
    problems = {c["object"]: c["message"] for c in host.agent_status()["conditions"] if c["code"] == "dhcp-incomplete"}
    assert "no-such-option" in problems[host.instances["a"].tap]


def test_a_lease_is_renewed_with_the_server_that_gave_it(host: ComputeWorld) -> None:
    host.configure("a")
    before = host.agent_status()["requests"].get("dhcp4 request ack", 0)
    with host.client("a") as client:
        client.until("bound")
        host.write_subnet4(dns_nameservers=("10.0.0.77",))
        until(lambda: (found := host.told("a")) and "10.0.0.77" in found["dns"], "the agent learns of it")
        client.process.send_signal(signal.SIGUSR1)
        assert client.until("renew")["dns"] == "10.0.0.77"
    assert host.agent_status()["requests"]["dhcp4 request ack"] >= before + 2


def test_an_instance_of_a_subnet_without_a_gateway_reaches_its_metadata(host: ComputeWorld) -> None:
    host.write_subnet4(gateway_ip="", host_routes=())
    host.write_ports("a")
    until(lambda: (found := host.told("a")) and not found["gateway"], "the agent learns of it")
    host.settle()
    host.reset("a")
    done = host.run_in("a", "dhclient", "-4", "-1", "-v", "eth0")
    assert done.returncode == 0, f"{done.stderr}\n{host.agent_log()[-3000:]}"
    assert not any(line.startswith("default") for line in routes(host, "a"))
    assert host.request("a")[0] == 200


def test_an_instance_that_floods_keeps_nobody_else_waiting(host: ComputeWorld) -> None:
    limited = host.agent_status()["requests"].get("none limited", 0)
    sock = in_netns(host.netns("c"), lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW))
    sock.bind(("eth0", 0))
    stop, sent = threading.Event(), random.Random(3)
    head = bytes.fromhex("ffffffffffff" + host.instances["c"].mac.replace(":", "") + "0800")
    ip = bytes.fromhex("450002000000000040110000" + "00000000" + "ffffffff" + "0044" + "0043" + "01ec" + "0000")

    def flood() -> None:
        while not stop.is_set():
            body = bytearray(bytes.fromhex("01010600") + sent.randbytes(24) + bytes(208) + bytes.fromhex("63825363"))
            body += sent.randbytes(484 - len(body))
            sock.send(head + ip + bytes(body))

    thread = threading.Thread(target=flood)
    thread.start()
    try:
        assert host.dhcp4("a")["ip"] == host.instances["a"].v4
        until(lambda: host.agent_status()["requests"].get("none limited", 0) > limited, "the flood is cut")
    finally:
        stop.set()
        thread.join()
        sock.close()
    assert host.agent is not None
    assert host.agent.poll() is None


def test_nobody_answers_another_mac_than_the_ports(host: ComputeWorld) -> None:
    one = host.instances["a"]
    host.ip("a", "link set eth0 down", "link set eth0 address fa:16:3e:99:99:99", "link set eth0 up")
    try:
        assert host.try_dhcp4("a", tries=2, pause_s=1) is None
    finally:
        host.ip("a", "link set eth0 down", f"link set eth0 address {one.mac}", "link set eth0 up")
    assert host.agent_status()["requests"]["dhcp4 foreign-mac"] > 0


def test_an_interface_that_is_plugged_in_again_is_answered_again(host: ComputeWorld) -> None:
    host.unplug("d")
    until(lambda: host.told("d") is None, "the agent sees the interface go")
    host.plug("d")
    host.until_answered("d")
    assert host.dhcp4("d")["ip"] == host.instances["d"].v4


def test_health_and_metrics_are_told_over_http(host: ComputeWorld) -> None:
    assert host.ask_agent(9798, "/liveness")[0] == 200
    assert host.ask_agent(9798, "/readiness")[0] == 200
    host.dhcp4("a")
    status, text = host.ask_agent(9799, "/metrics")
    assert status == 200
    assert f"openstack_agent_instances {len(host.instances)}.0" in text
    assert "openstack_agent_in_sync 1.0" in text
    assert 'openstack_agent_requests_total{answer="ack",asked="request",protocol="dhcp4"}' in text


def test_people_can_ask_what_instances_are_told(host: ComputeWorld) -> None:
    command = [sys.executable, "-m", "calico", "openstack", "instances", "--run-dir", str(host.run_dir)]
    table = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert f"{host.instances['a'].v4}/24" in table
    found = json.loads(subprocess.run([*command, "-o", "json"], capture_output=True, check=True).stdout)
    assert {one["ipv4"] for one in found} >= {f"{one.v4}/24" for one in host.instances.values()}


def _endpoints(file: Path) -> int:
    return len(json.loads(file.read_text())["known"]["endpoints"])


def test_instances_are_answered_while_etcd_is_away_also_by_an_agent_that_starts_then(host: ComputeWorld) -> None:
    host.configure("a")
    file = host.directory / "state" / "known.json"
    until(lambda: file.exists() and _endpoints(file) == len(host.instances), "what is known is on the disk")
    host.stop_etcd()
    assert host.dhcp4("a")["ip"] == host.instances["a"].v4
    assert host.agent is not None
    host.agent.kill()
    host.agent.wait()
    assert host.try_dhcp4("a", tries=1, pause_s=1) is None, "who answered?"
    host.start_agent()
    host.until_answered()
    status = host.agent_status()
    assert not status["in_sync"]
    lease = host.dhcp4("a")
    assert (lease["ip"], lease["dns"], lease["router"]) == (host.instances["a"].v4, "10.0.0.53", "10.65.0.1")
    assert host.request("a")[0] == 200
    host.start_etcd()
    host.write_subnet4(dns_nameservers=("10.0.0.99",))
    until(lambda: (found := host.told("a")) and "10.0.0.99" in found["dns"], "the agent follows etcd again")
    assert host.agent_status()["in_sync"]


def test_the_agent_ends_cleanly_and_leaves_no_half_written_file(host: ComputeWorld) -> None:
    assert host.stop_agent() == 0, host.agent_log()
    files = {path.name for path in (host.directory / "state").iterdir()}
    assert files == {"known.json"}
    known = json.loads((host.directory / "state" / "known.json").read_text())
    assert len(known["known"]["endpoints"]) == len(host.instances)
    assert "Traceback" not in host.agent_log()
