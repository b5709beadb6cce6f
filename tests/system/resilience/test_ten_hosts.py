"""Ten hosts with three workloads each."""

from typing import Any

import pytest

pytestmark = [pytest.mark.lab, pytest.mark.timeout(240), pytest.mark.xdist_group("resilience")]

TOPOLOGY = {
    "name": "resilientten",
    "hosts": [{"name": f"host{number}"} for number in range(1, 11)],
    "workloads": [
        {"name": f"web{number}x{copy}", "host": f"host{number}"} for number in range(1, 11) for copy in (1, 2, 3)
    ],
}


def test_ten_hosts_with_three_workloads_each_come_up_and_reach_each_other(start_lab: Any) -> None:
    with start_lab(TOPOLOGY) as lab:
        one_each = [f"web{number}x1" for number in range(1, 11)]
        assert not lab.closed(one_each, one_each, [("TCP", 80)])
        assert all(not lab.sessions_down(host) for host in lab.hosts)
