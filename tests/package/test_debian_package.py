"""The Debian package on a Debian that is made for it and thrown away; `make deb` runs this."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

_IN_OVERLAY = """\
set -e
package=$1 base=$2 root=$2/root
mount -t tmpfs tmpfs "$base"
mkdir "$base/upper" "$base/work" "$root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$base/upper,workdir=$base/work" "$root"
cp "$package" "$root/tmp/it.deb"
run() { chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin unshare -n "$@"; }
left() { for path in "$@"; do if [ -e "$root$path" ]; then printf '%s ' "$path"; fi; done; }
run dpkg -i --force-depends /tmp/it.deb
echo "VERSION $(run calico version --client | tr '\\n' ' ')"
echo "ENV $(stat -c '%a' $root/etc/calico/calico.env) $(grep NODENAME $root/etc/calico/calico.env)"
echo "SECRETS $(stat -c '%a %U' $root/etc/calico/bgp-secrets)"
echo "NODENAME=mine" >"$root/etc/calico/calico.env"
run dpkg -i --force-depends /tmp/it.deb
echo "KEPT $(cat $root/etc/calico/calico.env)"
run calico felix config --help >/dev/null
run dpkg --remove --force-depends calico-network
echo "REMOVED $(left /usr/bin/calico /opt/calico /etc/calico/calico.env /lib/systemd/system/calico-felix.service)"
run dpkg --purge calico-network
echo "PURGED $(left /etc/calico /var/lib/calico)"
"""


@pytest.mark.root
@pytest.mark.skipif("PACKAGE" not in os.environ, reason="`make deb` builds the package and says which it is")
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount the Debian that the package is installed on")
def test_the_package_installs_without_a_network_upgrades_and_goes(tmp_path: Path) -> None:
    package = os.environ["PACKAGE"]
    stage = tmp_path / "stage"
    stage.mkdir()
    trial = subprocess.run(["unshare", "-m", "mount", "-t", "overlay", "overlay", "-o",
                            f"lowerdir=/,upperdir={stage},workdir={stage}", str(stage)],
                           capture_output=True, text=True, check=False)  # fmt: skip
    if "permission denied" in trial.stderr or "unknown filesystem" in trial.stderr:
        pytest.skip(f"needs overlay mounts: {trial.stderr.strip()}")
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", _IN_OVERLAY, "sh", package, str(stage)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    said = dict(line.split(" ", 1) for line in done.stdout.splitlines() if line.split(" ", 1)[0].isupper())
    assert "0.1.0" in said["VERSION"]
    assert said["ENV"].startswith("640 NODENAME=")
    assert said["SECRETS"] == "700 root"
    assert said["KEPT"] == "NODENAME=mine"
    assert said["REMOVED"].split() == ["/etc/calico/calico.env"]
    assert said["PURGED"] == ""


@pytest.mark.skipif("PACKAGE" not in os.environ, reason="`make deb` builds the package and says which it is")
def test_the_same_sources_give_the_same_bytes(tmp_path: Path) -> None:
    package = Path(os.environ["PACKAGE"]).resolve()
    root = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "TZ": "Asia/Tokyo", "LC_ALL": "C"}
    subprocess.run(
        [root / "packaging" / "deb" / "build", os.environ.get("VIRTUAL_ENV", root / ".venv"), tmp_path],
        check=True,
        env=environment,
    )
    (again,) = tmp_path.glob("*.deb")
    assert again.read_bytes() == package.read_bytes()


@pytest.mark.skipif("PACKAGE" not in os.environ, reason="`make deb` builds the package and says which it is")
def test_the_bill_of_materials_names_everything_that_is_inside(tmp_path: Path) -> None:
    subprocess.run(["dpkg-deb", "-x", os.environ["PACKAGE"], tmp_path], check=True)
    bill = json.loads((tmp_path / "usr/share/doc/calico-network/sbom.cdx.json").read_text())
    said = {(part["name"].lower().replace("_", "-"), part["version"]) for part in bill["components"]}
    infos = [path.name.removesuffix(".dist-info") for path in tmp_path.glob("opt/calico/lib/python3.*/*/*.dist-info")]
    inside = {
        (name.lower().replace("_", "-"), version) for name, _, version in (info.rpartition("-") for info in infos)
    }
    assert inside - {("calico-network", bill["metadata"]["component"]["version"])} <= said
    assert len(inside) > 10
