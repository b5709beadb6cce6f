"""Where Kubernetes' own programs are: built once for all by packaging/kubernetes/build, outside of the checkout."""

from __future__ import annotations

import os
import subprocess
from functools import cache
from pathlib import Path

import pytest

__all__ = ["kubernetes_binaries"]

_BUILD = Path(__file__).resolve().parents[2] / "packaging" / "kubernetes" / "build"
_REFUSED = "CALICO_NO_KUBERNETES_BUILD"


@cache
def kubernetes_binaries(*, suite: bool = False) -> Path:
    """The folder of kube-apiserver and the others, with e2e.test if ``suite``; built where it is missing (12 minutes).

    Skips the test where it is missing and may not be built.
    """
    folder = Path(_ask("--where"))
    if all((folder / mark).exists() for mark in (".servers", ".node", *([".suite"] if suite else []))):
        return folder
    if os.environ.get(_REFUSED) == "1":
        pytest.skip(f"NOT TESTED with a real Kubernetes: {folder} is missing, and {_REFUSED}=1 forbids to build it")
    return Path(_ask(*(["e2e"] if suite else [])))


def _ask(*arguments: str) -> str:
    done = subprocess.run([_BUILD, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.fail(f"packaging/kubernetes/build fails: {done.stderr[-3000:]}", pytrace=False)
    return done.stdout.strip()
