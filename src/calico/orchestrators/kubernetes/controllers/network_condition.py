"""What hosts report comes back to Kubernetes: the condition NetworkUnavailable of each node, and an Event on each pod
whose endpoint cannot be programmed.

Felix says that it runs by a leased key, the BGP agent by answering a CalicoNodeStatus that is asked of each node with
BGP. A node that reports no more is unavailable, so that no pod is scheduled there.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from calico.datastore.typed.store import Store
from calico.errors import AlreadyExists, InvalidInput, NotFound
from calico.model.codec import decode
from calico.model.keys import kind_prefix, parse_key
from calico.model.meta import Metadata
from calico.model.node import Node
from calico.model.nodestatus import CalicoNodeStatus, CalicoNodeStatusSpec
from calico.obs.logger import Logger
from calico.orchestrators.kubernetes.api.client import Client
from calico.orchestrators.kubernetes.api.events import Reporter
from calico.orchestrators.kubernetes.api.informer import Key
from calico.orchestrators.kubernetes.controllers.node_settings import kubernetes_name
from calico.orchestrators.kubernetes.controllers.rounds import Rounds

__all__ = ["PERIOD_S", "NetworkCondition", "Seen", "Verdict", "condition_patch", "judge", "read_endpoint_status"]

log = Logger(__name__)

PERIOD_S: Final = 30
_SILENT_S: Final = 100.0
_REPORTS: Final = "/calico/felix/v2/no-region/host/"
_KEY: Final = re.compile(
    r"(?P<host>[^/]+)/(?:(?P<what>status|last_reported_status)|workload/k8s/(?P<pod>[^/]+)/endpoint/(?P<ep>[^/]+))"
)
_STATUSES: Final = "kubernetes-"


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What a host reports: Felix (now; ever), and BIRD by family (``Ready``, ``NotReady``, or nothing said); ``silent``
    when the BGP agent answered once and no more."""

    felix: bool = False
    felix_ever: bool = False
    bird: tuple[str, str] = ("", "")
    silent: bool = False


class Verdict(msgspec.Struct, frozen=True):
    """What the node's condition should say."""

    unavailable: bool
    reason: str
    message: str


def judge(seen: Seen) -> Verdict | None:
    """None: nothing is known, and what the condition says stays. Pure."""
    if not seen.felix:
        if not seen.felix_ever:
            return None
        return Verdict(True, "FelixNotReporting", "Felix does not report: it, its host, or its way to etcd is down")
    if seen.silent:
        return Verdict(True, "BGPAgentNotReporting", "the BGP agent does not answer any more")
    down = [family for family, state in zip(("IPv4", "IPv6"), seen.bird, strict=True) if state == "NotReady"]
    if down:
        return Verdict(True, "BIRDNotReady", f"BIRD for {' and '.join(down)} is not ready")
    message = "Felix and BIRD are running on this node" if any(seen.bird) else "Felix is running on this node"
    return Verdict(False, "CalicoIsUp", message)


def condition_patch(node: Mapping[str, Any], verdict: Verdict, now: str) -> dict[str, Any] | None:
    """The strategic merge patch of a node's status; None when it says so already. Pure."""
    there: Mapping[str, Any] = next(
        (one for one in (node.get("status") or {}).get("conditions") or () if one["type"] == "NetworkUnavailable"), {}
    )
    entry = {"status": str(verdict.unavailable), "reason": verdict.reason, "message": verdict.message}
    if all(there.get(key) == value for key, value in entry.items()):
        return None
    since = there.get("lastTransitionTime") if there.get("status") == entry["status"] else None
    times = {"lastTransitionTime": since or now, "lastHeartbeatTime": now}
    return {"status": {"conditions": [{"type": "NetworkUnavailable", **entry, **times}]}}


class _Told(msgspec.Struct):
    status: str = ""
    reasons: tuple[str, ...] = ()


def read_endpoint_status(value: bytes) -> tuple[str, ...] | None:
    """Why an endpoint is in error; None when it is not. Pure."""
    try:
        told = msgspec.json.decode(value, type=_Told)
    except msgspec.MsgspecError:
        return None
    return told.reasons or ("no reason was told",) if told.status == "error" else None


