from __future__ import annotations

from prometheus_client import generate_latest

from calico.orchestrators.openstack.driver.worker.metrics import WorkerMetrics


def test_the_rest_is_told_when_the_database_does_not_answer() -> None:
    def waiting() -> tuple[int, float]:
        raise OSError("no database")

    metrics = WorkerMetrics(waiting, with_process=False)
    metrics.on_retry()
    told = generate_latest(metrics.registry).decode()
    assert "calico_neutron_database_up 0.0" in told
    assert "calico_neutron_journal_entries" not in told
    assert "calico_neutron_journal_retries_total 1.0" in told


def test_audits_are_counted_by_what_they_found() -> None:
    metrics = WorkerMetrics(lambda: (3, 1.5), with_process=False)
    metrics.on_audit(7, {"port": 2}, 0.25)
    metrics.on_audit(9, {}, 0.5)
    metrics.on_audit_failed()
    value = metrics.registry.get_sample_value
    results = ("clean", "drift", "failed")
    assert [value("calico_neutron_audits_total", {"result": each}) for each in results] == [1, 1, 1]
    assert value("calico_neutron_drift_objects_total", {"kind": "port"}) == 2
    assert value("calico_neutron_audit_objects") == 9
    assert value("calico_neutron_journal_entries") == 3
    assert value("calico_neutron_journal_oldest_seconds") == 1.5
