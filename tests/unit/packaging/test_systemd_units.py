"""The systemd units let the daemons do their work, and leave alone what must outlive them."""

from __future__ import annotations

import shlex

import click
import pytest

from calico.cli.main import cli
from calico.cli.node.layout import UNIT_SOURCES
from calico.datastore.connection import DEFAULT_ENDPOINT, Connection
from calico.datastore.core.cluster import Core
from calico.orchestrators.cni.host.records import DEFAULT_DIRECTORY
from calico.orchestrators.openstack.compute.daemon import AgentSettings

UNITS = UNIT_SOURCES
DAEMONS = ("calico-felix", "calico-bgp", "calico-cni", "calico-openstack-agent")


def settings(unit: str) -> dict[str, str]:
    lines = (UNITS / f"{unit}.service").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


@pytest.mark.parametrize("unit", DAEMONS)
def test_a_daemon_is_started_by_a_command_that_exists(unit: str) -> None:
    program, *words = shlex.split(settings(unit)["ExecStart"])
    assert program == "/usr/bin/calico"
    command: click.Command | None = cli.get_command(click.Context(cli), words.pop(0))
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        command = command.get_command(click.Context(command), words.pop(0))
    assert command is not None
    assert command.make_context("daemon", words).params


@pytest.mark.parametrize("unit", DAEMONS)
def test_a_daemon_speaks_netlink_in_the_namespace_of_the_host(unit: str) -> None:
    found = settings(unit)
    assert "AF_NETLINK" in found["RestrictAddressFamilies"].split()
    assert "CAP_NET_ADMIN" in found["CapabilityBoundingSet"].split()
    assert not {"PrivateNetwork", "NetworkNamespacePath", "DynamicUser", "User"} & set(found)


def test_workloads_are_closed_before_the_network_is_up() -> None:
    program, *words = shlex.split(settings("calico-boot-guard")["ExecStart"])
    assert (program, words) == ("/usr/bin/calico", ["felix", "guard"])
    found = settings("calico-boot-guard")
    assert {"network-pre.target", "calico-felix.service"} <= set(found["Before"].split())
    assert found["DefaultDependencies"] == "no"
    assert "network-pre.target" in found["WantedBy"].split()
    assert "calico-boot-guard.service" in settings("calico-felix")["After"].split()


def test_a_felix_that_hangs_is_started_anew() -> None:
    found = settings("calico-felix")
    assert (found["Type"], found["Restart"]) == ("notify", "always")
    assert int(found["WatchdogSec"]) > 0


def test_felix_may_write_the_settings_of_interfaces() -> None:
    found = settings("calico-felix")
    assert found["ProtectKernelTunables"] == "no"
    assert "ProcSubset" not in found


def test_the_cni_daemon_may_enter_containers_and_keep_its_records() -> None:
    found = settings("calico-cni")
    assert "CAP_SYS_ADMIN" in found["CapabilityBoundingSet"].split()
    assert found["RestrictNamespaces"] == "net"
    assert found["ProtectKernelTunables"] == "no"
    assert f"/var/lib/{found['StateDirectory']}" == DEFAULT_DIRECTORY


def test_the_openstack_agent_may_hear_instances_and_remembers_them() -> None:
    found = settings("calico-openstack-agent")
    assert {"CAP_NET_RAW", "CAP_NET_BIND_SERVICE"} <= set(found["CapabilityBoundingSet"].split())
    assert "AF_PACKET" in found["RestrictAddressFamilies"].split()
    assert f"/var/lib/{found['StateDirectory']}" == AgentSettings(node="h", etcd=Connection()).state_dir
    assert (found["Type"], found["Restart"]) == ("notify", "always")


def test_the_controllers_of_kubernetes_have_no_power_over_their_host() -> None:
    program, *words = shlex.split(settings("calico-kube-controllers")["ExecStart"])
    group = cli.get_command(click.Context(cli), words[0])
    assert isinstance(group, click.Group)
    assert (program, group.get_command(click.Context(group), words[1]) is not None) == ("/usr/bin/calico", True)
    found = settings("calico-kube-controllers")
    assert (found["CapabilityBoundingSet"], found["NoNewPrivileges"]) == ("", "yes")
    assert set(found["RestrictAddressFamilies"].split()) == {"AF_UNIX", "AF_INET", "AF_INET6"}
    assert (found["Type"], found["Restart"]) == ("notify", "always")


def test_bird_outlives_the_agent_and_is_found_again() -> None:
    found = settings("calico-bgp")
    assert found["KillMode"] == "process"
    assert "PrivateTmp" not in found
    assert {"CAP_NET_BIND_SERVICE", "CAP_NET_RAW"} <= set(found["CapabilityBoundingSet"].split())


@pytest.mark.parametrize("unit", DAEMONS)
def test_the_directory_of_sockets_and_bird_files_is_never_removed(unit: str) -> None:
    found = settings(unit)
    assert found["RuntimeDirectory"] == "calico"
    assert found["RuntimeDirectoryPreserve"] == "yes"


def test_the_gateway_listens_where_the_daemons_look() -> None:
    listening = settings("calico-etcd-gateway")["ExecStart"]
    assert f"--listen {DEFAULT_ENDPOINT.removeprefix('http://')}" in listening


@pytest.mark.parametrize("unit", ["calico-etcd", "calico-etcd-gateway"])
def test_etcd_is_started_by_commands_that_exist(unit: str) -> None:
    program, *words = shlex.split(settings(unit)["ExecStart"])
    assert program == "/usr/bin/calico"
    command: click.Command | None = cli
    while isinstance(command, click.Group):
        command = command.get_command(click.Context(command), words.pop(0))
    assert command is not None
    assert command.make_context("etcd", words).params


def test_a_member_keeps_its_data_where_its_unit_may_write() -> None:
    assert Core(members={"a": "192.0.2.1"}).data_dir == f"/var/lib/{settings('calico-etcd')['StateDirectory']}"


def test_leaked_addresses_are_collected_from_time_to_time() -> None:
    program, *words = shlex.split(settings("calico-ipam-gc")["ExecStart"])
    assert (program, words) == ("/usr/bin/calico", ["ipam", "gc"])
    found = settings("calico-ipam-gc")
    assert found["Type"] == "oneshot"
    assert "CAP_NET_RAW" in found["CapabilityBoundingSet"].split()  # it asks addresses whether they answer
    assert {"AF_NETLINK", "AF_INET", "AF_INET6"} <= set(found["RestrictAddressFamilies"].split())
    timer = (UNITS / "calico-ipam-gc.timer").read_text()
    assert "OnUnitInactiveSec=5min" in timer
    assert "WantedBy=timers.target" in timer
