"""What podman asks for beyond a plain container: addresses, several networks, stop and start, and no daemon at all."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from functional.runtimes.cluster import NETWORK, Cluster, Node
from functional.runtimes.podman_runtime import Podman
from functional.runtimes.serving import WEB, fetch

pytestmark = [pytest.mark.root, pytest.mark.etcd, pytest.mark.bird, pytest.mark.runtimes]


@pytest.fixture
def without_daemon(cluster: Cluster) -> Iterator[Node]:
    """A host whose plugin does everything itself."""
    node = cluster.nodes[0]
    names = {"CALICO_ETCD_ENDPOINTS": cluster.fabric.etcd_url, "NODENAME": node.host.name}
    names |= {"CALICO_RUN_DIR": str(node.host.run_dir), "CALICO_CNI_STATE_DIR": str(node.state_dir)}
    node.podman.environment |= names
    node.install("--standalone")
    node.kill_daemon()
    try:
        yield node
    finally:
        node.podman.remove_all()
        node.install()


def serves(podman: Podman, client: str, address: str) -> bool:
    return fetch(lambda *command: podman.exec(client, *command), address)


def test_a_container_that_is_stopped_and_started_is_attached_anew(cluster: Cluster) -> None:
    """By a name that no pod could have: podman gives it as K8S_POD_NAME all the same."""
    podman = cluster.nodes[0].podman
    podman.run("Web_1", *WEB)
    podman.run("client")
    podman("stop", "--time", "0", "Web_1")
    assert list(cluster.allocations()) == [podman.address("client")]
    podman("start", "Web_1")
    assert serves(podman, "client", podman.address("Web_1"))
    assert len(cluster.endpoints()) == 2


def test_a_container_gets_the_address_that_it_asks_for(cluster: Cluster) -> None:
    podman = cluster.nodes[0].podman
    podman.run("web", *WEB, options=("--network", f"{NETWORK}:ip=10.65.88.8,mac=02:11:22:33:44:55"))
    podman.run("client")
    assert podman.address("web") == "10.65.88.8"
    assert serves(podman, "client", "10.65.88.8")
    assert "02:11:22:33:44:55" in podman.exec("web", "ip", "link", "show", "eth0")[1]


def test_a_container_in_two_networks_is_reached_in_each_and_only_there(cluster: Cluster) -> None:
    node = cluster.nodes[0]
    other = node.site.conf_dir / "20-other.conflist"
    node.site.configure({"type": "calico", "ipam": {"type": "calico-ipam"}}, name="othernet", file=other)
    try:
        node.podman.run("web", *WEB, options=("--network", f"{NETWORK},othernet"))
        node.podman.run("client")
        node.podman.run("stranger", options=("--network", "othernet"))
        first, second = (node.podman.address("web", network) for network in (NETWORK, "othernet"))
        assert set(cluster.allocations()) >= {first, second}
        assert serves(node.podman, "client", first)
        assert not serves(node.podman, "client", second)
        assert serves(node.podman, "stranger", second)
        assert not serves(node.podman, "stranger", first)
        node.podman.remove("web")
        assert len(cluster.allocations()) == len(node.workload_links()) == 2
        node.podman.remove("stranger")
    finally:
        other.unlink()


def test_the_plugin_works_without_a_daemon(cluster: Cluster, without_daemon: Node) -> None:
    podman = without_daemon.podman
    podman.run("web", *WEB)
    podman.run("client")
    assert serves(podman, "client", podman.address("web"))
    podman.remove("web")
    assert list(cluster.allocations()) == [podman.address("client")]
