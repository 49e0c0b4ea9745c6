"""Small captures made on the fly: UDP over IPv4 on Ethernet, times in microseconds."""
import ipaddress
import struct

import dns.flags
import dns.message
import dns.rcode
import dns.rrset

CLIENT, SERVER, START_US = "192.0.2.10", "198.51.100.53", 1_700_000_000_000_000


def udp(src, sport, dst, dport, payload):
    """An Ethernet frame; no checksums, as beside a sending host."""
    body = struct.pack(">HHHH", sport, dport, 8 + len(payload), 0) + payload
    header = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(body), 0, 0, 64, 17, 0)
    return bytes(12) + b"\x08\x00" + header + ipaddress.ip_address(src).packed + ipaddress.ip_address(dst).packed + body


def tcp(src, sport, dst, dport, seq, flags, payload=b""):
    body = struct.pack(">HHIIBBHHH", sport, dport, seq, 0, 0x50, flags, 65535, 0, 0) + payload
    header = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(body), 0, 0, 64, 6, 0)
    return bytes(12) + b"\x08\x00" + header + ipaddress.ip_address(src).packed + ipaddress.ip_address(dst).packed + body


def pcap(frames):
    """The bytes of a pcap file of (time in microseconds, frame)."""
    data = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1)
    for ts_us, frame in frames:
        data += struct.pack("<IIII", ts_us // 1000000, ts_us % 1000000, len(frame), len(frame)) + frame
    return data


def query(qname, qtype="A", message_id=1):
    return dns.message.make_query(qname, qtype, id=message_id)


def response(to, answer=(), authority=(), additional=(), aa=False, rcode="NOERROR", tc=False):
    """Each record set as "owner ttl type rdata", one record; the same owner and type twice make one set."""
    made = dns.message.make_response(to)
    made.set_rcode(dns.rcode.from_text(rcode))
    made.flags |= (dns.flags.AA if aa else 0) | (dns.flags.TC if tc else 0)
    for section, texts in ((made.answer, answer), (made.authority, authority), (made.additional, additional)):
        section.extend(record(text) for text in texts)
    return made


def record(text):
    owner, ttl, rdtype, rdata = text.split(" ", 3)
    return dns.rrset.from_text(owner, int(ttl), "IN", rdtype, rdata)


def wire(message):
    return message if isinstance(message, bytes) else message.to_wire(max_size=65535)


def asked(message, after_us=0, port=40000):
    return START_US + after_us, udp(CLIENT, port, SERVER, 53, wire(message))


def answered(message, after_us=20000, port=40000, server=SERVER):
    return START_US + after_us, udp(server, 53, CLIENT, port, wire(message))
