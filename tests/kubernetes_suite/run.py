"""Kubernetes' own NetworkPolicy tests (e2e.test 1.20.2) on two nodes: containerd, kubelet, kube-proxy, Felix, our CNI.

Run as a program by ``make kubernetes-e2e``; the result is printed and kept in bench/results/kubernetes-e2e.json. Ends
with 1 when a test failed or none ran.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as Xml
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cluster.binaries import kubernetes_binaries
from cluster.network import Network
from cluster.whole import whole_cluster

LAB = "kubernetese2e"
SKIPPED = (
    "SCTP"  # the kernel's own sockets, which not every machine has; packets of SCTP are in tests/system/kubernetes
)
RESULT = Path(__file__).resolve().parents[2] / "bench" / "results" / "kubernetes-e2e.json"


def main() -> int:
    focus = sys.argv[1] if len(sys.argv) > 1 and sys.argv[1] else "NetworkPolicy"
    binaries = kubernetes_binaries(suite=True)
    with (
        tempfile.TemporaryDirectory(prefix="ke2e", ignore_cleanup_errors=True) as folder,
        whole_cluster(LAB) as network,
    ):
        print("the nodes are ready", flush=True)
        started = time.monotonic()
        code = run_suite(network, binaries, Path(folder), focus)
        return report(Path(folder), code, time.monotonic() - started)


def run_suite(network: Network, binaries: Path, folder: Path, focus: str) -> int:
    """The exit code of ginkgo; most of a test is waiting for packets that must not come, so many run at once."""
    command = [
        *network.plane.enter, str(binaries / "ginkgo"), "-nodes=8", "-noColor", "-focus", focus, "-skip", SKIPPED,
        str(binaries / "e2e.test"), "--", "--kubeconfig", network.plane.kubeconfig("admin"), "--provider=skeleton",
        "--num-nodes=2", "--report-dir", str(folder), "--disable-log-dump", f"--kubectl-path={binaries}/kubectl",
    ]  # fmt: skip
    log = RESULT.with_suffix(".log")
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as output:
        done = subprocess.run(command, stdout=output, stderr=output, check=False, env={**os.environ, "HOME": "/root"})
    print(f"the whole log is {log}")
    return done.returncode


def report(folder: Path, code: int, took_s: float) -> int:
    """Keeps and prints what each test came to."""
    results: dict[str, str] = {}
    for path in sorted(folder.glob("junit_*.xml")):
        for case in Xml.parse(path).getroot().iter("testcase"):
            if case.find("skipped") is None:
                results[str(case.get("name"))] = "failed" if case.find("failure") is not None else "passed"
    failed = sorted(name for name, result in results.items() if result == "failed")
    summary = {"passed": len(results) - len(failed), "failed": len(failed), "seconds": round(took_s)}
    RESULT.write_text(json.dumps({**summary, "tests": dict(sorted(results.items()))}, indent=1))
    for name in failed:
        print(f"FAILED {name}")
    print(f"{summary['passed']} passed, {summary['failed']} failed in {summary['seconds']} s")
    return 1 if failed or code or not results else 0


if __name__ == "__main__":
    sys.exit(main())
