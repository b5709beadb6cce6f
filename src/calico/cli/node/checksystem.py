"""``calico node checksystem``: whether this host can run Calico."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from typing import TYPE_CHECKING

import click
import msgspec

from calico.cli.options import data_output_option
from calico.cli.output.printing import print_data, print_table

if TYPE_CHECKING:
    from calico.dataplane.kernelcheck import Feature

__all__ = ["checksystem"]


@click.command()
@data_output_option
def checksystem(output: str) -> None:
    """Try out what Calico needs of this kernel, in a network namespace made for that, and look for its programs.

    Needs root. Exit code 1 when something is missing that is needed.
    """
    from calico.dataplane.kernelcheck import check_kernel
    from calico.errors import InvalidInput

    if os.geteuid() != 0:
        raise InvalidInput("needs root: only root may try out what the kernel can do")
    features = [*check_kernel(), *_programs()]
    missing = [feature.name for feature in features if feature.required and not feature.present]
    if output == "table":
        click.echo(f"Kernel {platform.release()}, {platform.machine()}\n")
        rows = [[feature.name, _state(feature), feature.purpose, feature.remark] for feature in features]
        print_table(["FEATURE", "STATE", "NEEDED FOR", "REMARK"], rows)
        click.echo(f"\n{'This host lacks: ' + ', '.join(missing) if missing else 'This host can run Calico'}")
    else:
        document = {"kernel": platform.release(), "ready": not missing, "features": msgspec.to_builtins(features)}
        print_data(document, output)
    if missing:
        raise click.exceptions.Exit(1)


def _state(feature: Feature) -> str:
    if feature.present:
        return "ok"
    return "MISSING" if feature.required else "missing, optional"


def _programs() -> list[Feature]:
    from calico.dataplane.kernelcheck import Feature

    bird = shutil.which("bird") or shutil.which("bird", path="/usr/sbin:/sbin")
    version = ""
    if bird:
        done = subprocess.run([bird, "--version"], capture_output=True, text=True, check=False, timeout=10)
        version = (done.stderr or done.stdout).strip()
    fine = " version 2" in version or " version 3" in version
    remark = version or "apt-get install bird2"
    return [Feature("BIRD 2", fine, False, "routes between hosts, unless others bring them (--backend none)", remark)]
