"""A port's lease, messages as clients send them, and an independent reader of answers."""

from __future__ import annotations

import ipaddress
import struct
from typing import Any

from calico.lib.packed import addr_bytes, net
from calico.orchestrators.openstack.answers.lease import Lease, Lease4, Lease6, Route
from calico.orchestrators.openstack.answers.outcome import Outcome
from calico.orchestrators.openstack.answers.respond import Host, respond

MAC = bytes.fromhex("fa163e000001")
HOST = Host(bytes.fromhex("fe163e000001"), addr_bytes("fe80::fc16:3eff:fe00:1"))
CLIENT6 = addr_bytes("fe80::f816:3eff:fe00:1")
SERVERS6 = addr_bytes("ff02::1:2")
ROUTERS6 = addr_bytes("ff02::2")
DUID = bytes.fromhex("00030001fe163e000001")
OTHER_MAC = bytes.fromhex("fa163e0000ff")

LEASE = Lease(
    interface="tap1",
    mac=MAC,
    v4=Lease4(
        address=addr_bytes("10.65.0.11"),
        prefix_len=24,
        server=addr_bytes("10.65.0.1"),
        gateway=addr_bytes("10.65.0.1"),
        dns=(addr_bytes("10.0.0.53"),),
        routes=(
            Route(net("169.254.169.254/32"), addr_bytes("10.65.0.1")),
            Route(net("0.0.0.0/0"), addr_bytes("10.65.0.1")),
        ),
    ),
    v6=(Lease6(address=addr_bytes("fd00::11"), net=net("fd00::/64")),),
    dns6=(addr_bytes("fd00::53"),),
    mtu=1400,
    hostname="web",
    domain="example.org",
    search=("example.org", "example.net"),
)


def options4(*pairs: tuple[int, bytes | int]) -> bytes:
    out = b""
    for code, value in pairs:
        raw = bytes((value,)) if isinstance(value, int) else value
        out += bytes((code, len(raw))) + raw
    return out + b"\xff"


def message4(kind: int, *pairs: tuple[int, bytes | int], **fields: Any) -> bytes:
    """A client's DHCPv4 message."""
    given = {"op": 1, "htype": 1, "hlen": 6, "xid": 0x1234, "flags": 0, "ciaddr": "0.0.0.0", "giaddr": "0.0.0.0",
             "chaddr": MAC, "sname": b"", "file": b"", **fields}  # fmt: skip
    head = struct.pack("!BBBBIHH", given["op"], given["htype"], given["hlen"], 0, given["xid"], 0, given["flags"])
    addresses = addr_bytes(given["ciaddr"]) + bytes(8) + addr_bytes(given["giaddr"])
    names = given["sname"].ljust(64, b"\0") + given["file"].ljust(128, b"\0")
    return (
        head + addresses + given["chaddr"].ljust(16, b"\0") + names + b"\x63\x82\x53\x63" + options4((53, kind), *pairs)
    )


def udp(payload: bytes, src: str | bytes, dst: str | bytes, ports: tuple[int, int], mac: bytes = MAC) -> bytes:
    """A frame with a UDP datagram whose checksum is not filled in, as virtual interfaces leave it."""
    source, target = (addr_bytes(a) if isinstance(a, str) else a for a in (src, dst))
    datagram = struct.pack("!HHHH", *ports, 8 + len(payload), 0) + payload
    if len(source) == 4:
        ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(datagram), 0, 0, 64, 17, 0, source, target)
        return b"\xff" * 6 + mac + b"\x08\0" + ip + datagram
    ip = struct.pack("!IHBB16s16s", 6 << 28, len(datagram), 17, 1, source, target)
    return b"\x33\x33" + target[12:] + mac + b"\x86\xdd" + ip + datagram


def ask4(payload: bytes, lease: Lease = LEASE, src: str = "0.0.0.0", dst: str = "255.255.255.255") -> Outcome:
    return respond(udp(payload, src, dst, (68, 67)), lease, HOST)


def message6(kind: int, *options: tuple[int, bytes]) -> bytes:
    return bytes((kind,)) + b"\1\2\3" + encoded(*options)


