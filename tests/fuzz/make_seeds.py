#!/usr/bin/python3
"""Seeds for fuzz_packet, fuzz_pipeline, fuzz_dnstap and fuzz_savefile: make_seeds.py CORPUS_FOLDER. Messages are made here; nothing is taken from captures."""
import pathlib
import struct
import sys

import dns.message
import dns.rrset

corpus = pathlib.Path(sys.argv[1])


def exchange(qname, rdtype, answer=(), authority=(), additional=(), flags=0x8180, edns=True):
    query = dns.message.make_query(qname, rdtype, use_edns=edns)
    query.id = 7
    response = dns.message.make_response(query)
    response.flags = flags
    for section, texts in ((response.answer, answer), (response.authority, authority), (response.additional, additional)):
        section.extend(dns.rrset.from_text(*text) for text in texts)
    return query.to_wire(), response.to_wire()


def packet(flags, body):
    return struct.pack("!BH", flags, len(body)) + body


def framed(wire):
    return struct.pack("!H", len(wire)) + wire


A = ("www.example.com.", 300, "IN", "A", "192.0.2.1", "192.0.2.2")
CASES = {
    "answer": exchange("www.example.com.", "A", [A]),
    "chain": exchange("www.example.com.", "A", [("www.example.com.", 300, "IN", "CNAME", "cdn.example.net."), ("cdn.example.net.", 60, "IN", "A", "192.0.2.7")]),
    "referral": exchange("www.example.com.", "A", authority=[("example.com.", 300, "IN", "NS", "ns.example.com.")],
                         additional=[("ns.example.com.", 300, "IN", "A", "192.0.2.53")], flags=0x8000),
    "nxdomain": exchange("no.example.com.", "AAAA", authority=[("example.com.", 300, "IN", "SOA", "ns.example.com. mail.example.com. 5 2 3 4 60")], flags=0x8183),
    "texts": exchange("example.com.", "ANY", [("example.com.", 60, "IN", "TXT", '"a" "b"'), ("example.com.", 60, "IN", "MX", "10 mx.example.com."),
                                              ("example.com.", 60, "IN", "SRV", "1 2 3 srv.example.com."), ("example.com.", 60, "IN", "CAA", '0 issue "x"')]),
    "transfer": exchange("example.com.", "AXFR", [("example.com.", 300, "IN", "SOA", "ns.example.com. mail.example.com. 5 2 3 4 60"), A], edns=False),
}

for folder in ("packet", "pipeline", "dnstap", "frag", "reasm"):
    (corpus / folder).mkdir(parents=True, exist_ok=True)
for number, (name, (query, response)) in enumerate(CASES.items()):
    for is_tcp in (0, 1):
        wrap = framed if is_tcp else bytes
        body = packet(is_tcp, wrap(query)) + packet(is_tcp | 2, wrap(response)) + packet(is_tcp | 2 | 0x40, wrap(response))
        (corpus / "pipeline" / f"{name}-{'tcp' if is_tcp else 'udp'}").write_bytes(bytes([number]) + body)
query, response = CASES["answer"]
half = framed(response)
(corpus / "pipeline" / "split-tcp").write_bytes(b"\0" + packet(1, framed(query)) + packet(3, half[:20]) + packet(3, half[20:]))
udp = struct.pack("!HHHH", 4000, 53, 8 + len(query), 0) + query
ipv4 = struct.pack("!BBHIBBH", 0x45, 0, 20 + len(udp), 0, 64, 17, 0) + bytes([192, 0, 2, 1, 192, 0, 2, 53]) + udp
ipv6 = struct.pack("!IHBB", 0x60000000, len(udp) + 8, 60, 64) + bytes(15) + b"\1" + bytes(15) + b"\2" + b"\x11\0" + bytes(6) + udp
for name, link, frame in (("ethernet", 1, bytes(12) + b"\x08\0" + ipv4), ("vlan", 1, bytes(12) + b"\x81\0\0\1\x86\xdd" + ipv6), ("raw", 4, ipv6),
                          ("sll", 6, bytes(14) + b"\x08\0" + ipv4), ("sll2", 9, b"\x86\xdd" + bytes(18) + ipv6), ("null", 0, b"\2\0\0\0" + ipv4)):
    (corpus / "packet" / name).write_bytes(bytes([link, 0]) + frame)


def varint(value):
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def field(number, value):
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def tap(kind, message, protocol=1, zone=None, extra=b""):
    """A dnstap frame; odd kinds are queries."""
    body = field(1, kind) + field(2, 1) + field(3, protocol) + field(4, bytes([192, 0, 2, 1])) + field(5, bytes([192, 0, 2, 53])) + field(6, 4000) + field(7, 53)
    body += field(8, 1700000000) + varint(9 << 3 | 5) + struct.pack("<I", 5000000)
    body += field(10, message) if kind % 2 else field(12, 1700000000) + varint(13 << 3 | 5) + struct.pack("<I", 9000000) + field(14, message)
    body += field(11, zone) if zone else b""
    frame = field(1, b"ns1") + field(2, b"server 1") + field(14, body + extra) + field(15, 1)
    return struct.pack("!I", len(frame)) + frame


