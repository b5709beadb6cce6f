"""``calico datastore status``: the members of etcd, the cluster in it, and how much there is."""

from __future__ import annotations

from typing import Any

import click

from calico.cli.datastore.group import config_option, show, with_store
from calico.cli.output.printing import print_data, print_table, safe
from calico.datastore.etcd.backend import EtcdBackend, MemberStatus
from calico.datastore.sync.plausibility import CLUSTER_INFO_KEY, cluster_facts, not_ready
from calico.datastore.typed.store import Store
from calico.errors import CalicoError, InvalidInput
from calico.model.keys import RESOURCE_PREFIX, ROOT
from calico.model.kinds import KINDS

__all__ = ["status_command"]

_OTHERS = {
    "resources of all kinds": RESOURCE_PREFIX,
    "IPAM": f"{ROOT}ipam/",
    "status of hosts": f"{ROOT}felix/",
    "subnets": f"{ROOT}dhcp/",
    "secrets": f"{ROOT}bgp/v1/secrets/",
    "all": ROOT,
}


@click.command("status")
@click.option("-o", "--output", type=click.Choice(["table", "json", "yaml"]), default="table", help="What to print.")
@config_option
def status_command(output: str, config: str | None) -> None:
    """Show each endpoint of etcd, the leader, whether the datastore is ready, and how much it holds.

    Exit code 1 when an endpoint does not answer, none is the leader's, an alarm holds, or the datastore is not ready.
    """
    document = with_store(config, _document)
    if output == "table":
        _print(document)
    else:
        print_data(document, output)
    if document["problems"]:
        raise click.exceptions.Exit(1)


async def _document(store: Store) -> dict[str, Any]:
    backend = store.backend
    assert isinstance(backend, EtcdBackend)
    members = await backend.members()
    problems = [f"{member.endpoint}: {member.error}" for member in members if member.error]
    problems += [f"{member.endpoint}: alarm: {alarm}" for member in members for alarm in member.alarms]
    if len({member.cluster_id for member in members if not member.error}) > 1:
        problems.append("the endpoints belong to different clusters")
    cluster: dict[str, Any] = {}
    counts: dict[str, int | None] = {}
    try:
        cluster = await _cluster(backend)
        problems += [cluster["reason"]] if cluster["reason"] else []
        prefixes = {info.plural: f"{RESOURCE_PREFIX}{info.plural}/" for info in KINDS} | _OTHERS
        counts = {name: await _count(backend, prefix) for name, prefix in prefixes.items()}
    except CalicoError as error:
        problems.append(str(error))
    return {
        "members": [_member(member) for member in members],
        "cluster": cluster,
        "keys": {name: count for name, count in counts.items() if count != 0},
        "problems": problems,
    }


async def _cluster(backend: EtcdBackend) -> dict[str, Any]:
    kv = await backend.get(CLUSTER_INFO_KEY)
    facts = cluster_facts(kv.value) if kv is not None else None
    revision, cluster_id = await backend.revision()
    return {
        "etcd": f"{cluster_id:x}",
        "revision": revision,
        "clusterGUID": facts.guid if facts is not None else "",
        "ready": facts is not None and facts.ready,
        "reason": not_ready(facts),
    }


async def _count(backend: EtcdBackend, prefix: str) -> int | None:
    """None where our etcd user may not look."""
    try:
        return await backend.count(prefix)
    except InvalidInput:
        return None


def _member(member: MemberStatus) -> dict[str, Any]:
    return {
        "endpoint": member.endpoint,
        "version": member.version,
        "member": f"{member.member_id:x}" if member.member_id else "",
        "leader": bool(member.member_id) and member.member_id == member.leader,
        "term": member.raft_term,
        "revision": member.revision,
        "bytes": member.db_size,
        "bytesInUse": member.db_size_in_use,
        "alarms": list(member.alarms),
        "error": member.error,
    }


def _print(document: dict[str, Any]) -> None:
    titles = ("ENDPOINT", "VERSION", "MEMBER", "ROLE", "REVISION", "SIZE", "IN USE")
    rows = []
    for item in document["members"]:
        role = "unreachable" if item["error"] else "leader" if item["leader"] else "follower"
        sizes = _size(item["bytes"]), _size(item["bytesInUse"])
        rows.append([item["endpoint"], item["version"], item["member"], role, item["revision"], *sizes])
    print_table(titles, rows)
    cluster = document["cluster"]
    if cluster:
        click.echo()
        click.echo(f"Cluster     {safe(cluster['clusterGUID']) or '(none)'}, etcd {cluster['etcd']}")
        click.echo(f"Ready       {'yes' if cluster['ready'] else 'no'}")
    if document["keys"]:
        known = [[name, "(no right to look)" if count is None else count] for name, count in document["keys"].items()]
        show(("WHAT", "KEYS"), known)
    if document["problems"]:
        show(("WHAT IS WRONG",), [[problem] for problem in document["problems"]])


def _size(number: int) -> str:
    return f"{number / 1_000_000:.1f} MB"
