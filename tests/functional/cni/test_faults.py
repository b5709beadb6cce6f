"""What dies or is away in the middle of a command: the runtime is told to try again, and nothing is left over."""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from cni_world import NOTHING, Answer, World, until

from calico.orchestrators.cni.commands.steps import Step

ENDING = str(Path(__file__).with_name("cni_ending.py"))
DELETING = ("endpoint deleted", "unwired", "released", "forgotten")
ADDING = tuple(step for step in get_args(Step) if step not in DELETING)


@pytest.fixture(autouse=True)
def _consistent(world: World) -> Iterator[None]:
    """Whatever happened: addresses, endpoints and the kernel agree."""
    yield
    world.check_addresses()


@pytest.fixture(params=["container", "pod"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def ending(world: World, step: str) -> None:
    world.kill("daemon")
    world.start_daemon(ENDING, CNI_TEST_END_AT=step)


def again(world: World) -> None:
    """As the service manager does."""
    assert world.processes["daemon"].wait(10) == -signal.SIGKILL
    world.processes.pop("daemon")
    world.start_daemon()


@pytest.mark.parametrize("step", ADDING)
def test_a_daemon_that_dies_in_add_leaves_nothing_that_del_does_not_find(world: World, step: str, kind: str) -> None:
    container = world.container()
    args = container.pod("web-0") if kind == "pod" else ""
    ending(world, step)
    assert container.call("ADD", args=args).error == 11
    again(world)
    container.delete(args=args)
    assert world.leftovers == NOTHING
    container.add(args=args)
    container.delete(args=args)
    assert world.leftovers == NOTHING


@pytest.mark.parametrize("step", [step for step in ADDING if step not in ("endpoint written", "programmed")])
def test_an_add_that_is_tried_again_without_a_del_succeeds_and_leaks_nothing(world: World, step: str) -> None:
    container = world.container()
    ending(world, step)
    assert container.call("ADD").error == 11
    again(world)
    answer = container.add()
    assert container.addresses == {answer.address()}
    assert (world.allocated, len(world.cables)) == (1, 1)
    container.delete()
    assert world.leftovers == NOTHING


@pytest.mark.parametrize("step", DELETING)
def test_a_daemon_that_dies_in_del_is_asked_again(world: World, step: str, kind: str) -> None:
    container = world.container()
    args = container.pod("web-0") if kind == "pod" else ""
    container.add(args=args)
    ending(world, step)
    assert container.call("DEL", args=args).error == 11
    again(world)
    container.delete(args=args)
    assert world.leftovers == NOTHING


@pytest.mark.parametrize("step", ["recorded", "allocated", "paired", "endpoint written"])
def test_what_a_dead_add_left_is_collected(world: World, step: str) -> None:
    stays, lost = world.container(), world.container()
    stays.add()
    ending(world, step)
    assert lost.call("ADD").error == 11
    again(world)
    world.end_container(lost)
    answer = stays.call("GC", **{"cni.dev/valid-attachments": [{"containerID": stays.identity, "ifname": "eth0"}]})
    assert answer.code == 0, answer.text
    assert world.handles == {f"net.{stays.identity}"}
    assert (world.allocated, len(world.cables), len(world.endpoints)) == (1, 1, 1)
    stays.delete()
    assert world.leftovers == NOTHING


def test_without_a_daemon_nothing_succeeds_falsely(world: World) -> None:
    container = world.container()
    container.add()
    world.kill("daemon")
    codes = {command: container.call(command).error for command in ("ADD", "DEL", "CHECK", "GC", "STATUS")}
    assert codes == {"ADD": 11, "DEL": 11, "CHECK": 11, "GC": 11, "STATUS": 50}
    version = container.call("VERSION")
    assert version.document["supportedVersions"][-1] == "1.1.0"
    assert container.call("ADD", version="0.3.1").document["cniVersion"] == "0.3.1"
    world.start_daemon()
    container.delete()
    assert world.leftovers == NOTHING


@pytest.mark.timeout(180)
def test_without_a_datastore_commands_are_to_be_tried_again(world: World) -> None:
    attached, late = world.container(), world.container()
    attached.add()
    world.kill("etcd")
    answers: dict[str, Answer] = {}
    threads = [
        threading.Thread(target=lambda c=c, one=one: answers.__setitem__(c, one.call(c)))
        for c, one in (("ADD", late), ("DEL", attached), ("STATUS", late))
    ]  # fmt: skip
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {command: answer.error for command, answer in answers.items()} == {"ADD": 11, "DEL": 11, "STATUS": 50}
    assert len(attached.addresses) == 1, "DEL without a datastore must not touch the container"
    world.start_etcd()
    until(lambda: attached.call("DEL").code == 0, "DEL succeeds again")
    late.delete()
    assert world.leftovers == NOTHING


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("command", "step"),
    [("ADD", "recorded"), ("ADD", "allocated"), ("ADD", "wired"), ("DEL", "endpoint deleted"), ("DEL", "unwired")],
)
def test_a_datastore_that_dies_within_a_command_leaves_nothing_that_del_does_not_find(
    world: World, command: str, step: str
) -> None:
    container = world.container()
    if command == "DEL":
        container.add()
    world.kill("daemon")
    world.start_daemon(ENDING, CNI_TEST_END_AT=step, CNI_TEST_END_PID=str(world.processes["etcd"].pid))
    assert container.call(command).error == 11
    world.processes.pop("etcd").wait(10)
    world.start_etcd()
    until(lambda: container.call("DEL").code == 0, "DEL succeeds again")
    assert world.leftovers == NOTHING


def test_a_plugin_that_is_killed_while_it_waits_leaves_nothing_that_del_does_not_find(world: World) -> None:
    container = world.container()
    for pause_s in (0.0, 0.005, 0.01, 0.02):
        shim = container.start("ADD")
        time.sleep(pause_s)
        shim.kill()
        shim.wait()
        container.delete()
        assert world.leftovers == NOTHING


def test_without_felix_a_container_is_attached_closed_and_opens_when_felix_comes(world: World) -> None:
    one, other = world.container(), world.container()
    address = one.add().address()
    world.kill("felix")
    other.add(policy_setup_timeout_seconds=0.3)
    assert "policy was not programmed in time" in world.log("daemon")
    assert other.call("STATUS").error == 50
    with one.receives(7000, timeout_s=0.5) as receiver:
        assert not other.sends_datagram(address, 7000, receiver)
        world.start_felix()
        until(lambda: set(world.status["endpoints"].values()) == {"up"}, "Felix programmed both")
        assert other.sends_datagram(address, 7000, receiver)
    one.delete()
    other.delete()
    assert world.leftovers == NOTHING


def test_where_felix_never_ran_nothing_is_attached_and_the_boot_guard_attaches_closed(world: World) -> None:
    """Also what a host would forward by itself: IPv6, whose gateway is an address that the kernel gives."""
    world.kill("felix")
    subprocess.run([*world.enter(), "nft", "delete", "table", "inet", "calico"], check=True)
    subprocess.run([*world.enter(), "sysctl", "-qw", "net.ipv6.conf.all.forwarding=1"], check=True)
    container, beyond = world.container(), world.container()
    world.ip(world.host, f"link add beyond type veth peer name eth0 netns {beyond.netns}")
    try:
        for netns, device, number in ((world.host, "beyond", 1), (beyond.netns, "eth0", 2)):
            world.ip(netns, f"addr add fd99::{number}/64 dev {device} nodad")
            world.ip(netns, f"link set {device} up")
        dual: dict[str, Any] = {"ipam": {"type": "calico-ipam", "assign_ipv6": "true"}}
        refused = container.call("ADD", **dual)
        assert refused.error == 11
        assert "Felix has not run on this host" in refused.message
        assert world.leftovers == {**NOTHING, "cables": {"beyond"}}
        guarded = world.calico("felix", "guard")
        assert guarded.returncode == 0, guarded.stderr
        container.add(policy_setup_timeout_seconds=0.2, **dual)
        with beyond.receives(7000, family=6, timeout_s=0.5) as receiver:
            assert not container.sends_datagram("fd99::2", 7000, receiver)
            world.start_felix()
            until(lambda: set(world.status["endpoints"].values()) == {"up"}, "Felix programmed it")
            until(lambda: container.sends_datagram("fd99::2", 7000, receiver), "what it sends arrives")
        container.delete(**dual)
    finally:
        world.ip(world.host, "link del beyond")
    assert world.leftovers == NOTHING


def test_an_endpoint_that_felix_cannot_program_is_an_error_and_undone(world: World) -> None:
    world.ip(world.host, "link add ccndead type bridge")
    world.ip(world.host, "link set ccndead up")
    world.ip(world.host, "route add 10.77.0.99/32 dev ccndead")
    container = world.container()
    try:
        refused = container.call("ADD", args="IP=10.77.0.99", policy_setup_timeout_seconds=1)
        assert refused.error == 11
        assert "Felix cannot program endpoint" in refused.message
        assert "10.77.0.99" in refused.message
        assert world.leftovers == NOTHING
    finally:
        world.ip(world.host, "link del ccndead")


def test_a_caller_of_another_network_namespace_is_refused(world: World) -> None:
    container = world.container()
    stranger = world.container()
    refused = container.call("ADD", enter=["nsenter", f"--net={stranger.path}"])
    assert refused.error == 8
    assert world.leftovers == NOTHING


def test_the_hosts_own_namespace_is_no_container(world: World) -> None:
    container = world.container()
    refused = container.call("ADD", netns=f"/run/netns/{world.host}")
    assert refused.error == 8
    container.delete(netns=f"/run/netns/{world.host}")
    assert container.call("ADD", netns="/run/netns/there-is-none").error == 3
    assert container.call("ADD", netns="/etc/hostname").error == 3
    assert world.leftovers == NOTHING


def test_a_caller_that_is_not_root_is_not_served(world: World) -> None:
    script = f"import socket; s = socket.socket(socket.AF_UNIX); s.connect({str(world.socket)!r})"
    world.directory.chmod(0o755)
    command = ["setpriv", "--reuid=65534", "--clear-groups", "/usr/bin/python3", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "PermissionError" in done.stderr


def test_many_containers_at_once_get_addresses_of_their_own(world: World) -> None:
    containers = [world.container() for _ in range(20)]
    answers: dict[str, Answer] = {}

    def add(one: object) -> None:
        answers[one.identity] = one.call("ADD")  # type: ignore[attr-defined]

    threads = [threading.Thread(target=add, args=(one,)) for one in containers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {answer.code for answer in answers.values()} == {0}
    assert len({answer.address() for answer in answers.values()}) == len(containers)
    assert set(world.status["endpoints"].values()) == {"up"}
    for one in containers:
        one.delete()
    assert world.leftovers == NOTHING
