"""Each property is broken on purpose on a host whose Felix is away; the audit names it, and Felix mends it all."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

pytestmark = [pytest.mark.lab, pytest.mark.root]

EXAMPLE = Path(__file__).parents[3] / "examples" / "lab" / "vxlan.yaml"
HOST = "host1"


@pytest.fixture(scope="module")
def lab(start_lab):
    topology = yaml.safe_load(EXAMPLE.read_text())
    with start_lab({**topology, "name": "audit"}) as made:
        yield made


def enter(lab):
    return ["nsenter", f"--net=/run/netns/{lab.layout.netns(HOST)}"]


def audit(lab, *options, endpoints="http://127.0.0.1:2379"):
    """The exit code and the document that the command prints."""
    command = [*enter(lab), "env", f"ETCD_ENDPOINTS={endpoints}", sys.executable, "-m", "calico", "audit"]
    done = subprocess.run(
        [*command, "--node", HOST, "-o", "json", *options], capture_output=True, text=True, check=False
    )
    return done.returncode, json.loads(done.stdout) if done.stdout else {}, done.stderr


def findings(lab):
    code, document, errors = audit(lab, "--looks", "1")
    assert code in (0, 1), errors
    assert (code == 1) == bool(document["findings"])
    broken = {number for number, said in document["properties"].items() if not said["holds"]}
    assert broken == {finding["property"] for finding in document["findings"]}
    return {(finding["property"], finding["object"], finding["evidence"]) for finding in document["findings"]}


def run(lab, *command):
    subprocess.run([*enter(lab), *command], check=True, capture_output=True, text=True)


def breaks(lab):
    """(properties, a part of the object or evidence of each, what breaks them), each on top of those before."""
    interface = lab.workload("web1").interface
    address = lab.address("web1", 4)
    sysctl = "/proc/sys/net"

    def write(path, value):
        return ["sh", "-c", f"echo {value} >{sysctl}/{path}"]

    def nft(*words):
        return ["nft", *words]

    calico = ("inet", "calico")
    return [
        ("S10", "rp_filter", [write(f"ipv4/conf/{interface}/rp_filter", 0)]),
        ("S7", "accept_ra", [write(f"ipv6/conf/{interface}/accept_ra", 2)]),
        ("S6", "accept_source_route", [write(f"ipv4/conf/{interface}/accept_source_route", 1)]),
        ("S6", "not at", [["ip", "neigh", "replace", address, "lladdr", "02:00:00:00:00:99", "dev", interface,
                           "nud", "permanent"]]),
        ("S6", "not permanent", [["ip", "neigh", "del", address, "dev", interface]]),
        ("S15", "10.65.99.99/32", [["ip", "route", "add", "10.65.99.99/32", "dev", interface]]),
        ("S28", "route 192.0.2.0/24", [["ip", "route", "add", "192.0.2.0/24", "dev", "eth0", "proto", "80"]]),
        ("S28", "route 198.51.100.0/24", [["ip", "route", "add", "blackhole", "198.51.100.0/24", "proto", "81"]]),
        ("S9", "203.0.113.9", [["bridge", "fdb", "append", "02:00:00:00:00:77", "dev", "vxlan.calico",
                                "dst", "203.0.113.9"]]),
        ("S9", "UDP port 4789", [nft("flush", "chain", *calico, "tunnel-guard")]),
        ("S8 S9 S9", "DHCP|VXLAN over IPv4|IP in IP", [nft("flush", "chain", *calico, "workload-guard")]),
        ("S6", "another's address", [nft("flush", "chain", *calico, "antispoof")]),
        ("S28", "chain extra", [nft("add", "chain", *calico, "extra")]),
        ("S3", "interface calistray", [
            ["ip", "link", "add", "calistray", "type", "veth", "peer", "name", "stray0"],
            nft("insert", "rule", *calico, "from-workload", "iifname", "cali*", "accept"),
        ]),
        ("S1", "table inet calico", [nft("delete", "table", *calico)]),
    ]  # fmt: skip


def test_a_healthy_host_has_no_finding(lab):
    assert findings(lab) == set()


def test_what_is_broken_is_found_one_by_one_and_mended_by_felix(lab):
    lab.kill(f"felix/{HOST}")
    try:
        before = findings(lab)
        assert before == set()
        for number, hint, commands in breaks(lab):
            for command in commands:
                run(lab, *command)
            after = findings(lab)
            for each, part in zip(number.split(), hint.split("|"), strict=True):
                fresh = [found for found in after - before if found[0] == each and part in f"{found[1]} {found[2]}"]
                assert fresh, f"{each} ({part}) was broken and not found; new: {after - before}"
            before = after
    finally:
        run(lab, "ip", "link", "del", "calistray")
        run(lab, "ip", "route", "del", "10.65.99.99/32")  # the administrator's: Felix leaves it alone
        lab.start(f"felix/{HOST}")
    lab.until(lambda: lab.status(HOST, "felix").get("in_sync"), "Felix is not in sync again")
    lab.until(lambda: findings(lab) == set(), "Felix does not mend what was broken")
    assert lab.closed(["web3"], ["web1"]) == []


def test_what_vanishes_between_two_looks_is_not_told(lab):
    run(lab, "ip", "route", "add", "10.65.98.98/32", "dev", lab.workload("web1").interface)
    looking = subprocess.Popen(
        [*enter(lab), "env", "ETCD_ENDPOINTS=http://127.0.0.1:2379", sys.executable, "-m", "calico", "audit",
         "--node", HOST, "-o", "json", "--looks", "100"],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    run(lab, "ip", "route", "del", "10.65.98.98/32")
    output, _ = looking.communicate(timeout=60)
    assert json.loads(output)["findings"] == []
    assert looking.returncode == 0


def test_without_a_datastore_the_audit_is_not_complete(lab):
    code, document, errors = audit(lab, endpoints="http://127.0.0.1:1")
    assert (code, document) == (2, {})
    assert "not complete" in errors
