"""Captures made packet by packet: raw IP, UDP, whole DNS transactions."""
import ipaddress
import struct

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import dns.rrset


def packet(src, dst, sport, dport, payload):
    a, b = ipaddress.ip_address(src), ipaddress.ip_address(dst)
    udp = struct.pack("!HHHH", sport, dport, 8 + len(payload), 0) + payload
    if a.version == 4:
        return struct.pack("!BBHIBBH", 0x45, 0, 20 + len(udp), 0, 64, 17, 0) + a.packed + b.packed + udp
    return struct.pack("!IHBB", 0x60000000, len(udp), 17, 64) + a.packed + b.packed + udp


def exchange(number, client, server, qname, rdtype="A", answer=None, rcode=dns.rcode.NOERROR, ecs=None, answered=True):
    qname = qname + "."
    query = dns.message.make_query(qname, rdtype, use_edns=0, options=[dns.edns.ECSOption.from_text("ECS " + ecs)] if ecs else [])
    query.id = number
    yield packet(client, server, 20000 + number, 53, query.to_wire())
    if answered:
        response = dns.message.make_response(query)
        response.flags |= dns.flags.AA
        response.set_rcode(rcode)
        if answer:
            response.answer.append(dns.rrset.from_text(qname, 300, "IN", rdtype, answer))
        yield packet(server, client, 53, 20000 + number, response.to_wire())


def write_pcap(path, packets):
    """(microseconds since 1970, raw IP packet) each."""
    with open(path, "wb") as out:
        out.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 101))
        for time_us, data in packets:
            out.write(struct.pack("<IIII", time_us // 1000000, time_us % 1000000, len(data), len(data)) + data)
