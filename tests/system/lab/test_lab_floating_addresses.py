"""A floating address is known to all hosts by BGP and leads to its workload from everywhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

pytestmark = [pytest.mark.lab, pytest.mark.root]

EXTERNAL = {4: "198.18.0.1", 6: "2001:db8:f::1"}
RESOURCES: list[dict[str, Any]] = [
    {"kind": "FelixConfiguration", "metadata": {"name": "default"}, "spec": {"floatingIPs": "Enabled"}},
    {
        "kind": "IPPool",
        "metadata": {"name": "float4"},
        "spec": {"cidr": "198.18.0.0/24", "ipipMode": "Never", "assignmentMode": "Manual"},
    },
    {
        "kind": "IPPool",
        "metadata": {"name": "float6"},
        "spec": {"cidr": "2001:db8:f::/64", "assignmentMode": "Manual"},
    },
]


def until(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + 30  # bounds a failing test only
    while not condition():
        assert time.monotonic() < end, f"it never happened that {what}"
        time.sleep(0.2)


def test_every_host_learns_the_floating_address_and_everybody_reaches_it(lab: Any, tmp_path: Path) -> None:
    hosts = [{"name": "h1"}, {"name": "h2"}]
    workloads = [{"name": "a", "host": "h1"}, {"name": "b", "host": "h2"}]
    resources = [{"apiVersion": "projectcalico.org/v3", **resource} for resource in RESOURCES]
    lab.up({"hosts": hosts, "workloads": workloads, "externals": [{"name": "x"}], "resources": resources}, "--wait")

    def run(machine: str, *command: str, check: bool = True) -> Any:
        return lab.run("exec", "-l", lab.name, machine, "--", *command, check=check)

    shown = run("h1", "calico", "get", "workloadendpoints", "--all-namespaces", "-o", "yaml").stdout
    (endpoint,) = (item for item in yaml.safe_load(shown)["items"] if item["spec"]["node"] == "h1")
    own = [net.partition("/")[0] for net in endpoint["spec"]["ipNetworks"]]
    endpoint["spec"]["ipNATs"] = [
        {"internalIP": address, "externalIP": EXTERNAL[6 if ":" in address else 4]} for address in own
    ]
    document = tmp_path / "endpoint.yaml"
    document.write_text(yaml.safe_dump(endpoint))
    run("h1", "calico", "apply", "-f", str(document))
    for family, address in EXTERNAL.items():
        shows = ("ip", f"-{family}", "route", "show", address)
        until(lambda: "proto bird" in run("h2", *shows).stdout, f"h2 learnt {address}")  # noqa: B023
        for machine in ("a", "b", "h1", "h2", "x"):
            answer = run(machine, "ping", "-c", "1", "-W", "5", address, check=False)
            assert answer.returncode == 0, f"{machine} to {address}: {answer.stdout}"
