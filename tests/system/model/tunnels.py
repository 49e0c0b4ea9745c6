"""What may stand between a link header and the innermost IP packet. Each function gives (Ethernet type, bytes) or None."""
import struct

IPV4, IPV6, PPPOE, MPLS, BRIDGED = 0x0800, 0x86DD, 0x8864, 0x8847, 0x6558
VLANS = (0x8100, 0x88A8, 0x9100)
VXLAN, VXLAN_GPE, GENEVE, GTP, TEREDO = 4789, 4790, 6081, 2152, 3544


def be16(data, at):
    return struct.unpack_from(">H", data, at)[0]


def ip(data):
    return {4: IPV4, 6: IPV6}.get(data[0] >> 4), data


def frame(data):
    return be16(data, 12), data[14:]


def untagged(kind, data):
    while True:
        if kind in VLANS:
            kind, data = be16(data, 2), data[4:]
        elif kind == PPPOE:
            kind, data = {0x21: IPV4, 0x57: IPV6}.get(be16(data, 6)), data[8:]
        elif kind == MPLS:
            kind, data = (None if data[2] & 1 else MPLS), data[4:]
            kind = kind or ip(data)[0]
        else:
            return kind, data


def wlan(data):
    if data[0] >> 2 & 3 != 2 or data[0] & 0x40 or data[1] & 0x40:
        return None
    at = 24 + (2 if data[0] & 0x80 else 0)
    return be16(data, at + 6), data[at + 8 :]


def nflog(data):
    at = 4
    while True:
        length, kind = struct.unpack_from("<HH", data, at)
        if kind == 9:
            return data[at + 4 : at + length]
        at += (length + 3) // 4 * 4


def gre(data):
    flags, kind = struct.unpack_from(">HH", data)
    rest = data[4 + sum(4 for bit in (0x8000, 0x2000, 0x1000) if flags & bit) :]
    if kind == 0x88BE:
        return frame(rest[8:] if flags & 0x1000 else rest)
    return frame(rest) if kind == BRIDGED else (kind, rest)


def udp(data):
    ports, rest = struct.unpack_from(">HH", data), data[8:]
    if 53 in ports or not rest:
        return None
    if VXLAN in ports:
        return frame(rest[8:])
    if VXLAN_GPE in ports:
        return frame(rest[8:]) if rest[3] in (0, 3) else ip(rest[8:])
    if GENEVE in ports:
        at = 8 + (rest[0] & 63) * 4
        return frame(rest[at:]) if be16(rest, 2) == BRIDGED else (be16(rest, 2), rest[at:])
    if GTP in ports and rest[0] >> 4 == 3 and rest[1] == 255:
        return ip(rest[12:] if rest[0] & 7 else rest[8:])
    if TEREDO in ports:
        if rest[:2] == b"\0\1":
            rest = rest[13 + rest[2] + rest[3] :]
        return ip(rest[8:] if rest[:2] == b"\0\0" else rest)
    return None


def inside(protocol, body):
    """The packet that an IP packet of this protocol wraps."""
    if protocol in (4, 41):
        return (IPV4 if protocol == 4 else IPV6), body
    return {47: gre, 17: udp}.get(protocol, lambda data: None)(body)
