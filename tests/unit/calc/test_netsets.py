"""A network set, checked: its nets, where it is, and what is left out of it."""

from __future__ import annotations

from calico.calc.labels import unpack_labels
from calico.calc.netsets import NetSet, decode_netset
from calico.lib.packed import net
from calico.model.keys import ResourceKey
from calico.model.meta import Metadata
from calico.model.policy import GlobalNetworkSet, NetworkSet, NetworkSetSpec

FORGED = {
    "projectcalico.org/namespace": "blue",
    "projectcalico.org/serviceaccount": "root",
    "pcns.team": "a",
    "pcsa.team": "b",
}


def of_red(*nets: str, **labels: str) -> tuple[NetSet, tuple[str, ...]]:
    value = NetworkSet(metadata=Metadata(labels=labels | FORGED), spec=NetworkSetSpec(nets=nets))
    return decode_netset(ResourceKey("NetworkSet", "red", "s"), value)


def of_all(*nets: str, **labels: str) -> tuple[NetSet, tuple[str, ...]]:
    value = GlobalNetworkSet(metadata=Metadata(labels=labels | FORGED), spec=NetworkSetSpec(nets=nets))
    return decode_netset(ResourceKey("GlobalNetworkSet", "", "s"), value)


def test_a_network_set_is_in_its_namespace_and_inherits_from_it_whatever_its_labels_say() -> None:
    netset, _ = of_red(a="x")
    assert unpack_labels(netset.labels) == {"a": "x", "projectcalico.org/namespace": "red"}
    assert netset.profiles == ("kns.red",)


def test_a_global_network_set_is_in_no_namespace_and_inherits_nothing() -> None:
    netset, _ = of_all(a="x")
    assert unpack_labels(netset.labels) == {"a": "x"}
    assert netset.profiles == ()


def test_nets_are_masked_and_the_same_in_whatever_order_they_stand() -> None:
    texts = [f"10.{n}.0.1/16" for n in range(20)]
    one, other = of_all(*texts)[0], of_all(*texts[::-1], texts[0])[0]
    assert one.nets == other.nets == tuple(net(f"10.{n}.0.0/16") for n in range(20))


def test_a_net_that_is_none_is_left_out_and_named() -> None:
    netset, problems = of_all("10.0.0.0/8", "nonsense", "fd00::/129")
    assert netset.nets == (net("10.0.0.0/8"),)
    assert [problem.split(":")[0] for problem in problems] == ["spec.nets[1]", "spec.nets[2]"]
