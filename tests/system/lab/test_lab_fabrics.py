"""Fabrics and sizes: racks with ToRs, reflectors, three etcd members, ten hosts; and what flows meanwhile."""

import os
import signal
from pathlib import Path

import pytest

from calico.lab.probe.flow import FlowSettings, Prober

pytestmark = [pytest.mark.lab, pytest.mark.root]


def test_racks_are_joined_by_tors_and_an_external_that_speaks_bgp(lab):
    hosts = [{"name": "h1", "rack": "r1"}, {"name": "h2", "rack": "r1"}, {"name": "h3", "rack": "r2"}]
    workloads = [{"name": f"w{n}", "host": f"h{n}"} for n in (1, 2, 3)]
    externals = [{"name": "partner", "as": 65100}]
    lab.up({"fabric": {"type": "routed"}, "hosts": hosts, "workloads": workloads, "externals": externals}, "--wait")
    status = lab.status()
    assert status["fabric"]["bgp"] == "tor"
    assert [router["name"] for router in status["fabric"]["routers"]] == ["gw", "tor-r1", "tor-r2"]
    machines = [argument for name in ("w1", "w3", "partner") for argument in ("--from", name, "--to", name)]
    answers = lab.probe(*machines)
    assert len(answers) == 6 * 4 * 2
    assert all(answers.values())


def test_ten_hosts_behind_reflectors_with_three_etcd_members(lab):
    hosts = [{"name": f"h{n}", "reflector": n < 2} for n in range(10)]
    workloads = [{"name": f"w{n}-{i}", "host": f"h{n}"} for n in range(10) for i in range(3)]
    lab.up({"etcd": {"members": 3}, "hosts": hosts, "workloads": workloads}, "--wait")
    status = lab.status()
    assert status["ready"]
    assert status["fabric"]["bgp"] == "reflectors"
    assert {w["status"] for w in status["workloads"]} == {"up"}
    every_third = [argument for n in range(10) for argument in ("--from", f"w{n}-0", "--to", f"w{n}-1")]
    answers = lab.probe(*every_third, "--service", "tcp:80")
    assert len(answers) == 100 * 2
    assert all(answers.values())
    lab.down()
    assert lab.traces() == []


def test_the_datastore_survives_the_loss_of_one_of_three_members(lab):
    topology = {"etcd": {"members": 3}, "hosts": [{"name": "h1"}], "workloads": [{"name": "a", "host": "h1"}]}
    lab.up(topology, "--wait")
    victim = next(p for p in lab.status()["processes"] if p["name"] == "etcd/etcd1")
    os.kill(victim["pid"], signal.SIGKILL)
    shown = lab.run("exec", "-l", lab.name, "h1", "--", "calico", "get", "nodes")
    assert "h1" in shown.stdout


@pytest.mark.parametrize("address", ["10.65.0.65", "fd65::41"])
def test_a_flow_does_not_notice_that_felix_is_killed(lab, address):
    hosts = [{"name": "h1"}, {"name": "h2"}]
    lab.up({"hosts": hosts, "workloads": [{"name": "a", "host": "h1"}, {"name": "b", "host": "h2"}]}, "--wait")
    felix = next(p for p in lab.status()["processes"] if p["name"] == "felix/h2")
    settings = FlowSettings(src_netns=f"cl-{lab.name}-a", dst_netns=f"cl-{lab.name}-b", address=address)
    with Prober(settings) as flow:
        os.kill(felix["pid"], signal.SIGKILL)
        while Path(f"/proc/{felix['pid']}/ns/net").exists():
            pass
        lab.probe("--from", "a", "--to", "h1", "--service", "icmp")  # nobody answers: this takes its full timeout
    report = flow.stop()
    assert report.sent > 100
    assert report.lost == ()
    assert report.tcp_connected
    assert not report.tcp_broken
    assert report.tcp_echoed > 0


def test_a_flow_that_policy_denies_never_passes(lab):
    hosts = [{"name": "h1"}, {"name": "h2"}]
    deny = {
        "apiVersion": "projectcalico.org/v3",
        "kind": "GlobalNetworkPolicy",
        "metadata": {"name": "closed"},
        "spec": {"selector": "all()", "types": ["Ingress"]},
    }
    workloads = [{"name": "a", "host": "h1"}, {"name": "b", "host": "h2"}]
    lab.up({"hosts": hosts, "workloads": workloads, "resources": [deny]}, "--wait")
    settings = FlowSettings(src_netns=f"cl-{lab.name}-a", dst_netns=f"cl-{lab.name}-b", address="10.65.0.65")
    with Prober(settings) as flow:
        lab.probe("--from", "a", "--to", "h1", "--service", "icmp")
    report = flow.stop()
    assert report.received == 0
    assert report.passed == ()
    assert [interval.count for interval in report.lost] == [report.sent]
    assert not report.tcp_connected
