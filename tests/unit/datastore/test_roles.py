"""Roles as data, and the plan that brings etcd to them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calico.bgp.planning.ownership import OWNERSHIP_PREFIXES
from calico.bgp.planning.snapshot import watched_prefixes
from calico.datastore.access.plan import AuthState, Step, plan_roles
from calico.datastore.access.roles import COMPONENTS, Account, Permission, Role, accounts
from calico.datastore.sync.acceptance import ACCEPT_PREFIX
from calico.datastore.trial import TRIAL_PREFIX
from calico.errors import InvalidInput
from calico.felix.status_keys import endpoint_status_prefix, host_endpoint_status_prefix, host_status_keys
from calico.orchestrators.openstack.compute.inputs import prefixes as agent_prefixes


def covers(account: Account, key: str, *, write: bool) -> bool:
    wanted = ("write", "readwrite") if write else ("read", "readwrite")
    permissions = [item for role in account.roles for item in role.permissions if item.access in wanted]
    return any(item.key == key or (item.end and item.key <= key < item.end) for item in permissions)


def user(name: str, region: str = "") -> Account:
    return next(a for a in accounts(COMPONENTS, ["h1", "h2"], region) if a.user == name)


def test_what_the_agents_use_is_permitted() -> None:
    for region in ("", "one"):
        felix = user("calico-felix-h1", region)
        keys = (
            *host_status_keys("h1", region),
            endpoint_status_prefix("h1", region),
            host_endpoint_status_prefix("h1"),
        )
        assert all(covers(felix, key, write=True) for key in keys)
        others = (*host_status_keys("h2", region), *host_status_keys("h1", "two"), host_endpoint_status_prefix("h2"))
        assert not any(covers(felix, key, write=True) for key in others)
    assert all(covers(user("calico-bgp-h1"), key, write=False) for key in watched_prefixes("h1"))
    assert all(covers(user("calico-bgp-h1"), key, write=False) for key in OWNERSHIP_PREFIXES)
    assert not any(covers(user("calico-bgp-h1"), key, write=True) for key in OWNERSHIP_PREFIXES)


def test_nobody_but_the_operator_reads_trials_or_writes_acceptances() -> None:
    for account in accounts(COMPONENTS, ["h1"]):
        is_operator = account.user == "calico-operator"
        assert covers(account, f"{TRIAL_PREFIX}x", write=False) is is_operator
        assert covers(account, f"{ACCEPT_PREFIX}all", write=True) is is_operator


def test_a_host_whose_name_begins_like_another_reaches_none_of_its_keys() -> None:
    assert not covers(user("calico-felix-h1"), host_status_keys("h10")[0], write=True)
    assert not covers(user("calico-cni-h1"), "/calico/ipam/v2/host/h10/ipv4/block/x", write=True)
    assert not covers(user("calico-cni-h1"), "/calico/ipam/v2/host/h10", write=True)


def test_the_agent_of_a_compute_host_reads_its_own_instances_and_its_regions_subnets_alone() -> None:
    for region in ("", "one"):
        for host in ("h1", "h-1"):
            account = accounts(["openstack"], [host], region)[0]
            mine, others = agent_prefixes(host, region), agent_prefixes("h10", region)
            assert all(covers(account, key, write=False) for key in mine)
            assert not covers(account, others[0], write=False)
            assert not any(covers(account, key, write=True) for key in mine)
        assert not covers(account, agent_prefixes(host, "two")[1], write=False)


def test_neutron_writes_all_that_mirrors_its_objects() -> None:
    base = "/calico/resources/v3/projectcalico.org/"
    for region in ("", "one"):
        namespace = f"openstack-region-{region}" if region else "openstack"
        kinds = ("workloadendpoints", "livemigrations", "networkpolicies", "networksets")
        keys = [f"{base}{kind}/{namespace}/x" for kind in kinds]
        keys += [f"{base}ippools/{namespace}.x", f"{base}tiers/openstack-isolation"]
        neutron = user("calico-neutron" + (f"-{region}" if region else ""), region)
        assert all(covers(neutron, key, write=True) for key in keys)
        assert not covers(neutron, f"{base}ippools/x", write=True)
        assert not covers(neutron, f"{base}tiers/default", write=True)
    assert not covers(user("calico-neutron"), f"{base}ippools/openstack-region-one.x", write=True)


def test_neutron_writes_its_own_namespace_alone() -> None:
    prefix = "/calico/resources/v3/projectcalico.org/networkpolicies/"
    assert covers(user("calico-neutron"), f"{prefix}openstack/p", write=True)
    assert not covers(user("calico-neutron"), f"{prefix}openstack-region-one/p", write=True)
    assert not covers(user("calico-neutron"), f"{prefix}default/p", write=True)
    assert covers(user("calico-neutron-one", "one"), f"{prefix}openstack-region-one/p", write=True)
    assert not covers(user("calico-neutron-one", "one"), f"{prefix}openstack/p", write=True)


@pytest.mark.parametrize(("hosts", "region"), [(["a/b"], ""), ([""], ""), (["a"], "x/y")])
def test_a_name_that_would_reach_into_other_keys_is_refused(hosts: list[str], region: str) -> None:
    with pytest.raises(InvalidInput, match="slash"):
        accounts(COMPONENTS, hosts, region)


def applied(steps: tuple[Step, ...], state: AuthState) -> AuthState:
    """What etcd does: a permission on the same range replaces the earlier one; a deleted role leaves its users."""
    users, roles = dict(state.users), dict(state.roles)
    for step in steps:
        name, permission = step.subject, step.permission
        match step.verb:
            case "add role":
                assert name not in roles
                roles[name] = frozenset()
            case "add user":
                assert name not in users
                users[name] = frozenset()
            case "grant":
                assert permission is not None
                same = {p for p in roles[name] if (p.key, p.end) == (permission.key, permission.end)}
                roles[name] = roles[name] - same | {permission}
            case "revoke":
                assert permission in roles[name]
                roles[name] -= {permission}
            case "give role":
                assert step.role in roles
                users[name] |= {step.role}
            case "take role":
                users[name] -= {step.role}
            case "delete user":
                del users[name]
            case "delete role":
                del roles[name]
                users = {user: given - {name} for user, given in users.items()}
    return AuthState(users, roles)


names = st.sampled_from(["calico-a", "calico-b", "calico-felix-h1", "other", "root"])
permissions = st.builds(
    Permission, st.sampled_from(["/a", "/b"]), st.sampled_from(["", "/c"]), st.sampled_from(["read", "readwrite"])
)
roles = st.dictionaries(names, st.sets(permissions, max_size=3), max_size=4)


def one_per_range(found: set[Permission]) -> frozenset[Permission]:
    return frozenset({(item.key, item.end): item for item in sorted(found)}.values())


@given(
    roles,
    roles,
    st.dictionaries(names, st.sets(names), max_size=3),
    st.dictionaries(names, st.sets(names)),
    st.booleans(),
)
def test_from_any_state_the_plan_leads_to_what_is_wanted_and_then_is_empty(
    wanted_roles: dict[str, set[Permission]],
    found_roles: dict[str, set[Permission]],
    wanted_users: dict[str, set[str]],
    found_users: dict[str, set[str]],
    prune: bool,
) -> None:
    catalogue = {name: Role(name, tuple(sorted(one_per_range(items)))) for name, items in wanted_roles.items()}
    wanted = [
        Account(name, tuple(catalogue[role] for role in sorted(given) if role in catalogue))
        for name, given in wanted_users.items()
    ]
    found = AuthState(
        {name: frozenset(given) & found_roles.keys() for name, given in found_users.items()},
        {name: one_per_range(items) for name, items in found_roles.items()},
    )
    after = applied(plan_roles(wanted, found, prune=prune), found)
    assert plan_roles(wanted, after, prune=prune) == ()
    for account in wanted:
        assert after.users[account.user] == {role.name for role in account.roles}
        for role in account.roles:
            assert after.roles[role.name] == frozenset(role.permissions)
    mentioned = {account.user for account in wanted} | {role.name for account in wanted for role in account.roles}
    for name in {"other", "root"} - mentioned:
        assert after.roles.get(name) == found.roles.get(name)
        assert (name in after.users) == (name in found.users)
