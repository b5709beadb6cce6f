"""What every test may rely on: a test whose privilege or program is missing is skipped with the reason printed."""

import os
import shutil

import pytest


def _missing(item: pytest.Item) -> str | None:
    needs_root = any(item.get_closest_marker(name) for name in ("root", "lab"))
    if needs_root and os.geteuid() != 0:
        return "needs root with CAP_NET_ADMIN"
    for marker, programs in {"etcd": ("etcd",), "bird": ("bird",), "lab": ("etcd", "bird", "nsenter")}.items():
        if item.get_closest_marker(marker):
            for program in programs:
                if shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin") is None:
                    return f"needs the program {program}"
    return None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        reason = _missing(item)
        if reason:
            item.add_marker(pytest.mark.skip(reason=reason))
