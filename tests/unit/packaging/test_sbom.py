"""The bill of materials of the Debian package, from the lock that it is built with."""

from __future__ import annotations

import importlib.util
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

import pytest

SBOM = Path(__file__).resolve().parents[3] / "packaging" / "deb" / "sbom"
LOCKED = """\
# made by uv
zeta==2.0 \\
    --hash=sha256:bb \\
    --hash=sha256:aa
    # via calico-network
A_b==1.0 ; python_full_version < '3.12' \\
    --hash=sha512:cc
"""


@pytest.fixture(scope="module")
def sbom() -> ModuleType:
    loader = SourceFileLoader("calico_sbom", str(SBOM))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    made = importlib.util.module_from_spec(spec)
    loader.exec_module(made)
    return made


def test_every_pin_is_a_component_with_all_its_hashes(sbom: ModuleType) -> None:
    first, second = sbom.components(LOCKED)
    assert (first["purl"], first["hashes"]) == ("pkg:pypi/a-b@1.0", [{"alg": "SHA-512", "content": "cc"}])
    assert (second["name"], second["version"]) == ("zeta", "2.0")
    assert [part["content"] for part in second["hashes"]] == ["aa", "bb"]


def test_a_pin_without_a_hash_is_refused(sbom: ModuleType) -> None:
    with pytest.raises(ValueError, match=r"zeta 2\.0 has no hash"):
        sbom.components("zeta==2.0\nother==1 --hash=sha256:aa\n")


def test_the_same_lock_is_the_same_bill_and_another_is_another(sbom: ModuleType) -> None:
    assert sbom.bill("1", LOCKED) == sbom.bill("1", LOCKED)
    names = {
        sbom.bill(version, text)["serialNumber"]
        for version in "12"
        for text in (LOCKED, LOCKED + "c==1 --hash=sha256:dd")
    }
    assert len(names) == 4
