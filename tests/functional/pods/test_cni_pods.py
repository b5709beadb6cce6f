"""The plugin in Kubernetes mode, with a real API server and a role that allows it no more than it needs."""

from __future__ import annotations

import signal
import socket

from api_world import NOTHING, ApiWorld, Pod

from calico.dataplane.netns import in_netns

CNI = "cni.projectcalico.org/"
OPEN = {"ingress": [{"action": "Allow"}], "egress": [{"action": "Allow"}]}


def test_labels_account_and_named_ports_are_in_the_first_write_and_the_pod_is_told(world: ApiWorld) -> None:
    world.account("app")
    ports = [{"name": "http", "containerPort": 8080}, {"containerPort": 9, "hostPort": 8009}]
    pod = world.pod("web", labels={"app": "web"}, serviceAccountName="app", ports=ports)
    address = pod.add().address()
    found = pod.endpoint
    given = {key.removeprefix("projectcalico.org/"): value for key, value in found["metadata"]["labels"].items()}
    assert given == {"app": "web", "namespace": "default", "orchestrator": "k8s", "serviceaccount": "app"}
    assert found["spec"]["profiles"] == ["kns.default", "ksa.default.app"]
    assert found["spec"]["serviceAccountName"] == "app"
    assert [(one["name"], one["port"]) for one in found["spec"]["ports"]] == [("http", 8080), ("", 9)]
    assert world.writes_of(pod) == 1
    assert pod.annotations == {"podIP": f"{address}/32", "podIPs": f"{address}/32",
                               "containerID": pod.sandbox.identity}  # fmt: skip
    pod.delete()
    assert (pod.annotations["podIP"], pod.annotations["podIPs"]) == ("", "")
    assert world.leftovers == NOTHING


def test_a_pods_first_packet_meets_policy_that_selects_its_labels(world: ApiWorld) -> None:
    world.put("Profile", "profiles", "kns.default", OPEN)
    rule = {"action": "Allow", "protocol": "UDP", "source": {"selector": "role == 'friend'"},
            "destination": {"ports": ["telemetry"]}}  # fmt: skip
    world.policy("pods", {"selector": "app == 'server'", "types": ["Ingress"], "ingress": [rule]})
    try:
        server = world.pod("server", labels={"app": "server"},
                           ports=[{"name": "telemetry", "containerPort": 7000, "protocol": "UDP"}])  # fmt: skip
        friend, stranger = world.pod("friend", labels={"role": "friend"}), world.pod("stranger")
        address = server.add().address()
        for sender in (friend, stranger):
            sender.add()
        for sender, port, passes in ((friend, 7000, True), (stranger, 7000, False), (friend, 7001, False)):
            with server.sandbox.receives(port, timeout_s=2.0 if passes else 0.5) as receiver:
                assert sender.sandbox.sends_datagram(address, port, receiver) is passes, (sender.name, port)
    finally:
        world.etcdctl("del", "/calico/resources/v3/projectcalico.org/globalnetworkpolicies/pods")


def test_what_pod_and_namespace_ask_for_by_annotation_is_given(world: ApiWorld) -> None:
    world.put("IPPool", "ippools", "team", {"cidr": "10.78.0.0/26", "blockSize": 28})
    team = {f"{CNI}ipv4pools": '["team"]', f"{CNI}ipFamilies": '["IPv4", "IPv6"]'}
    try:
        world.namespace("team", annotations=team)
        plain = world.pod("plain", namespace="team")
        answer = plain.add()
        assert answer.address().startswith("10.78.0.")
        assert answer.address(6).startswith("fd77:")
        own = {f"{CNI}ipv4pools": '["10.77.0.0/24"]', f"{CNI}ipFamilies": '["IPv4"]',
               f"{CNI}hwAddr": "0a:01:02:03:04:05",
               f"{CNI}allowedSourcePrefixes": '["192.0.2.0/28"]', "qos.projectcalico.org/ingressPacketRate": "100",
               "kubernetes.io/egress-bandwidth": "10M"}  # fmt: skip
        other = world.pod("other", namespace="team", annotations=own)
        answer = other.add()
        assert answer.address().startswith("10.77.0.")
        assert len(answer.document["ips"]) == 1
        spec = other.endpoint["spec"]
        assert spec["mac"] == "0a:01:02:03:04:05"
        assert spec["allowSpoofedSourcePrefixes"] == ["192.0.2.0/28"]
        assert (spec["qosControls"]["ingressPacketRate"], spec["qosControls"]["egressBandwidth"]) == (100, 10_000_000)
    finally:
        world.etcdctl("del", "/calico/resources/v3/projectcalico.org/ippools/team")


