"""What must not happen when parts of the control plane die, stall, race or forget."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from functional.openstack.cloud import Cloud
from stack.client import ApiError, Neutron
from stack.stack import DATABASE, ENVIRONMENT, Stack

pytestmark = [pytest.mark.neutron, pytest.mark.timeout(600)]


@contextlib.contextmanager
def stopped(pid: int) -> Iterator[None]:
    """A process that does not get on meanwhile."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def resync(stack: Stack, *arguments: str, **environment: str) -> tuple[int, dict[str, object]]:
    """Exit code and report of ``calico openstack resync``."""
    files = [part for name in ("neutron.conf", "ml2_conf.ini", "calico.ini") for part in ("--config-file", name)]
    argv = [str(ENVIRONMENT / "bin/calico"), "openstack", "resync", *files, "-o", "json", *arguments]
    env = {**os.environ, **environment}
    done = subprocess.run(argv, cwd=stack.directory / "etc", capture_output=True, text=True, check=False, env=env)
    assert done.returncode in (0, 1), done.stderr
    return done.returncode, json.loads(done.stdout)


def test_the_api_works_without_etcd_and_the_journal_drains_when_it_is_back(cloud: Cloud) -> None:
    host = cloud.host()
    network, _ = cloud.network()
    cloud.stack.settle()
    with stopped(cloud.stack.etcd.pid):
        ports = [cloud.port(network, host) for _ in range(3)]
        group = cloud.api.create("security_group", name="made without etcd")
        cloud.api.update("port", ports[0]["id"], security_groups=[group["id"]])
        cloud.api.delete("port", ports[1]["id"])
        assert cloud.stack.journal() > 0
    endpoint = cloud.endpoint(ports[0])
    assert f"sg.projectcalico.org/openstack-{group['id']}" in endpoint["metadata"]["labels"]
    assert cloud.endpoints(ports[1]) == {}
    assert cloud.endpoint(ports[2])
    assert cloud.policy(group["id"]) is not None


def test_a_worker_killed_between_commit_and_mirroring_loses_nothing(cloud: Cloud) -> None:
    host = cloud.host()
    network, _ = cloud.network()
    cloud.stack.settle()
    worker = cloud.stack.worker_pid()
    with stopped(worker):
        port = cloud.port(network, host)
        assert cloud.stack.journal() > 0
        os.kill(worker, signal.SIGKILL)
    assert cloud.endpoint(port)["spec"]["node"] == host.name
    cloud.active(port, host)  # and the new worker was elected


def test_what_strangers_change_in_etcd_is_found_by_resync_and_by_the_next_leader(cloud: Cloud) -> None:
    host = cloud.host()
    network, _ = cloud.network()
    port, other = cloud.port(network, host), cloud.port(network, host)
    stored = cloud.endpoint(port)
    (group,) = port["security_groups"]
    prefix = "/calico/resources/v3/projectcalico.org/"
    path = f"{prefix}workloadendpoints/openstack/{stored['metadata']['name']}"
    ghost = path.replace(port["id"].replace("-", "--"), str(uuid.uuid4()).replace("-", "--"))
    code, report = resync(cloud.stack, "--dry-run", "--network", network["id"], "--security-group", group)
    assert (code, report["objects"]) == (0, [])

    def damage() -> None:
        cloud.stack.etcdctl("del", f"{prefix}networkpolicies/openstack/ossg.default.{group}")
        cloud.stack.put(path, {**stored, "spec": {**stored["spec"], "ipNetworks": ["192.0.2.1/32"]}})
        cloud.stack.put(ghost, {**stored, "metadata": {**stored["metadata"], "name": ghost.rpartition("/")[2]}})

    def assert_mended() -> None:
        assert cloud.policy(group) is not None
        assert cloud.endpoint(port)["spec"] == stored["spec"]
        assert cloud.stack.etcdctl("get", ghost) == ""

    damage()
    code, report = resync(cloud.stack, "--dry-run")
    found = {(each["kind"], each["id"]): each["changes"] for each in report["objects"]}  # type: ignore[attr-defined]
    assert code == 1
    assert {change["verdict"] for change in found["security_group", group]} == {"create"}
    assert found["port", port["id"]][0]["fields"] == ["spec.ipNetworks"]
    assert ("port", other["id"]) not in found
    assert cloud.stack.etcdctl("get", ghost) != ""
    code, report = resync(cloud.stack)
    assert (code, report["failed"]) == (0, [])
    assert_mended()
    assert resync(cloud.stack, "--dry-run")[0] == 0
    damage()
    os.kill(cloud.stack.worker_pid(), signal.SIGKILL)
    cloud.stack.until("the next leader mends", lambda: cloud.stack.etcdctl("get", ghost) == "")
    assert_mended()


