"""Source ports of probes: no two runs within the memory of connection tracking have one in common."""

from calico.lab.probe.sourceports import FIRST, LAST, fresh_ports, ports_at


def test_runs_that_follow_one_another_have_no_port_in_common() -> None:
    runs = [fresh_ports(3) for _ in range(20)]
    ports = [port for run in runs for port in run]
    assert len(set(ports)) == 60


def test_the_ports_of_a_whole_round_are_all_different_and_within_the_range() -> None:
    steps = (LAST - FIRST + 1) // 3
    ports = [port for step in range(steps) for port in ports_at(step, 3)]
    assert len(set(ports)) == len(ports) == steps * 3
    assert min(ports) == FIRST
    assert max(ports) <= LAST


def test_after_a_round_the_ports_come_again() -> None:
    steps = (LAST - FIRST + 1) // 3
    assert ports_at(7, 3) == ports_at(7 + steps, 3)
