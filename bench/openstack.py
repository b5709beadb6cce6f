"""What our driver costs Neutron's API, against Neutron's own Open vSwitch driver in the same run; and how long a
comparison and a repair of many ports take.

``python bench/openstack.py [--quick]`` starts two control planes on loopback, each with PostgreSQL, etcd, API and
workers (``make openstack`` first). Ports are made in turns, so that the machine's load is the same for both.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from stack.client import Neutron
from stack.stack import ENVIRONMENT, Stack, missing

TYPES = {"calico": "Calico per-host agent (felix)", "openvswitch": "Open vSwitch agent"}

_AGENT = """
INSERT INTO agents (id, agent_type, "binary", topic, host, admin_state_up, created_at, started_at, heartbeat_timestamp,
                    configurations, "load")
VALUES ('{id}', '{type}', 'bench', 'N/A', 'h1', true, now(), now(), now() + interval '1 day', '{{}}', 0)
"""

_PORTS = """
CREATE TEMPORARY TABLE made AS
  SELECT n, gen_random_uuid()::text AS id, gen_random_uuid()::text AS device FROM generate_series(1, {count}) AS n;
WITH attributes AS (
  INSERT INTO standardattributes (resource_type, revision_number, description)
    SELECT 'ports', 1, id FROM made RETURNING id, description)
INSERT INTO ports (id, project_id, name, network_id, mac_address, admin_state_up, status, device_id, device_owner,
                   standard_attr_id)
  SELECT made.id, '{project}', '', '{network}', 'fa:16:3e:' || substr(lpad(to_hex(n), 6, '0'), 1, 2) || ':' ||
         substr(lpad(to_hex(n), 6, '0'), 3, 2) || ':' || substr(lpad(to_hex(n), 6, '0'), 5, 2), true, 'DOWN',
         device, 'compute:nova', attributes.id
  FROM made JOIN attributes ON attributes.description = made.id;
INSERT INTO ipallocations (port_id, ip_address, subnet_id, network_id)
  SELECT id, '10.128.' || (n / 250 + 1) || '.' || (n % 250 + 1), '{subnet}', '{network}' FROM made;
INSERT INTO ml2_port_bindings (port_id, host, vnic_type, profile, vif_type, vif_details, status)
  SELECT id, 'h' || (n % 50), 'normal', '', 'tap', '', 'ACTIVE' FROM made;
INSERT INTO securitygroupportbindings (port_id, security_group_id) SELECT id, '{group}' FROM made;
"""


class Plane:
    """A control plane with one driver and one host."""

    def __init__(self, driver: str) -> None:
        services = "calico_l3,qos,revisions" if driver == "calico" else "router,qos,revisions"
        self.driver = driver
        self.directory = Path(tempfile.mkdtemp(prefix="calico-bench-"))
        self.stack = Stack(self.directory, mechanism=driver, services=services, settings="audit_interval_s = 0\n")
        self.network: dict[str, Any] = {}

    def start(self) -> Neutron:
        if self.driver == "calico":
            self.stack.start()
        else:
            self.stack.start(worker_says="Periodic workers process starting")
        self.stack.database.ask(_AGENT.format(id=uuid.uuid4(), type=TYPES[self.driver]))
        api = self.stack.client()
        self.network = api.create("network", name="bench")
        api.create("subnet", network_id=self.network["id"], ip_version=4, cidr="10.64.0.0/16")
        return api

    def port(self, api: Neutron) -> float:
        """Milliseconds to make a port of an instance, bound to the host."""
        fields = {"binding:host_id": "h1", "device_owner": "compute:nova", "device_id": str(uuid.uuid4())}
        start = time.perf_counter()
        made = api.create("port", network_id=self.network["id"], **fields)
        took = 1000 * (time.perf_counter() - start)
        assert made["binding:vif_type"] not in ("unbound", "binding_failed"), made
        return took


def ports(planes: list[Plane], count: int) -> None:
    apis = [plane.start() for plane in planes]
    took: dict[str, list[float]] = {plane.driver: [] for plane in planes}
    for number in range(count + 3):
        for plane, api in zip(planes, apis, strict=True):
            each = plane.port(api)
            if number >= 3:  # the first load modules
                took[plane.driver].append(each)
    middle = {driver: statistics.median(values) for driver, values in took.items()}
    for driver, value in middle.items():
        print(f"port through the API, {driver:12} {value:7.1f} ms (median), {1000 / value:5.1f} ports/s")
    print(f"calico against openvswitch         {middle['calico'] / middle['openvswitch']:7.2f} times the time")
    start = time.perf_counter()
    planes[0].stack.settle()
    print(f"the rest of the journal drained in {time.perf_counter() - start:7.2f} s after the last call")


def resync(plane: Plane, counts: list[int]) -> None:
    stack, api = plane.stack, plane.stack.client()
    group = api.create("security_group", name="bench")
    network = api.create("network", name="many")
    subnet = api.create("subnet", network_id=network["id"], ip_version=4, cidr="10.128.0.0/16")
    stack.settle()
    for process in stack.workers:
        process.kill()
    stack.database.ask("ALTER SYSTEM SET log_statement = 'all'")
    stack.database.ask("SELECT pg_reload_conf()")
    time.sleep(1)
    for count in counts:
        stack.database.ask(f"DELETE FROM ports WHERE network_id = '{network['id']}'")
        stack.database.ask(
            _PORTS.format(
                count=count, project=api.project, network=network["id"], subnet=subnet["id"], group=group["id"]
            )
        )
        for what, arguments in (("compare, all missing", ["--dry-run"]), ("mend", []), ("compare", ["--dry-run"])):
            queries, report = run(stack, *arguments)
            print(
                f"{count:5} ports, {what:21} {report['seconds']:6.2f} s, {queries:5} queries, "
                f"{len(report['objects'])} differed, {len(report['failed'])} failed"
            )


def run(stack: Stack, *arguments: str) -> tuple[int, dict[str, Any]]:
    files = [part for name in ("neutron.conf", "ml2_conf.ini", "calico.ini") for part in ("--config-file", name)]
    argv = [str(ENVIRONMENT / "bin/calico"), "openstack", "resync", *files, "-o", "json", *arguments]
    log = stack.directory / "postgres.log"
    before = log.read_text(errors="replace").count("LOG:  statement: SELECT")
    done = subprocess.run(argv, cwd=stack.directory / "etc", capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    queries = log.read_text(errors="replace").count("LOG:  statement: SELECT") - before
    return queries, json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer ports")
    quick = parser.parse_args().quick
    reason = missing()
    if reason:
        print(f"bench/openstack.py: {reason}")
        return
    planes = [Plane(driver) for driver in TYPES]
    try:
        ports(planes, 15 if quick else 100)
        planes[1].stack.stop()
        resync(planes[0], [300] if quick else [300, 3000])
    finally:
        for plane in planes:
            plane.stack.stop()
            shutil.rmtree(plane.directory, ignore_errors=True)


if __name__ == "__main__":
    main()
