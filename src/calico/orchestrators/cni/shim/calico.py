#!/usr/bin/python3 -IS
"""The CNI plugins ``calico`` and ``calico-ipam``: hands a call to the host's ``calico cni-daemon``, prints its answer.

Starts once per container and command, so it imports only what is part of the interpreter. ``calico cni install``
writes the path of the socket below.
"""

import _socket
import posix
import sys

SOCKET = "/run/calico/cni.sock"
TIMEOUT_S = 120
MAGIC = b"calico-cni 1 "
VERSIONS = b'["0.1.0","0.2.0","0.3.0","0.3.1","0.4.0","1.0.0","1.1.0"]'


def main() -> int:
    """The exit code. What needs no host is answered here."""
    environment = [(k, v) for k, v in posix.environ.items() if k[:4] == b"CNI_"]
    command = dict(environment).get(b"CNI_COMMAND", b"")
    plugin = sys.argv[0].rpartition("/")[2].encode()
    if not command:
        posix.write(2, b"CNI plugin " + plugin + b" of Calico; CNI versions: " + VERSIONS + b"\n")
        return 0
    if command == b"VERSION":
        return answer(0, b'{"cniVersion":"1.1.0","supportedVersions":' + VERSIONS + b"}")
    stdin = read_all()
    try:
        code, out = ask(plugin, environment, stdin)
    except OSError as error:
        reason = f"calico cni-daemon does not answer at {SOCKET}: {error.strerror or error}"
        return answer(1, error_object(50 if command == b"STATUS" else 11, reason, stdin))
    return answer(code, out)


def ask(plugin: bytes, environment: list[tuple[bytes, bytes]], stdin: bytes) -> tuple[int, bytes]:
    """Exit code and output; OSError when there is no whole answer, for then nothing is known to have succeeded."""
    body = b"\0".join(k + b"=" + v for k, v in environment)
    header = b"%s%s %d %d %d\n" % (MAGIC, plugin, posix.stat("/proc/self/ns/net").st_ino, len(body), len(stdin))
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    sock.settimeout(TIMEOUT_S)
    sock.connect(SOCKET)
    netns = open_netns(dict(environment).get(b"CNI_NETNS", b""))
    sent = 0
    if netns >= 0:
        rights = netns.to_bytes(4, sys.byteorder)
        sent = sock.sendmsg([header], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)])
    sock.sendall(header[sent:] + body + stdin)
    data = b""
    while part := sock.recv(65536):
        data += part
    line, newline, out = data.partition(b"\n")
    words = line[len(MAGIC) :].split()
    if line[: len(MAGIC)] != MAGIC or not newline or len(words) != 2 or len(out) != int(words[1]):
        raise OSError(0, "its answer was cut off")
    return int(words[0]), out


def open_netns(path: bytes) -> int:
    """The container's namespace as the runtime's file system names it; -1 when it is gone."""
    if not path:
        return -1
    try:
        return posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NONBLOCK)
    except OSError:
        return -1


def read_all() -> bytes:
    """Standard input."""
    data = b""
    while part := posix.read(0, 65536):
        data += part
    return data


def error_object(code: int, message: str, stdin: bytes) -> bytes:
    """The specification's error, in the version asked for."""
    quoted = message.encode().replace(b"\\", b"\\\\").replace(b'"', b"'")
    return b'{"cniVersion":"%s","code":%d,"msg":"%s"}' % (asked_version(stdin), code, quoted)


def asked_version(stdin: bytes) -> bytes:
    """What follows the first ``"cniVersion"``, if that is a version."""
    words = stdin.partition(b'"cniVersion"')[2].split(b'"', 2)
    version = words[1] if len(words) == 3 else b""
    return version if b'"%s"' % version in VERSIONS else b"1.1.0"


def answer(code: int, out: bytes) -> int:
    """Print all of it."""
    while out:
        out = out[posix.write(1, out) :]
    return code


if __name__ == "__main__":
    posix._exit(main())