class NetworkCondition(Rounds):
    """Conditions are written when they differ; an Event when an endpoint's reasons are new."""

    def __init__(
        self,
        client: Client,
        store: Store,
        reporter: Reporter,
        *,
        ask_every_s: int = PERIOD_S,
        silent_s: float = _SILENT_S,
        **options: Any,
    ) -> None:
        """``ask_every_s``: how often a BGP agent is to answer; ``silent_s``: without an answer it is taken for dead."""
        self._answers = kind_prefix("CalicoNodeStatus")
        options = {"period_s": 30.0} | options
        prefixes = [_REPORTS, self._answers, kind_prefix("Node")]
        super().__init__("networkcondition", store, prefixes=prefixes, **options)
        self._client, self._reporter = client, reporter
        self._ask_every_s, self._silent_s = ask_every_s, silent_s
        self._nodes = self.follow(client, "/api/v1/nodes", keep=_node)
        self._pods = self.follow(client, "/api/v1/pods", keep=_pod)
        self._felix: set[str] = set()
        self._felix_ever: set[str] = set()
        self._bird: dict[str, tuple[CalicoNodeStatus, float]] = {}
        self._errors: dict[tuple[str, Key], tuple[str, ...]] = {}
        self._warned: dict[tuple[str, Key], tuple[str, ...]] = {}
        self._clock = asyncio.get_running_loop().time

    # ---- what hosts say

    def on_listed(self, prefix: str, values: dict[str, bytes]) -> None:
        if prefix == _REPORTS:
            self._felix, self._felix_ever, self._errors = set(), set(), {}
        elif prefix == self._answers:
            there = {key.rpartition("/")[2] for key in values}
            self._bird = {node: said for node, said in self._bird.items() if f"{_STATUSES}{node}" in there}
        for key, value in values.items():
            self.on_stored(prefix, key, value)

    def on_stored(self, prefix: str, key: str, value: bytes | None) -> bool:
        if prefix == _REPORTS:
            return self._on_report(key.removeprefix(prefix), value)
        if prefix == self._answers:
            return self._on_answer(key, value)
        return True

    def _on_report(self, rest: str, value: bytes | None) -> bool:
        match = _KEY.fullmatch(rest)
        if match is None:
            return False
        host = match["host"]
        if match["what"]:
            known = self._felix if match["what"] == "status" else self._felix_ever
            before = host in known
            (known.discard if value is None else known.add)(host)
            return before != (value is not None)
        namespace, _, name = match["pod"].replace("%2f", "/").replace("%25", "%").partition("/")
        pod = (host, (namespace, name))
        reasons = read_endpoint_status(value) if value is not None else None
        before_reasons = self._errors.pop(pod, None)
        if reasons is not None:
            self._errors[pod] = reasons
        return reasons != before_reasons

    def _on_answer(self, key: str, value: bytes | None) -> bool:
        parsed = parse_key(key)
        if parsed is None or not parsed.name.startswith(_STATUSES):
            return False
        node = parsed.name.removeprefix(_STATUSES)
        found = decode(parsed, value).resource if value is not None else None
        if not isinstance(found, CalicoNodeStatus):
            return self._bird.pop(node, None) is not None
        before = self._bird.get(node)
        self._bird[node] = (found, self._clock())
        return before is None or _states(before[0]) != _states(found)

    # ---- what is said to Kubernetes

    async def look(self) -> None:
        nodes = [node for node in await self._store.list("Node") if isinstance(node, Node) and kubernetes_name(node)]
        await self._ask({node.metadata.name for node in nodes if node.spec.bgp is not None})
        for node in nodes:
            found = self._nodes.objects.get(("", kubernetes_name(node)))
            verdict = judge(self._seen(node.metadata.name))
            patch = condition_patch(found, verdict, _now()) if found is not None and verdict is not None else None
            if patch is not None:
                await self._tell(kubernetes_name(node), patch)
        self._warn()

    def _seen(self, node: str) -> Seen:
        bird: tuple[str, str] = ("", "")
        silent = False
        if node in self._bird and (answer := self._bird[node])[0].status.last_updated is not None:
            bird = _states(answer[0])
            silent = self._clock() - answer[1] > self._silent_s
        felix = node in self._felix
        return Seen(felix=felix, felix_ever=felix or node in self._felix_ever, bird=bird, silent=silent)

    async def _tell(self, name: str, patch: dict[str, Any]) -> None:
        try:
            await self._client.patch(f"/api/v1/nodes/{name}/status", patch, kind="strategic")
            log.info("kubernetes_node_condition", node=name, **patch["status"]["conditions"][0])
        except NotFound:
            return
        except InvalidInput as error:
            log.warning("kubernetes_node_condition_refused", node=name, reason=str(error))

    def _warn(self) -> None:
        for pod, reasons in self._errors.items():
            found = self._pods.objects.get(pod[1])
            if found is not None and self._warned.get(pod) != reasons:
                self._warned[pod] = reasons
                message = f"its network on node {pod[0]} cannot be programmed: {'; '.join(reasons)}"
                self._reporter.warn(found, "NetworkNotProgrammed", message)
        self._warned = {pod: reasons for pod, reasons in self._warned.items() if pod in self._errors}

    async def _ask(self, nodes: set[str]) -> None:
        """A question to the BGP agent of each node, and none to those that went."""
        for node in nodes - self._bird.keys():
            spec = CalicoNodeStatusSpec(node=node, classes=("Agent",), update_period_seconds=self._ask_every_s)
            metadata = Metadata(name=f"{_STATUSES}{node}")
            try:
                await self._store.create(CalicoNodeStatus(kind="CalicoNodeStatus", metadata=metadata, spec=spec))
            except AlreadyExists:
                continue
        for node in self._bird.keys() - nodes:
            try:
                await self._store.delete("CalicoNodeStatus", f"{_STATUSES}{node}")
            except NotFound:
                self._bird.pop(node, None)


def _states(answer: CalicoNodeStatus) -> tuple[str, str]:
    agent = answer.status.agent
    return (agent.bird_v4.state, agent.bird_v6.state) if agent is not None else ("", "")


def _node(node: dict[str, Any]) -> dict[str, Any]:
    conditions = (node.get("status") or {}).get("conditions") or ()
    kept = [one for one in conditions if one.get("type") == "NetworkUnavailable"]
    for one in kept:
        one.pop("lastHeartbeatTime", None)
    return {"metadata": {"name": node["metadata"]["name"]}, "status": {"conditions": kept}}


def _pod(pod: dict[str, Any]) -> dict[str, Any]:
    metadata = {name: pod["metadata"].get(name) for name in ("name", "namespace", "uid")}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata}


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