def test_addresses_that_are_asked_for_and_gated_features(world: ApiWorld) -> None:
    exact = world.pod("exact", annotations={f"{CNI}ipAddrs": '["10.77.0.99"]'})
    assert exact.add().address() == "10.77.0.99"
    bare = {f"{CNI}ipAddrsNoIpam": '["192.0.2.77"]', f"{CNI}floatingIPs": '["198.51.100.7"]'}
    pod = world.pod("bare", annotations=bare)
    refused = pod.call("ADD")
    assert refused.error == 7
    assert "feature_control.ip_addrs_no_ipam" in refused.message
    allowed = {"feature_control": {"ip_addrs_no_ipam": True, "floating_ips": True}}
    assert pod.add(**allowed).address() == "192.0.2.77"
    assert pod.endpoint["spec"]["ipNATs"] == [{"internalIP": "192.0.2.77", "externalIP": "198.51.100.7"}]
    assert world.allocated == 1
    wrong = world.pod("wrong", annotations={f"{CNI}ipAddrs": "10.77.0.98"})
    refused = wrong.call("ADD")
    assert refused.error == 7
    assert f"annotation {CNI}ipAddrs" in refused.message


def test_a_late_del_of_an_old_sandbox_takes_nothing_from_a_new_one_with_the_same_address(
    world: ApiWorld,
) -> None:
    pod = world.pod("again", annotations={f"{CNI}ipAddrs": '["10.77.0.99"]'})
    old, new = pod.sandbox, world.container()
    pod.add(old)
    pod.add(new)
    pod.delete(old)
    assert pod.endpoint["spec"]["containerID"] == new.identity
    assert (pod.annotations["containerID"], pod.annotations["podIP"]) == (new.identity, "10.77.0.99/32")
    assert world.allocated == 1
    assert new.addresses == {"10.77.0.99"}
    pod.delete(new)
    assert world.leftovers == NOTHING


def test_a_pod_that_is_another_by_now_or_none_is_not_attached(world: ApiWorld) -> None:
    pod = world.pod("one")
    uid = world.api("GET", pod.path)["metadata"]["uid"]
    stale = pod.call("ADD", uid="00000000-0000-0000-0000-000000000000")
    assert (stale.error, "another one" in stale.message) == (11, True)
    pod.add(uid=uid)
    pod.delete()
    pod.remove()
    gone = pod.call("ADD")
    assert gone.error == 11
    assert "no pod default/one" in gone.message
    assert world.leftovers == NOTHING
    pod.delete()


def test_without_an_api_server_add_is_to_be_tried_again_and_del_cleans_up(world: ApiWorld) -> None:
    before, after = world.pod("before"), world.pod("after")
    before.add()
    world.kill("api")
    refused = after.call("ADD")
    assert refused.error == 11
    assert "Kubernetes API" in refused.message
    before.delete()
    assert world.leftovers == NOTHING
    world.start_api()
    after.add()
    assert after.annotations["containerID"] == after.sandbox.identity


def test_an_api_server_that_hangs_holds_nobody_up_for_ever(world: ApiWorld) -> None:
    attached, waiting = world.pod("attached"), world.pod("waiting")
    attached.add()
    world.processes["api"].send_signal(signal.SIGSTOP)
    try:
        attached.delete()
        assert world.leftovers == NOTHING
        refused = waiting.call("ADD")
        assert refused.error == 11
        assert "does not answer" in refused.message
    finally:
        world.processes["api"].send_signal(signal.SIGCONT)
    waiting.add()


def test_a_kubeconfig_that_is_not_there_yet_or_was_renewed(world: ApiWorld) -> None:
    pod = world.pod("renewed")
    world.write_kubeconfig("expired")
    refused = pod.call("ADD")
    assert refused.error == 11
    assert "Unauthorized" in refused.message
    world.kubeconfig.unlink()
    refused = pod.call("ADD")
    assert refused.error == 11
    assert "kubernetes.kubeconfig" in refused.message
    world.write_kubeconfig()
    pod.add()
    assert pod.annotations["containerID"] == pod.sandbox.identity


def test_host_ports_by_portmap_behind_us(world: ApiWorld) -> None:
    """A connection to the host's port reaches the pod, and its policy judges it."""
    world.put("Profile", "profiles", "kns.default", OPEN)
    server = world.pod("mapped", ports=[{"containerPort": 8080, "hostPort": 18080}])
    client = world.pod("client")
    added = server.add(version="1.0.0")
    client.add()
    world.ip(world.host, "addr add 172.30.0.9/32 dev lo")
    mapping = {"portMappings": [{"hostPort": 18080, "containerPort": 8080, "protocol": "tcp"}]}
    chained = {"type": "portmap", "capabilities": {"portMappings": True}, "snat": True,
               "runtimeConfig": mapping, "prevResult": added.document}  # fmt: skip
    done = world.portmap("ADD", server.sandbox, chained)
    try:
        assert done.returncode == 0, done.stdout + done.stderr
        with server.sandbox.listen(8080):
            assert _connects(client, "172.30.0.9", 18080)
            world.policy("closed", {"selector": "all()", "types": ["Ingress"], "ingress": []})
            assert not _connects(client, "172.30.0.9", 18080)
    finally:
        world.etcdctl("del", "/calico/resources/v3/projectcalico.org/globalnetworkpolicies/closed")
        world.portmap("DEL", server.sandbox, chained)
        world.ip(world.host, "addr del 172.30.0.9/32 dev lo")


def _connects(client: Pod, address: str, port: int) -> bool:
    def connect() -> bool:
        with socket.socket() as sock:
            sock.settimeout(2)
            return sock.connect_ex((address, port)) == 0

    return in_netns(client.sandbox.netns, connect)
