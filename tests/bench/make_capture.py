#!/usr/bin/python3
"""A large capture, the same for the same arguments: make_capture.py OUT.pcap [TRANSACTIONS [SEED [SPACING_US]]].

Workload "syn" of docs/PERFORMANCE.md: eight sites, 4,000 clients, 300,000 names by Zipf (exponent 1) and 6 % names seen once, 11 % NXDOMAIN, 1 % TCP, 5 % VLAN,
10 % IPv6, 0.5 % of the queries retransmitted, 0.2 % of the answers in two IP fragments: made to be hard on tables keyed by name. Two packets a transaction (five
with TCP)."""
import random
import struct
import sys

START_US = 1_760_000_000_000_000
N_CLIENTS, N_NAMES, TLDS = 4000, 300_000, (b"com", b"net", b"org", b"de", b"io")


def wire(name):
    return b"".join(bytes([len(label)]) + label for label in name.split(b".")) + b"\0"


def fragments(is_v6, src, dst, ident, payload):
    """A UDP datagram in two pieces, cut where only multiples of eight may be."""
    cut = len(payload) // 2 // 8 * 8
    for offset, piece, more in ((0, payload[:cut], 1), (cut, payload[cut:], 0)):
        if is_v6:
            header = struct.pack("!BBHI", 17, 0, offset | more, ident)
            yield b"\x60\0\0\0" + struct.pack("!HBB", 8 + len(piece), 44, 64) + src + dst + header + piece
        else:
            yield struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(piece), ident, more << 13 | offset // 8, 64, 17, 0) + src + dst + piece


def ip(is_v6, src, dst, protocol, payload):
    if is_v6:
        return b"\x60\0\0\0" + struct.pack("!HBB", len(payload), protocol, 64) + src + dst + payload
    return struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 0, 0x4000, 64, protocol, 0) + src + dst + payload


class Writer:
    def __init__(self, path):
        self.out = open(path, "wb", buffering=1 << 22)
        self.out.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1))

    def packet(self, ts_us, is_vlan, is_v6, body):
        link = b"\x02\0\0\0\0\x01\x02\0\0\0\0\x02" + (b"\x81\0\0\x64" if is_vlan else b"") + (b"\x86\xdd" if is_v6 else b"\x08\0")
        size = len(link) + len(body)
        self.out.write(struct.pack("<IIII", ts_us // 1_000_000, ts_us % 1_000_000, size, size) + link + body)


def main():
    path, n = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 1_000_000
    rng = random.Random(int(sys.argv[3]) if len(sys.argv) > 3 else 1)
    spacing_us = int(sys.argv[4]) if len(sys.argv) > 4 else 20
    names = [wire(b"h%d.z%d.%s" % (i % 40, i // 40, TLDS[i // 40 % 5])) for i in range(N_NAMES)]
    out, ts_us, pending = Writer(path), START_US, []
    for i in range(n):
        ts_us += spacing_us
        client, port, ident = rng.randrange(N_CLIENTS), rng.randrange(1024, 65536), rng.randrange(65536)
        site = client * 8 // N_CLIENTS
        rank = min(int(N_NAMES ** rng.random()), N_NAMES) - 1
        kind = rng.random()
        qname = wire(b"u%x.z%d.com" % (rng.getrandbits(48), rank // 40)) if kind < 0.06 else names[rank]
        is_nx, is_tcp = rng.random() < 0.11, rng.random() < 0.01
        is_vlan, is_v6 = rng.random() < 0.05, rng.random() < 0.10
        qtype = 28 if rank % 3 == 0 else 1
        question = qname + struct.pack("!HH", qtype, 1)
        edns = b"\0\0\x29\x04\xd0\0\0\0\0\0\0"
        query = struct.pack("!HHHHHH", ident, 0x0100, 1, 0, 0, 1) + question + edns
        if is_nx:
            soa = b"\2ns\xc0\x0c\4mail\xc0\x0c" + struct.pack("!IIIII", rank, 7200, 3600, 86400, 300)
            answer = struct.pack("!HHHHHH", ident, 0x8183, 1, 0, 1, 1) + question + b"\xc0\x0c" + struct.pack("!HHIH", 6, 1, 300, len(soa)) + soa + edns
        else:
            data = (struct.pack("!I", 0x0A000000 + rank) * 4)[: 16 if qtype == 28 else 4]
            records = b"".join(b"\xc0\x0c" + struct.pack("!HHIH", qtype, 1, 300, len(data)) + data[:-1] + bytes([k]) for k in range(1 + rank % 3))
            answer = struct.pack("!HHHHHH", ident, 0x8180, 1, 1 + rank % 3, 0, 1) + question + records + edns
        if is_v6:
            src, dst = b"\x20\x01\x0d\xb8" + bytes(9) + bytes([site, client >> 8, client & 255]), b"\x20\x01\x0d\xb8" + bytes(10) + b"\0\x35"
        else:
            src, dst = bytes([10, site, client >> 8, client & 255]), b"\xc0\0\2\x35"
        if is_tcp:
            def segment(sport, dport, seq, ack, flags, data):
                return struct.pack("!HHIIBBHHH", sport, dport, seq, ack, 0x50, flags, 65535, 0, 0) + data
            q, a = struct.pack("!H", len(query)) + query, struct.pack("!H", len(answer)) + answer
            for forward, body in ((True, segment(port, 53, 99, 0, 2, b"")), (False, segment(53, port, 499, 100, 18, b"")),
                                  (True, segment(port, 53, 100, 500, 24, q)), (False, segment(53, port, 500, 100 + len(q), 25, a)),
                                  (True, segment(port, 53, 100 + len(q), 501 + len(a), 17, b""))):
                out.packet(ts_us, is_vlan, is_v6, ip(is_v6, src if forward else dst, dst if forward else src, 6, body))
            continue
        for _ in range(2 if kind > 0.995 else 1):
            out.packet(ts_us, is_vlan, is_v6, ip(is_v6, src, dst, 17, struct.pack("!HHHH", port, 53, 8 + len(query), 0) + query))
        datagram = struct.pack("!HHHH", 53, port, 8 + len(answer), 0) + answer
        if kind > 0.998:
            pending.extend((is_vlan, is_v6, piece) for piece in fragments(is_v6, dst, src, ident, datagram))
        else:
            pending.append((is_vlan, is_v6, ip(is_v6, dst, src, 17, datagram)))
        while len(pending) > 64 + (i & 63):
            out.packet(ts_us, *pending.pop(0))
    for late in pending:
        out.packet(ts_us, *late)
    out.out.close()


if __name__ == "__main__":
    main()
