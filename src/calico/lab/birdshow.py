"""Asking a BIRD of the lab one question over its control socket."""

from __future__ import annotations

import re
import socket

from calico.errors import Transient

__all__ = ["ask_bird"]

_TIMEOUT_S = 2.0
_END = re.compile(rb"^(\d{4}) [^\n]*\n\Z", re.MULTILINE)


def ask_bird(control_socket: str, command: str) -> list[str]:
    """The lines of the answer without BIRD's codes; Transient when it does not answer or refuses the command."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(_TIMEOUT_S)
        try:
            sock.connect(control_socket)
            _read(sock)  # the greeting
            sock.sendall(f"{command}\n".encode())
            answer = _read(sock)
        except OSError as error:
            raise Transient(f"BIRD does not answer at {control_socket}: {error}") from error
    lines = answer.decode(errors="replace").splitlines()
    code = lines[-1][:4] if lines else "9000"
    if code[0] in "89":
        raise Transient(f"BIRD refuses {command!r}: {lines[-1][5:]}")
    return [text for line in lines if (text := re.sub(r"^(\d{4}[- ]| )", "", line).rstrip())]


def _read(sock: socket.socket) -> bytes:
    """Up to a line whose code is followed by a blank: the last one of an answer."""
    data = b""
    while not _END.search(data):
        chunk = sock.recv(65536)
        if not chunk:
            raise ConnectionResetError("the connection was closed")
        data += chunk
    return data