def control(kind, content=b"protobuf:dnstap.Dnstap"):
    body = struct.pack("!I", kind) + (struct.pack("!II", 1, len(content)) + content if content else b"")
    return struct.pack("!II", 0, len(body)) + body


for name, (query, response) in CASES.items():
    for kind in (1, 3, 5):
        frames = tap(kind, query, zone=b"\x07example\x03com\0") + tap(kind + 1, response)
        (corpus / "dnstap" / f"{name}-{kind}").write_bytes(b"\1" + control(2) + frames + control(3, b""))
query, response = CASES["answer"]
(corpus / "dnstap" / "two-way").write_bytes(b"\0" + control(4) + control(2) + tap(6, response, 3) + tap(5, query, 3) + control(3, b""))
(corpus / "dnstap" / "with-query").write_bytes(b"\x15" + control(2) + tap(6, response, 4, extra=field(10, query)) + tap(14, response, 7))


def udp_in_ip(port, payload):
    body = struct.pack("!HHHH", 50000, port, 8 + len(payload), 0) + payload
    return in_ip(17, body)


def in_ip(protocol, body):
    return struct.pack("!BBHIBBH", 0x45, 0, 20 + len(body), 0, 64, protocol, 0) + bytes([10, 0, 0, 1, 10, 0, 0, 2]) + body


def in_ethernet(kind, body):
    return bytes(12) + struct.pack("!H", kind) + body


inner = in_ethernet(0x0800, ipv4)
TUNNELS = {
    "gre": in_ip(47, struct.pack("!HHI", 0x2000, 0x0800, 5) + ipv4),
    "bridge": in_ip(47, struct.pack("!HHIII", 0xB000, 0x6558, 0, 5, 1) + inner),
    "erspan": in_ip(47, struct.pack("!HHI", 0x1000, 0x88BE, 1) + struct.pack("!HHI", 0x1000, 7, 0) + inner),
    "erspan3": in_ip(47, struct.pack("!HHI", 0x1000, 0x22EB, 1) + struct.pack("!HHII", 0x2000, 7, 0, 0) + inner),
    "vxlan": udp_in_ip(4789, struct.pack("!II", 0x08000000, 77 << 8) + inner),
    "gpe": udp_in_ip(4790, struct.pack("!II", 0x0C000001, 77 << 8) + ipv4),
    "geneve": udp_in_ip(6081, struct.pack("!III", 0x01006558, 77 << 8, 0) + inner),
    "gtp": udp_in_ip(2152, struct.pack("!HHIII", 0x34FF, 8 + len(ipv4), 9, 0x85, 0x01000000) + ipv4),
    "teredo": udp_in_ip(3544, b"\0\1\0\0" + bytes(9) + bytes(8) + ipv6),
    "ipip": in_ip(4, ipv4),
    "6in4": in_ip(41, ipv6),
    "icmp": in_ip(1, b"\3\3" + bytes(6) + ipv4),
    "fragment": ipv4[:6] + b"\x20\0" + ipv4[8:],
}
for name, packet_in in TUNNELS.items():
    (corpus / "packet" / name).write_bytes(bytes([1, 0]) + in_ethernet(0x0800, packet_in))
LINKS = {
    "pppoe": (1, in_ethernet(0x8864, struct.pack("!HHHH", 0x1100, 7, len(ipv4) + 2, 0x21) + ipv4)),
    "mpls": (1, in_ethernet(0x8847, struct.pack("!II", 16 << 12, 17 << 12 | 0x100) + ipv4)),
    "snap": (1, in_ethernet(len(ipv4) + 8, b"\xaa\xaa\3\0\0\0\x08\0" + ipv4)),
    "wlan": (10, b"\x88\1" + bytes(24) + b"\xaa\xaa\3\0\0\0\x08\0" + ipv4),
    "radiotap": (11, b"\0\0\x08\0" + bytes(4) + b"\x08\1" + bytes(22) + b"\xaa\xaa\3\0\0\0\x08\0" + ipv4),
    "nflog": (12, b"\2\0\0\5" + struct.pack("<HH", 5, 10) + b"x\0\0\0" + struct.pack("<HH", 4 + len(ipv4), 9) + ipv4),
    "ppp": (13, b"\xff\3\0\x21" + ipv4),
}
for name, (link, frame) in LINKS.items():
    (corpus / "packet" / name).write_bytes(bytes([link, 0]) + frame)


