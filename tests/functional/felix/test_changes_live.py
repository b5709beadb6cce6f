"""Changes while packets flow: policies, endpoints, interfaces, routes."""

from __future__ import annotations

from felix_world import World, resource, until


def test_changed_labels_of_endpoints_change_what_selectors_allow(world: World, family: int) -> None:
    rule = {"action": "Allow", "source": {"selector": "role == 'client'"}}
    spec = {"selector": "app == 'b'", "types": ["Ingress"], "ingress": [rule]}
    world.apply(resource("GlobalNetworkPolicy", "p", spec))
    world.expect(family, "!a>b tcp:80", "!c>b tcp:80")
    world.apply(world.endpoint("a", labels={"role": "client"}))
    world.expect(family, "a>b tcp:80", "!c>b tcp:80")
    world.apply(world.endpoint("a"), world.endpoint("c", labels={"role": "client"}))
    world.expect(family, "!a>b tcp:80", "c>b tcp:80")
    world.apply(world.endpoint("b", labels={"app": "free"}))
    world.expect(family, "a>b tcp:80", "c>b tcp:80")


def test_a_removed_endpoint_is_cut_off_and_a_new_one_connected(world: World, family: int) -> None:
    world.delete("WorkloadEndpoint", "h1-cni-b-eth0", "default")
    world.expect(family, "!a>b tcp:80", "!b>a tcp:80", "!x>b tcp:80", "a>c tcp:80")
    assert world.address("b", family) not in world.show("h", f"-{family} route show dev calib")
    world.apply(world.endpoint("b"))
    world.expect(family, "a>b tcp:80", "b>a tcp:80", "x>b tcp:80")


def test_a_policy_of_a_new_endpoint_holds_from_its_first_packet(world: World, family: int) -> None:
    world.delete("WorkloadEndpoint", "h1-cni-b-eth0", "default")
    spec = {"selector": "app == 'b'", "types": ["Ingress"], "ingress": [{"action": "Allow", "protocol": "UDP"}]}
    world.apply(resource("GlobalNetworkPolicy", "p", spec))
    world.apply(world.endpoint("b"), settle=False)
    flows = ["!a>b tcp:80"] * 50
    while True:
        world.expect(family, *flows)
        if world.status["endpoints"].get("default/h1-cni-b-eth0") == "up":
            break
    world.settle()
    world.expect(family, "a>b udp:80", "!a>b tcp:80")


def test_an_interface_that_is_made_again_works_again(world: World, family: int) -> None:
    world.ip("h", "link del calib")
    name = "default/h1-cni-b-eth0"
    until(lambda: world.status["endpoints"].get(name) in ("down", "error"), "the endpoint was seen to be down")
    world.expect(family, "a>c tcp:80")
    world.wire("b")
    world.reopen("b")
    until(lambda: world.status["endpoints"].get(name) == "up", "the endpoint was up again")
    world.expect(family, "a>b tcp:80", "b>a tcp:80", "x>b icmp", "!b>h tcp:80", "!b>a udp:4789")


def test_an_interface_that_appears_after_its_endpoint_is_connected(world: World, family: int) -> None:
    world.add_workload("e")
    try:
        world.ip("h", "link del calie")
        world.apply(world.endpoint("e"))
        assert world.status["endpoints"]["default/h1-cni-e-eth0"] != "up"
        world.wire("e")
        world.reopen("e")
        until(lambda: world.status["endpoints"]["default/h1-cni-e-eth0"] == "up", "the endpoint was up")
        world.expect(family, "a>e tcp:80", "e>a tcp:80")
    except AssertionError as error:
        error.add_note(f"endpoints {world.status['endpoints']}, conditions {world.status['conditions']}")
        error.add_note(world.show("h", "link show calie"))
        raise
    finally:
        world.remove_workload("e")
        world.delete("WorkloadEndpoint", "h1-cni-e-eth0", "default")


def test_stale_routes_of_an_earlier_run_go_and_foreign_routes_stay(world: World) -> None:
    world.kill_felix()
    world.ip("h", "route add 10.65.7.7/32 dev calia proto 80", "route add fd00:65::77 dev calia proto 80",
             "route add 10.65.7.8/32 dev calia proto static", "route add 10.66.0.0/16 dev ext0",
             "route add fd00:66::/64 dev ext0", "route add fd00:65::78 dev calia proto static")  # fmt: skip
    try:
        world.restart_felix()
        until(lambda: "10.65.7.7" not in world.show("h", "-4 route show"), "the stale route went")
        routes = world.show("h", "-4 route show") + world.show("h", "-6 route show")
        assert "fd00:65::77" not in routes
        for mine in ("10.65.7.8", "10.66.0.0/16", "fd00:66::/64", "fd00:65::78"):
            assert mine in routes, mine
        for address in (world.address("a", 4), world.address("b", 6)):
            assert address in routes
    finally:
        world.ip("h", "route del 10.66.0.0/16 dev ext0", "route del fd00:66::/64 dev ext0",
                 "route del 10.65.7.8/32 dev calia", "route del fd00:65::78 dev calia")  # fmt: skip


def test_a_route_that_others_take_away_comes_back(world: World) -> None:
    world.ip("h", f"route del {world.net('b', 4)} dev calib", f"route del {world.net('b', 6)} dev calib")
    for family in (4, 6):
        shown = f"-{family} route show"
        until(lambda: world.address("b", family) in world.show("h", shown), f"the IPv{family} route was back")  # noqa: B023
        world.expect(family, "a>b tcp:80")


def test_others_cannot_change_the_table(world: World) -> None:
    before = world.ruleset()
    assert world.nft("flush table inet calico") != 0
    assert world.nft("delete table inet calico") != 0
    assert world.ruleset() == before
