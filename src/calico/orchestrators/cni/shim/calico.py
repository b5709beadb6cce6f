#!/usr/bin/python3 -IS
"""The CNI plugins ``calico`` and ``calico-ipam``: hands the call to this host's ``calico cni-daemon`` and prints its answer.

Starts once per container and command, so it imports only what is part of the interpreter. ``calico cni install`` writes
the path of the socket below.
"""

import posix
import sys

import _socket

SOCKET = "/run/calico/cni.sock"
TIMEOUT_S = 120
MAGIC = b"calico-cni 1 "
VERSIONS = b'["0.1.0","0.2.0","0.3.0","0.3.1","0.4.0","1.0.0","1.1.0"]'


def main():
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
        status = command == b"STATUS"
        reason = "the daemon `calico cni-daemon` does not answer at %s: %s" % (SOCKET, error.strerror or error)
        return answer(1, error_object(50 if status else 11, reason, stdin))
    return answer(code, out)


def ask(plugin, environment, stdin):
    body = b"\0".join(k + b"=" + v for k, v in environment)
    header = b"%s%s %d %d %d\n" % (MAGIC, plugin, posix.stat("/proc/self/ns/net").st_ino, len(body), len(stdin))
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    sock.settimeout(TIMEOUT_S)
    sock.connect(SOCKET)
    first, rest = header, body + stdin
    netns = open_netns(dict(environment).get(b"CNI_NETNS", b""))
    if netns < 0:
        sock.sendall(first + rest)
    else:
        rights = netns.to_bytes(4, sys.byteorder)
        sent = sock.sendmsg([first], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)])
        sock.sendall(first[sent:] + rest)
    data = b""
    while True:
        part = sock.recv(65536)
        if not part:
            break
        data += part
    line, newline, out = data.partition(b"\n")
    words = line[len(MAGIC) :].split()
    if line[: len(MAGIC)] != MAGIC or not newline or len(words) != 2 or len(out) != int(words[1]):
        raise OSError(0, "its answer was cut off")
    return int(words[0]), out


def open_netns(path):
    if not path:
        return -1
    try:
        return posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    except OSError:
        return -1


def read_all():
    data = b""
    while True:
        part = posix.read(0, 65536)
        if not part:
            return data
        data += part


def error_object(code, message, stdin):
    quoted = message.encode().replace(b"\\", b"\\\\").replace(b'"', b"'")
    return b'{"cniVersion":"%s","code":%d,"msg":"%s"}' % (asked_version(stdin), code, quoted)


def asked_version(stdin):
    words = stdin.partition(b'"cniVersion"')[2].split(b'"', 2)
    version = words[1] if len(words) == 3 else b""
    return version if b'"%s"' % version in VERSIONS else b"1.1.0"


def answer(code, out):
    while out:
        out = out[posix.write(1, out) :]
    return code


posix._exit(main())
