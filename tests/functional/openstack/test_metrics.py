"""What Prometheus sees of the driver's worker."""

from __future__ import annotations

import os
import re
import signal
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

from functional.openstack.cloud import Cloud
from stack.stack import Stack

pytestmark = [pytest.mark.neutron, pytest.mark.timeout(600)]

Samples = dict[str, float]


def scrape(stack: Stack) -> Samples:
    """Values by name and the values of labels, separated by spaces."""
    configured = (stack.directory / "etc/calico.ini").read_text()
    found = re.search(r"^metrics_address = (.*)$", configured, re.MULTILINE)
    assert found is not None
    with urllib.request.urlopen(f"http://{found[1]}/metrics", timeout=30) as answer:
        families = text_string_to_metric_families(answer.read().decode())
    return {
        " ".join([sample.name.removeprefix("calico_neutron_"), *sample.labels.values()]): sample.value
        for family in families
        for sample in family.samples
    }


def test_the_journal_is_seen_to_wait_for_etcd_and_to_drain(cloud: Cloud) -> None:
    stack, host = cloud.stack, cloud.host()
    network, _ = cloud.network()
    stack.settle()
    before = scrape(stack)
    assert before["database_up"] == 1
    assert before["journal_entries"] == 0
    os.kill(stack.etcd.pid, signal.SIGSTOP)
    try:
        cloud.port(network, host)
        stack.until("the oldest entry is a second old", lambda: scrape(stack)["journal_oldest_seconds"] >= 1)
        assert scrape(stack)["journal_entries"] > 0
        stack.until(
            "the worker tries again", lambda: scrape(stack)["journal_retries_total"] > before["journal_retries_total"]
        )
    finally:
        os.kill(stack.etcd.pid, signal.SIGCONT)
    stack.settle()
    after = scrape(stack)
    assert after["journal_entries"] == after["journal_oldest_seconds"] == 0
    assert after["mirrored_objects_total port"] > before.get("mirrored_objects_total port", 0)


def test_the_leader_says_so_and_what_its_audit_found(cloud: Cloud) -> None:
    cloud.stack.until("the worker leads", lambda: scrape(cloud.stack)["leader"] == 1)
    cloud.stack.until("its first audit ended", lambda: scrape(cloud.stack).get("last_audit_timestamp_seconds", 0) > 0)
    said = scrape(cloud.stack)
    assert said.get("audits_total clean", 0) + said.get("audits_total drift", 0) >= 1
    assert said["audit_seconds"] > 0


def test_what_cannot_be_followed_is_counted_by_its_code(cloud: Cloud) -> None:
    name = "not_followed_total group-stateless"
    before = scrape(cloud.stack).get(name, 0)
    cloud.api.create("security_group", name="odd", stateful=False)
    cloud.stack.settle()
    assert scrape(cloud.stack)[name] > before
