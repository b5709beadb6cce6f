"""What `calico kubernetes status` finds right and wrong."""

from __future__ import annotations

from typing import Any

import pytest

from calico.cli.kubernetes.standing import judge_lease, judge_nodes, judge_pods, judge_policies

RENEWED = {"holderIdentity": "h1", "leaseDurationSeconds": 15, "renewTime": "2026-11-26T20:00:00.000000Z"}
AT = 1795723200.0  # that moment


@pytest.mark.parametrize(
    ("lease", "good", "said"),
    [
        (None, False, "nobody ever led"),
        ({"spec": RENEWED | {"holderIdentity": ""}}, False, "nobody leads"),
        ({"spec": RENEWED}, True, "h1 leads"),
        ({"spec": RENEWED | {"renewTime": "2026-11-26T19:59:00.000000Z"}}, False, "silent for 60 s"),
        ({"spec": RENEWED | {"renewTime": "soon"}}, False, "cannot be read"),
    ],
)
def test_somebody_leads_while_he_renews_his_lease(lease: Any, good: bool, said: str) -> None:
    line = judge_lease(lease, AT)
    assert line.good is good
    assert said in line.said


def _node(name: str, **conditions: str) -> dict[str, Any]:
    given = [{"type": kind, "status": status, "message": f"says {kind}"} for kind, status in conditions.items()]
    return {"metadata": {"name": name}, "status": {"conditions": given}}


def test_a_node_is_right_when_it_is_ready_has_its_network_and_is_known() -> None:
    nodes = [_node("b", Ready="True", NetworkUnavailable="False"), _node("a", Ready="True", NetworkUnavailable="True")]
    lines = judge_nodes([*nodes, _node("c", Ready="True"), _node("d")], ["a", "b", "d"])
    assert [(line.what, line.good) for line in lines] == [
        ("node a", False), ("node b", True), ("node c", False), ("node d", False)
    ]  # fmt: skip
    assert "NetworkUnavailable" in lines[0].said
    assert "no Node" in lines[2].said
    assert "not Ready" in lines[3].said


def test_policies_are_right_when_each_has_its_copy_and_no_copy_is_left_over() -> None:
    others = ("shop", "by-hand")
    assert judge_policies([("shop", "a")], [("shop", "knp.default.a"), others]).good
    wrong = judge_policies([("shop", "a"), ("shop", "b")], [("shop", "knp.default.a"), ("shop", "knp.default.c")])
    assert not wrong.good
    assert "not in the datastore: shop/knp.default.b" in wrong.said
    assert "only in the datastore: shop/knp.default.c" in wrong.said


def _pod(name: str, phase: str = "Running", ip: str = "10.65.0.1", **spec: Any) -> dict[str, Any]:
    status = {"phase": phase, "podIP": ip}
    return {"metadata": {"namespace": "shop", "name": name}, "spec": {"nodeName": "n1", **spec}, "status": status}


def test_pods_are_right_when_each_that_runs_has_an_endpoint_and_none_is_left_over() -> None:
    pods = [_pod("web"), _pod("host", hostNetwork=True), _pod("starts", "Pending", ""), _pod("waits", nodeName="")]
    for started in ([], [("shop", "starts")]):
        assert judge_pods(pods, [("shop", "web"), *started]).good
    assert "not in the datastore: shop/web" in judge_pods(pods, []).said
    assert "only in the datastore: shop/gone" in judge_pods(pods, [("shop", "web"), ("shop", "gone")]).said
