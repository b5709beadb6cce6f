"""The shim: how little it imports, and what it says without a daemon."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
from pathlib import Path

import pytest

from calico.orchestrators.cni.protocol.request import VERSIONS
from calico.orchestrators.cni.serving.daemon import DEFAULT_SOCKET
from calico.orchestrators.cni.serving.frames import encode_answer, parse_question
from calico.orchestrators.cni.serving.install import shim_text
from calico.orchestrators.cni.shim import calico as shim

PYTHON = Path("/usr/bin/python3")
pytestmark = pytest.mark.skipif(not PYTHON.exists(), reason="the shim is for Debian's own Python")


def run(tmp_path: Path, stdin: bytes = b"", **environment: str) -> subprocess.CompletedProcess[bytes]:
    script = tmp_path / "calico"
    script.write_text(shim_text(str(tmp_path / "nobody.sock")))
    script.chmod(0o755)
    return subprocess.run([str(script)], input=stdin, capture_output=True, check=False, env=environment, timeout=30)


def imported(*arguments: str) -> set[str]:
    """The modules that a program imports, by the interpreter's own account."""
    command = [str(PYTHON), "-IS", "-X", "importtime", *arguments]
    done = subprocess.run(command, input=b"{}", capture_output=True, check=False, env={"CNI_COMMAND": "ADD"})
    lines = [line for line in done.stderr.decode().splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip() for line in lines}


def test_the_shim_imports_only_what_is_part_of_the_interpreter() -> None:
    """Each further import costs every container a millisecond or more."""
    assert imported(shim.__file__) - imported("-c", "pass") == {"_socket"}


def test_the_shim_knows_the_versions_and_the_socket() -> None:
    assert json.loads(shim.VERSIONS) == list(VERSIONS)
    assert shim.SOCKET == DEFAULT_SOCKET
    assert shim_text("/run/x.sock").count("/run/x.sock") == 1


@pytest.mark.parametrize(("command", "code"), [("ADD", 11), ("DEL", 11), ("CHECK", 11), ("GC", 11), ("STATUS", 50)])
def test_without_a_daemon_nothing_succeeds(tmp_path: Path, command: str, code: int) -> None:
    done = run(tmp_path, b'{ "cniVersion" : "0.4.0", "name": "net"}', CNI_COMMAND=command)
    error = json.loads(done.stdout)
    assert (done.returncode, error["code"], error["cniVersion"]) == (1, code, "0.4.0")
    assert "calico cni-daemon does not answer" in error["msg"]


def test_without_a_daemon_the_version_is_told_and_a_person_is_told_what_this_is(tmp_path: Path) -> None:
    version = run(tmp_path, b"{}", CNI_COMMAND="VERSION")
    assert json.loads(version.stdout)["supportedVersions"] == list(VERSIONS)
    about = run(tmp_path)
    assert (about.returncode, about.stdout) == (0, b"")
    assert b"CNI plugin calico of Calico" in about.stderr


@pytest.mark.parametrize("stdin", [b"", b"{}", b'{"cniVersion": 5}', b'{"cniVersion":"9.9.9"}', b'"cniVersion" "a"'])
def test_whatever_the_configuration_is_the_error_is_json(tmp_path: Path, stdin: bytes) -> None:
    assert json.loads(run(tmp_path, stdin, CNI_COMMAND="ADD").stdout)["cniVersion"] in VERSIONS


def test_a_path_that_is_a_pipe_holds_nothing_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "netns")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(tmp_path / "nobody.sock"))
    listener.listen()

    def serve() -> None:
        connection, _ = listener.accept()
        question = b""
        while parse_question(question) is None:
            question += connection.recv(65536)
        connection.sendall(encode_answer(1, b"{}"))
        connection.close()

    server = threading.Thread(target=serve, daemon=True)
    server.start()
    done = run(tmp_path, b"", CNI_COMMAND="ADD", CNI_NETNS=str(tmp_path / "netns"))
    assert (done.returncode, done.stdout) == (1, b"{}")
    server.join()
    listener.close()
