"""Starts Keystone and Neutron with the driver and runs OpenStack's own API tests against them: ``make tempest``.

Ends with 1 when a test fails. What was run is written to ``bench/results/tempest.json`` and printed.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests")]
os.environ.setdefault("CALICO_OPENSTACK_ENVIRONMENT", sys.prefix)

from stack.stack import ENVIRONMENT, Stack  # noqa: E402
from tempest_suite.keystone import PASSWORD, REGION, Keystone, ask  # noqa: E402
from tempest_suite.suites import DESELECTED, SUITES  # noqa: E402

_PACKAGES = ("neutron", "neutron-lib", "keystone", "tempest", "neutron-tempest-plugin", "SQLAlchemy")
_KEYSTONE = """\
[DEFAULT]
auth_strategy = keystone
dns_domain = openstack.example.
[keystone_authtoken]
auth_type = password
auth_url = {url}
www_authenticate_uri = {url}
username = neutron
password = {password}
project_name = service
user_domain_id = default
project_domain_id = default
service_token_roles_required = true
"""
_TEMPEST = """\
[DEFAULT]
log_file = tempest.log
[oslo_concurrency]
lock_path = {directory}/locks
[auth]
use_dynamic_credentials = true
create_isolated_networks = false
admin_username = admin
admin_password = {password}
admin_project_name = admin
admin_domain_name = Default
default_credentials_domain_name = Default
[identity]
uri_v3 = {url}
auth_version = v3
region = {region}
v3_endpoint_type = public
[identity-feature-enabled]
api_v2 = false
api_v3 = true
[service_available]
neutron = true
nova = false
glance = false
cinder = false
swift = false
placement = false
[network]
public_network_id = {public}
floating_network_name = public
project_networks_reachable = false
[network-feature-enabled]
api_extensions = {extensions}
ipv6 = true
[neutron_plugin_options]
available_type_drivers = local,flat
"""


class KeystoneStack(Stack):
    """The stack whose Neutron asks Keystone who its callers are."""

    def __init__(self, directory: Path) -> None:
        self._more = directory / "etc/keystone.ini"
        # classes of tempest that run together make the same subnets for projects of their own
        super().__init__(directory, settings="refuse_overlapping_subnets = false\n")
        self.keystone = Keystone(
            directory / "keystone", self.addresses.host, self.postgres.url.rpartition("/")[0] + "/keystone"
        )
        url = self.keystone.url
        self._more.write_text(_KEYSTONE.format(url=url, password=PASSWORD))

    def _configure(self, state: Path) -> tuple[Path, ...]:
        return (*super()._configure(state), self._more)

    def _make_database(self) -> None:
        super()._make_database()
        self.postgres.ask("CREATE DATABASE keystone")
        self.keystone.start(f"http://{self.addresses.host}:{self.addresses.apis[0]}")

    def wait_api(self, number: int = 0) -> None:
        def answers() -> bool:
            assert self.apis[number].running, f"the API has ended\n{self.apis[number].last_words()}"
            try:
                self.neutron("GET", "networks?limit=1")
            except (OSError, AssertionError):
                return False
            return True

        self.until("Neutron's API answers", answers, 180)

    def neutron(self, method: str, path: str, body: object = None) -> Any:
        """A call of the administrator."""
        port = self.addresses.apis[0]
        return ask(method, self.addresses.host, port, f"/v2.0/{path}", body, self.keystone.token())[0]

    def stop(self) -> None:
        self.keystone.process.kill()
        super().stop()


def prepare(stack: KeystoneStack, workspace: Path) -> dict[str, str]:
    """A workspace of tempest for this cloud; the environment to run it with."""
    network = {"name": "public", "router:external": True, "shared": False}
    public = stack.neutron("POST", "networks", {"network": network})["network"]["id"]
    subnet = {"network_id": public, "ip_version": 4, "cidr": "198.51.100.0/24", "enable_dhcp": False}
    stack.neutron("POST", "subnets", {"subnet": subnet})
    extensions = ",".join(sorted(one["alias"] for one in stack.neutron("GET", "extensions")["extensions"]))
    environment = {**os.environ, "HOME": str(workspace), "PATH": f"{ENVIRONMENT}/bin:{os.environ['PATH']}"}
    subprocess.run(["tempest", "init", str(workspace / "cloud")], check=True, capture_output=True, env=environment)
    text = _TEMPEST.format(
        directory=workspace,
        url=stack.keystone.url,
        password=PASSWORD,
        region=REGION,
        public=public,
        extensions=extensions,
    )
    (workspace / "cloud/etc/tempest.conf").write_text(text)
    return environment


def run_suite(name: str, workspace: Path, environment: dict[str, str]) -> dict[str, Any]:
    """Run one suite, with its output on the terminal; counts and the names of what failed."""
    exclude = workspace / "deselected"
    exclude.write_text("\n".join(DESELECTED) + "\n")
    argv = ["tempest", "run", "--concurrency", "2", "--regex", SUITES[name]]
    argv += ["--exclude-list", str(exclude)] if DESELECTED else []
    started = time.monotonic()
    process = subprocess.Popen(
        argv, cwd=workspace / "cloud", env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        print(line, end="", flush=True)
        lines.append(line)
    process.wait()
    text = "".join(lines)
    counts = {key: int(value) for key, value in re.findall(r"^ - (Passed|Skipped|Failed): (\d+)$", text, re.MULTILINE)}
    failed = sorted(set(re.findall(r"^\{\d+\} (\S+).*\.\.\. FAILED", text, re.MULTILINE)))
    broken = sorted(
        set(re.findall(r"^\{?\d*\}? ?(setUpClass \(\S+\)|tearDownClass \(\S+\)).*FAILED", text, re.MULTILINE))
    )
    return {
        "suite": name,
        "passed": counts.get("Passed", 0),
        "skipped": counts.get("Skipped", 0),
        "failed": counts.get("Failed", 0),
        "names": failed + broken,
        "seconds": round(time.monotonic() - started, 1),
        "ended_with": process.returncode,
    }


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that a run cut short cleans up as well
    directory = Path(tempfile.mkdtemp(prefix="calico-tempest-"))
    stack = KeystoneStack(directory)
    try:
        stack.start()
        environment = prepare(stack, directory)
        results = [run_suite(name, directory, environment) for name in sys.argv[1:] or SUITES]
        stack.settle()
    except BaseException:
        print(stack.keystone.process.last_words(), stack.logs(), sep="\n")
        raise
    finally:
        stack.stop()
        shutil.rmtree(directory, ignore_errors=True)
    versions = {name: importlib.metadata.version(name) for name in _PACKAGES}
    document = {"versions": versions, "deselected": DESELECTED, "results": results}
    target = ROOT / "bench/results/tempest.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(document, indent=2) + "\n")
    print(json.dumps(document, indent=2))
    # a suite of which nothing was run is no success
    good = all(one["passed"] and not one["failed"] and not one["ended_with"] for one in results)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
