"""What a caller of the daemon cannot do to it."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path
from typing import cast

import pytest

from calico.orchestrators.cni.commands.agent import Agent
from calico.orchestrators.cni.serving import daemon


@pytest.mark.root
async def test_a_caller_that_does_not_read_its_answer_is_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root is served")
    monkeypatch.setattr(daemon, "_WRITE_S", 0.1)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    body = b"CNI_COMMAND=DEL\0CNI_IFNAME=eth0\0CNI_PATH=/x\0CNI_CONTAINERID=" + b"/" * 1_000_000
    header = b"calico-cni 1 calico %d %d 0\n" % (os.stat("/proc/self/ns/net").st_ino, len(body))
    server = daemon._Server(cast("Agent", None), str(tmp_path / "cni.sock"))  # the question is wrong: nobody is asked
    serving = asyncio.create_task(server._serve(ours))
    theirs.setblocking(False)
    await asyncio.get_running_loop().sock_sendall(theirs, header + body)
    async with asyncio.timeout(30):
        await serving
    assert ours.fileno() < 0
    theirs.close()