def encoded(*options: tuple[int, bytes]) -> bytes:
    return b"".join(struct.pack("!HH", code, len(value)) + value for code, value in options)


def ask6(
    payload: bytes, lease: Lease = LEASE, src: bytes = CLIENT6, dst: bytes = SERVERS6, mac: bytes = MAC
) -> Outcome:
    return respond(udp(payload, src, dst, (546, 547), mac), lease, HOST)


def ia(identifier: int, *addresses: str) -> bytes:
    inner = encoded(*((5, addr_bytes(address) + bytes(8)) for address in addresses))
    return struct.pack("!III", identifier, 0, 0) + inner


def icmp6(message: bytes, src: bytes = CLIENT6, dst: bytes = ROUTERS6, hops: int = 255, mac: bytes = MAC) -> bytes:
    ip = struct.pack("!IHBB16s16s", 6 << 28, len(message), 58, hops, src, dst)
    return b"\x33\x33" + dst[12:] + mac + b"\x86\xdd" + ip + message


class Answer:
    """An answer's frame read again, by other code than wrote it; its checksums are right."""

    def __init__(self, frame: bytes) -> None:
        self.to_mac, self.from_mac = frame[:6], frame[6:12]
        packet = frame[14:]
        self.version = packet[0] >> 4
        if self.version == 4:
            assert _sum(packet[:20]) == 0xFFFF, "IP checksum"
            assert int.from_bytes(packet[2:4], "big") == len(packet)
            self.src, self.dst = (str(ipaddress.ip_address(packet[at : at + 4])) for at in (12, 16))
            body, pseudo = packet[20:], packet[12:20]
            self.protocol = packet[9]
        else:
            assert int.from_bytes(packet[4:6], "big") == len(packet) - 40
            self.src, self.dst = (str(ipaddress.ip_address(packet[at : at + 16])) for at in (8, 24))
            body, pseudo = packet[40:], packet[8:40]
            self.protocol, self.hop_limit = packet[6], packet[7]
        assert _sum(pseudo + struct.pack("!HH", self.protocol, len(body)) + body) == 0xFFFF, "checksum"
        if self.protocol == 17:
            self.ports = struct.unpack("!HH", body[:4])
            assert int.from_bytes(body[4:6], "big") == len(body)
        self.payload = body[8:] if self.protocol == 17 else body


class Reply4(Answer):
    """A DHCPv4 answer."""

    def __init__(self, frame: bytes) -> None:
        super().__init__(frame)
        data = self.payload
        assert len(data) >= 300
        assert data[236:240] == b"\x63\x82\x53\x63"
        self.op, self.xid, self.flags = data[0], int.from_bytes(data[4:8], "big"), int.from_bytes(data[10:12], "big")
        self.ciaddr, self.yiaddr, self.siaddr = (str(ipaddress.ip_address(data[at : at + 4])) for at in (12, 16, 20))
        self.chaddr = data[28:34]
        self.options: dict[int, bytes] = {}
        self._read(data[240:])
        overload = self.options.get(52, b"\0")[0]
        if overload & 1:
            self._read(data[108:236])
        if overload & 2:
            self._read(data[44:108])
        self.kind = self.options[53][0]

    def _read(self, area: bytes) -> None:
        at = 0
        while area[at] != 255:
            if area[at] == 0:
                at += 1
                continue
            code, length = area[at], area[at + 1]
            self.options[code] = self.options.get(code, b"") + area[at + 2 : at + 2 + length]
            at += 2 + length


class Reply6(Answer):
    """A DHCPv6 answer."""

    def __init__(self, frame: bytes) -> None:
        super().__init__(frame)
        self.kind, self.transaction = self.payload[0], self.payload[1:4]
        self.options = read_options(self.payload[4:])

    def one(self, code: int) -> bytes:
        (value,) = [value for found, value in self.options if found == code]
        return value


def read_options(data: bytes) -> list[tuple[int, bytes]]:
    found = []
    while data:
        code, length = struct.unpack("!HH", data[:4])
        assert len(data) >= 4 + length
        found.append((code, data[4 : 4 + length]))
        data = data[4 + length :]
    return found


def _sum(data: bytes) -> int:
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total