def fragment(ident, offset, length, more, flags=0):
    return struct.pack("!BBH", ident | more << 2 | flags, offset // 64, (offset % 64 // 8) << 12 | length)


FRAGMENTS = {
    "in-order": fragment(0, 0, 64, 1) + fragment(0, 64, 64, 1) + fragment(0, 128, 30, 0),
    "reversed": fragment(1, 128, 30, 0) + fragment(1, 64, 64, 1) + fragment(1, 0, 64, 1),
    "overlap": fragment(2, 0, 72, 1) + fragment(2, 64, 64, 1) + fragment(2, 128, 30, 0),
    "forged": fragment(3, 64, 64, 1) + fragment(3, 64, 64, 1, 8) + fragment(3, 0, 64, 1) + fragment(3, 128, 30, 0),
    "late": fragment(0, 0, 64, 1) + fragment(0, 64, 8, 1, 128) + fragment(0, 72, 8, 0, 128) + fragment(0, 64, 30, 0, 128),
    "ipv6": fragment(0, 0, 64, 1, 16) + fragment(0, 64, 64, 0, 16 | 96),
}
for name, body in FRAGMENTS.items():
    (corpus / "frag" / name).write_bytes(body)


def segment(flags, delta, body):
    return struct.pack("!BhB", flags, delta, len(body)) + body


query, response = (framed(wire) for wire in CASES["answer"])
query += b"" if len(query) % 2 == 0 else b"\0"
STREAMS = {
    "in-order": segment(4, 0, b"") + segment(0, 0, query) + segment(0, 0, query) + segment(8, 0, b""),
    "split": segment(4, 0, b"") + segment(0, 0, query[:20]) + segment(0, 0, query[20:]),
    "swapped": segment(4, 0, b"") + segment(0, 20, query[20:]) + segment(0, -len(query), query[:20]),
    "midway": segment(0, 0, query[6:]) + segment(0, 0, query),
    "gap": segment(4, 0, b"") + segment(0, 100, query) + segment(0x40, 0, query) + segment(0x40, 0, query),
    "overlap": segment(4, 0, b"") + segment(0, 0, query) + segment(0, -10, query[-10:] + query[:20]),
    "fast-open": segment(4, 0, query) + segment(4, -len(query) - 1, query) + segment(0, -len(query), query),
    "reset": segment(4, 0, b"") + segment(0, 0, query[:10]) + segment(16, 0, b"") + segment(0, 0, query[10:]),
    "repeated": segment(4, 0, b"") + segment(0, 0, b"\x20\0\1" * 5) + segment(0, 200, b"\0" * 101) + segment(0, -300, b"\1" * 99),
}
for name, body in STREAMS.items():
    (corpus / "reasm" / name).write_bytes(body)


# --- capture files ---

def block(order, kind, body):
    body += bytes(-len(body) % 4)
    return struct.pack(order + "II", kind, len(body) + 12) + body + struct.pack(order + "I", len(body) + 12)


def section(order):
    return block(order, 0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1))


def interface(order, link, snaplen=0, options=b""):
    return block(order, 1, struct.pack(order + "HHI", link, 0, snaplen) + options)


def packet_block(order, number, ticks, data, kind=6):
    which = struct.pack(order + "I", number) if kind == 6 else struct.pack(order + "HH", number, 0)
    return block(order, kind, which + struct.pack(order + "IIII", ticks >> 32, ticks & 0xFFFFFFFF, len(data), len(data)) + data)


(corpus / "savefile").mkdir(exist_ok=True)
small = bytes(12) + b"\x08\0" + b"E" + bytes(19)
for order, end in (("<", "le"), (">", "be")):
    for magic, name, more in ((0xA1B2C3D4, "micro", b""), (0xA1B23C4D, "nano", b""), (0xA1B2CD34, "modified", bytes(8))):
        data = struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, 65535, 1)
        data += 2 * (struct.pack(order + "IIII", 1700000000, 5, len(small), len(small)) + more + small)
        (corpus / "savefile" / f"pcap-{name}-{end}").write_bytes(data)
    options = struct.pack(order + "HHBxxxHHqHH", 9, 1, 9, 14, 8, -1, 0, 0)
    data = section(order) + interface(order, 1) + interface(order, 113, 96, options) + packet_block(order, 1, 1700000000123456789, small)
    data += block(order, 0xBAD, b"xyz") + packet_block(order, 0, 5, small, 2) + block(order, 3, struct.pack(order + "I", len(small)) + small)
    (corpus / "savefile" / f"pcapng-{end}").write_bytes(data)
    data = struct.pack(order + "IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 0, 239) + struct.pack(order + "IIII", 1, 0, 20, 20)
    (corpus / "savefile" / f"nflog-{end}").write_bytes(data + bytes([2, 0, 0, 0]) + struct.pack(order + "HHIHHHH", 8, 5, 7, 6, 9, 7, 0))
    data = struct.pack(order + "IHHiIII", 0xA1B2C3D4, 2, 2, 0, 0, 0, 1) + struct.pack(order + "IIII", 1, 0, 34, 30)
    (corpus / "savefile" / f"old-{end}").write_bytes(data + small[:30] + bytes(4))
data = section("<") + interface("<", 1) + packet_block("<", 0, 7, small) + section(">") + interface(">", 101, 4, struct.pack(">HHBxxx", 9, 1, 0x80 | 20))
(corpus / "savefile" / "sections").write_bytes(data + packet_block(">", 0, 9, small) + block(">", 3, struct.pack(">I", 11) + b"cut "))