@pytest.mark.skipif(DATABASE != "postgresql", reason="counts queries in PostgreSQL's log")
def test_a_comparison_asks_the_database_as_often_for_one_missing_object_as_for_many(cloud: Cloud) -> None:
    host = cloud.host()
    ports = [cloud.port(cloud.network()[0], host) for _ in range(7)]
    group = cloud.api.create("security_group", name="many")
    cloud.stack.settle()
    prefix = "/calico/resources/v3/projectcalico.org/"
    keys = [f"{prefix}networkpolicies/openstack/ossg.default.{group['id']}"]
    keys += [f"{prefix}workloadendpoints/openstack/{cloud.endpoint(port)['metadata']['name']}" for port in ports]
    counts = []
    for missing in (1, len(keys)):
        for key in keys[:missing]:
            cloud.stack.etcdctl("del", key)
        before = _statements(cloud.stack)
        code, report = resync(cloud.stack, "--dry-run", PGOPTIONS="-c log_statement=all")
        counts.append(_statements(cloud.stack) - before)
        assert code == 1
        assert len(report["objects"]) == missing  # type: ignore[arg-type]
    assert counts[0] == counts[1] > 10
    assert resync(cloud.stack)[1]["failed"] == []
    assert resync(cloud.stack, "--dry-run")[0] == 0
    assert all(cloud.endpoint(port) for port in ports)


def _statements(stack: Stack) -> int:
    """Queries in PostgreSQL's log, which has those of connections that ask for it."""
    return stack.database.log().count("LOG:  statement: SELECT")


def test_reports_written_while_the_history_is_compacted_are_not_missed(cloud: Cloud) -> None:
    host = cloud.host()
    network, _ = cloud.network()
    port = cloud.port(network, host)
    endpoint = cloud.endpoint(port)
    path = f"/calico/resources/v3/projectcalico.org/workloadendpoints/openstack/{endpoint['metadata']['name']}"
    with stopped(cloud.stack.worker_pid()):
        cloud.stack.etcd.stop()
        cloud.stack.etcd.start()
        cloud.stack.until("etcd answers", lambda: _answers(cloud.stack))
        host.applied(cloud.revision(path))
        host.endpoint(port, "up")
        now = json.loads(cloud.stack.etcdctl("get", path, "-w", "json"))["header"]["revision"]
        cloud.stack.etcdctl("compaction", str(now))
    cloud.until_status(port, "ACTIVE")


def _answers(stack: Stack) -> bool:
    try:
        stack.etcdctl("endpoint", "health")
    except AssertionError:
        return False
    return True


@pytest.fixture
def doubled(stack: Stack) -> Iterator[Stack]:
    """Two APIs and two workers."""
    stack.start_api(1)
    stack.start_worker(1)
    try:
        stack.wait_api(1)
        stack.wait_worker(1)
        yield stack
    finally:
        stack.workers[1].stop()
        stack.apis[1].kill()


def test_two_apis_and_two_workers_racing_leave_etcd_as_the_database(cloud: Cloud, doubled: Stack) -> None:
    host = cloud.host()
    network, _ = cloud.network()
    group = cloud.api.create("security_group", name="raced")
    clients = [doubled.client(cloud.api.project, api=number) for number in (0, 1)]

    def hammer(seed: int) -> None:
        dice, api = random.Random(seed), clients[seed % 2]
        mine: list[str] = []
        for step in range(10):
            with contextlib.suppress(ApiError):  # such as a conflict with the other API
                _one_call(dice, api, group["id"], cloud, network, host.name, mine, seed * 100 + step)

    with ThreadPoolExecutor(4) as together:
        list(together.map(hammer, range(4)))
    cloud.stack.settle()
    rules = cloud.api.show("security_group", group["id"])["security_group_rules"]
    ingress = [rule for rule in rules if rule["direction"] == "ingress"]
    ports = {rule["port_range_min"] for rule in ingress}
    stored = cloud.policy(group["id"])["spec"].get("ingress", [])
    assert {port for rule in stored for port in rule["destination"]["ports"]} == ports
    code, report = resync(cloud.stack, "--dry-run")
    assert (code, report["objects"]) == (0, [])


def _one_call(
    dice: random.Random,
    api: Neutron,
    group: str,
    cloud: Cloud,
    network: dict[str, str],
    host: str,
    mine: list[str],
    number: int,
) -> None:
    """A rule of the group more or less, a port more or less, or another name."""
    choice = dice.randrange(5)
    if choice <= 1:
        api.create(
            "security_group_rule",
            security_group_id=group,
            direction="ingress",
            protocol="tcp",
            port_range_min=1000 + number,
            port_range_max=1000 + number,
        )
    elif choice == 2:
        rules = api.list("security_group_rule", f"security_group_id={group}&direction=ingress")
        if rules:
            api.delete("security_group_rule", dice.choice(rules)["id"])
    elif choice == 3 and len(mine) < 2:
        fields = {"binding:host_id": host, "device_owner": "compute:nova", "device_id": str(uuid.uuid4())}
        mine.append(api.create("port", network_id=network["id"], security_groups=[group], **fields)["id"])
    elif mine:
        if dice.random() < 0.5:
            api.delete("port", mine.pop())
        else:
            api.update("security_group", group, name=f"raced-{number}")


def test_of_overlapping_subnets_made_in_the_same_instant_one_is_made(cloud: Cloud, doubled: Stack) -> None:
    """Ten calls at two API processes, each for a network of its own."""
    networks = [cloud.api.create("network", name=f"same-{number}") for number in range(10)]
    clients = [doubled.client(cloud.api.project, api=number % 2) for number in range(10)]
    together = threading.Barrier(10)

    def ask(number: int) -> int:
        together.wait()
        try:
            clients[number].create("subnet", network_id=networks[number]["id"], ip_version=4, cidr="10.77.0.0/16")
        except ApiError as error:
            return error.status
        return 201

    with ThreadPoolExecutor(10) as pool:
        assert sorted(pool.map(ask, range(10))) == [201] + [409] * 9
