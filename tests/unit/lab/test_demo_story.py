import pytest

from calico.lab.addressing import plan_layout
from calico.lab.demo_story import STEPS, demo_topology
from calico.lab.registrar import to_resource
from calico.lab.topology import check_topology


@pytest.mark.parametrize("reflectors", [False, True])
def test_the_demo_has_three_hosts_six_workloads_of_both_families_and_an_external(reflectors):
    topology = check_topology(demo_topology("demo", reflectors=reflectors))
    layout = plan_layout(topology)
    assert (len(layout.hosts), len(layout.workloads), len(layout.externals)) == (3, 6, 1)
    assert all(len(plan.addresses) == 2 for plan in layout.workloads)
    assert len(topology.reflectors) == (2 if reflectors else 0)


def test_each_step_is_a_valid_policy():
    assert [to_resource(step.resource).kind for step in STEPS] == ["GlobalNetworkPolicy"] * 3


def test_the_steps_open_what_their_words_say():
    deny, label, egress = (step.allows for step in STEPS)
    assert not deny("client1", "web1", 80)
    assert label("client1", "web2", 80)
    assert not label("client1", "web2", 8080)
    assert not label("db1", "web2", 80)
    assert egress("db1", "outside", 8080)
    assert not egress("client1", "outside", 80)
