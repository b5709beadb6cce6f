"""Policy changes while connections flow between hosts."""

from typing import Any

import pytest

pytestmark = [pytest.mark.lab, pytest.mark.timeout(180), pytest.mark.xdist_group("resilience")]

ALLOWED = [
    ("client1", "server2", 4),
    ("client3", "client1", 4),
    ("client2", "server1", 6),
    ("server1", "client2", 6),
]
FORBIDDEN = [("client2", "server1", 4), ("server3", "server2", 6)]


def unrelated_change(mesh: Any, number: int) -> tuple[list[dict[str, Any]], list[tuple[str, str, str]]]:
    """Documents to apply and keys to delete: changes on the hosts of the flows that leave the flows' verdict as is."""
    allow = {"action": "Allow", "protocol": "TCP", "source": {"nets": [f"192.0.2.{number}/32"]}}
    other = {"action": "Deny", "protocol": "UDP", "destination": {"ports": [9000 + number]}}
    kinds = (
        lambda: ([mesh.global_policy(f"more{number}", "app == 'server'", order=50, ingress=[allow, other])], []),
        lambda: ([mesh.document("GlobalNetworkSet", "somewhere", nets=[f"198.51.100.{number}/32"])], []),
        lambda: ([mesh.global_policy("guests", "app == 'client'", ingress=[other, {"action": "Allow"}])], []),
        lambda: ([], [("GlobalNetworkPolicy", "", f"more{number - 3}")]),
    )
    return kinds[number % len(kinds)]()


def test_an_allowed_flow_loses_nothing_and_a_forbidden_one_never_passes_over_twenty_unrelated_changes(
    mesh: Any,
) -> None:
    with mesh.traffic(ALLOWED, FORBIDDEN):
        for number in range(20):
            documents, deleted = unrelated_change(mesh, number)
            mesh.programmed(*documents, delete=deleted)


def test_a_change_that_forbids_a_flow_stops_it_and_the_change_back_lets_it_pass_again(mesh: Any) -> None:
    deny = mesh.global_policy("closed", "app == 'server'", order=1, ingress=[{"action": "Deny"}])
    service = [("TCP", 80), ("UDP", 53)]
    others = [("client1", "client2", 4), ("client3", "client1", 6)]
    with mesh.traffic(others):
        assert not mesh.closed(["client1", "client3"], ["server2"], service)
        mesh.programmed(deny)
        assert not mesh.opened(["client1", "client3", "server1", "outside"], ["server2"], service)
        mesh.programmed(delete=[("GlobalNetworkPolicy", "", "closed")])
        assert not mesh.closed(["client1", "client3"], ["server2"], service)
