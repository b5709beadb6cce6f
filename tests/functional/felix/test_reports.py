"""What Felix writes into the datastore about its host and endpoints."""

from __future__ import annotations

import json

from felix_world import World, resource, until

STATUS = "/calico/felix/v2/no-region/host/h1/"


def test_endpoint_status_is_reported_when_enabled_and_follows_the_endpoints(world: World) -> None:
    spec = {"endpointReportingEnabled": True, "endpointReportingDelay": "1s"}
    world.apply(resource("FelixConfiguration", "default", spec))
    one = f"{STATUS}workload/cni/default%2fa/endpoint/eth0"

    def reported() -> dict[str, str]:
        return {key: json.loads(value)["status"] for key, value in world.list(STATUS + "workload/").items()}

    until(lambda: len(reported()) == 4, "all endpoints were reported")
    assert one in reported()
    assert set(reported().values()) == {"up"}
    world.delete("WorkloadEndpoint", "h1-cni-d-eth0", "default")
    until(lambda: len(reported()) == 3, "the removed endpoint's report went")
    world.ip("h", "link set calia down")
    until(lambda: reported()[one] in ("down", "error"), "the endpoint was reported not up")
    assert json.loads(world.list(one)[one])["reasons"], "why is said"
    world.ip("h", "link set calia up")
    until(lambda: reported()[one] == "up", "the endpoint was reported up")


def test_the_host_reports_that_it_is_alive(world: World) -> None:
    world.apply(resource("FelixConfiguration", "default", {"reportingInterval": "1s", "reportingTTL": "30s"}))
    until(lambda: STATUS + "status" in world.list(STATUS), "the host reported", deadline_s=40)
    last = json.loads(world.list(STATUS)[STATUS + "last_reported_status"])
    assert set(last) >= {"time", "uptime", "first_update"}
    for _ in range(4):  # without the new interval this takes two minutes
        before = world.list(STATUS)[STATUS + "status"]
        until(lambda: world.list(STATUS)[STATUS + "status"] != before, "it reported again")  # noqa: B023


def test_a_file_says_that_an_endpoint_is_up_as_long_as_it_is(world: World) -> None:
    directory = world.run_dir / "endpoint-status"

    def files() -> dict[str, dict[str, object]]:
        return {path.name: json.loads(path.read_bytes()) for path in directory.iterdir() if " " in path.name}

    one = "cni default%2Fa eth0"
    until(lambda: len(files()) == 4, "all endpoints have their files")
    v4, v6 = world.workloads["a"]
    expected = {"ifaceName": "calia", "mac": world.mac("a"), "ipv4Nets": [f"{v4}/32"], "ipv6Nets": [f"{v6}/128"]}
    assert files()[one] == expected
    world.ip("h", "link set calia down")
    until(lambda: one not in files(), "the file of an endpoint that is not up went")
    world.ip("h", "link set calia up")
    until(lambda: one in files(), "it came again")
    world.apply(world.endpoint("a", ipNetworks=[f"{v4}/32"]))
    until(lambda: "ipv6Nets" not in files()[one], "the file says what is programmed now")
    world.kill_felix()
    (directory / "cni default%2Fgone eth0").write_text("{}")
    (directory / one).unlink()
    world.start_felix()
    world.clear()
    until(lambda: files().get(one) == expected, "what an earlier run left was repaired")
    assert len(files()) == 4
