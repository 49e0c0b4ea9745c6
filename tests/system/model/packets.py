"""Capture files to packets, packets to UDP datagrams and TCP segments: just enough to be a second opinion.

Fragments and the tunnels of the shared captures (tunnels.py), no checksums. A packet this does not understand yields nothing; the tests count how much that is."""
import gzip
import ipaddress
import lzma
import struct
import typing

from model import tunnels

ETHERNET, NULL, LOOP, SLL, SLL2, RADIOTAP, NFLOG = 1, 0, 108, 113, 276, 127, 239
RAW = (12, 14, 101, 228, 229)
IPV4, IPV6 = 0x0800, 0x86DD
UDP, TCP, FRAGMENT = 17, 6, 44
EXTENSIONS = (0, 43, 60)
FIN, SYN, RST = 1, 2, 4


class Packet(typing.NamedTuple):
    frame: int
    ts_us: int
    linktype: int
    data: bytes
    wire_len: int


class Datagram(typing.NamedTuple):
    """A UDP datagram, or a TCP segment where seq is not None."""

    frame: int
    ts_us: int
    src: str
    sport: int
    dst: str
    dport: int
    payload: bytes
    seq: typing.Optional[int]
    flags: int
    is_fragmented: bool = False  # put together from IP fragments


def unpacked(path):
    opener = {".gz": gzip.open, ".xz": lzma.open}.get(path.suffix, open)
    with opener(path, "rb") as stream:
        return stream.read()


def read(path):
    """The packets of a file, in order; stops silently where the file is cut."""
    data = unpacked(path)
    return read_pcapng(data) if data[:4] == b"\n\r\r\n" else read_pcap(data)


def read_pcap(data):
    forms = {0xA1B2C3D4: 1, 0xA1B23C4D: 1000}
    for order in "<>":
        magic = struct.unpack_from(order + "I", data)[0]
        if magic in forms:
            break
    else:
        raise ValueError(f"not a pcap file: {data[:4].hex()}")
    linktype = struct.unpack_from(order + "I", data, 20)[0] & 0xFFFF
    at, frame = 24, 0
    while at + 16 <= len(data):
        seconds, part, caplen, wire_len = struct.unpack_from(order + "4I", data, at)
        if at + 16 + caplen > len(data):
            return
        frame += 1
        yield Packet(frame, seconds * 1000000 + part // forms[magic], linktype, data[at + 16 : at + 16 + caplen], wire_len)
        at += 16 + caplen


def ng_options(body, order):
    options, at = {}, 0
    while at + 4 <= len(body):
        code, length = struct.unpack_from(order + "HH", body, at)
        if code == 0:
            break
        options[code] = body[at + 4 : at + 4 + length]
        at += 4 + (length + 3) // 4 * 4
    return options


def ng_interface(body, order):
    linktype, _, snaplen = struct.unpack_from(order + "HHI", body)
    options = ng_options(body[8:], order)
    resolution = options.get(9, b"\x06")[0]
    per_second = 2 ** (resolution & 0x7F) if resolution & 0x80 else 10**resolution
    offset = struct.unpack(order + "q", options[14])[0] if 14 in options else 0
    return linktype, snaplen, per_second, offset


def read_pcapng(data):
    order, at, frame, interfaces = "<", 0, 0, []
    while at + 12 <= len(data):
        if data[at : at + 4] == b"\n\r\r\n":
            order = "<" if data[at + 8 : at + 12] == b"\x4d\x3c\x2b\x1a" else ">"
            interfaces = []
        kind, length = struct.unpack_from(order + "II", data, at)
        if length < 12 or at + length > len(data):
            return
        body = data[at + 8 : at + length - 4]
        if kind == 1:
            interfaces.append(ng_interface(body, order))
        elif kind == 6:
            index, high, low, caplen, wire_len = struct.unpack_from(order + "5I", body)
            linktype, _, per_second, offset = interfaces[index]
            ticks = high << 32 | low
            frame += 1
            yield Packet(frame, ticks * 1000000 // per_second + offset * 1000000, linktype, body[20 : 20 + caplen], wire_len)
        elif kind == 3:
            linktype, snaplen, _, _ = interfaces[0]
            wire_len = struct.unpack_from(order + "I", body)[0]
            frame += 1
            yield Packet(frame, 0, linktype, body[4 : 4 + min(wire_len, snaplen or wire_len)], wire_len)
        at += length


def network_of(linktype, data):
    """(ethertype, bytes of the IP packet), or None."""
    if linktype == ETHERNET:
        kind, at = struct.unpack_from(">H", data, 12)[0], 14
    elif linktype == SLL:
        kind, at = struct.unpack_from(">H", data, 14)[0], 16
    elif linktype == SLL2:
        kind, at = struct.unpack_from(">H", data, 0)[0], 20
    elif linktype == RADIOTAP:
        return tunnels.wlan(data[struct.unpack_from("<H", data, 2)[0] :])
    elif linktype == NFLOG:
        ip = tunnels.nflog(data)
        return {4: IPV4, 6: IPV6}.get(ip[0] >> 4), ip
    elif linktype in (NULL, LOOP):
        return ({4: IPV4, 6: IPV6}.get(data[4] >> 4), data[4:])
    elif linktype in RAW:
        return ({4: IPV4, 6: IPV6}.get(data[0] >> 4), data)
    else:
        return None
    return kind, data[at:]


def transport_of_ipv4(ip):
    """(src, dst, protocol, body, whether all of it is there, None or (id, offset, more) of a fragment)"""
    header, total, ident, offset = (ip[0] & 15) * 4, *struct.unpack_from(">HHH", ip, 2)
    if ip[0] >> 4 != 4 or header < 20:
        return None
    fragment = (ident, (offset & 0x1FFF) * 8, bool(offset & 0x2000)) if offset & 0x3FFF else None
    total = total or len(ip)  # segmentation offload leaves 0
    return str(ipaddress.IPv4Address(ip[12:16])), str(ipaddress.IPv4Address(ip[16:20])), ip[9], ip[header:total], total <= len(ip), fragment


def transport_of_ipv6(ip):
    if ip[0] >> 4 != 6:
        return None
    length, kind, at = struct.unpack_from(">H", ip, 4)[0], ip[6], 40
    whole = 40 + length <= len(ip)
    ip_end, fragment = 40 + length, None
    while kind in EXTENSIONS:
        kind, at = ip[at], at + 8 + ip[at + 1] * 8
    if kind == FRAGMENT:
        offset, ident = struct.unpack_from(">HI", ip, at + 2)
        fragment = (ident, offset & 0xFFF8, bool(offset & 1)) if offset & 0xFFF9 else None
        kind, at = ip[at], at + 8
    return str(ipaddress.IPv6Address(ip[8:24])), str(ipaddress.IPv6Address(ip[24:40])), kind, ip[at:ip_end], whole, fragment


def joined(parts):
    """The bytes of {offset: (bytes, more)} when nothing is missing."""
    data = b""
    for offset in sorted(parts):
        if offset != len(data):
            return None
        data += parts[offset][0]
    return None if parts[max(parts)][1] else data


def innermost(network, waiting):
    """What the innermost IP header carries, and whether it came in fragments; waiting holds these between calls."""
    is_fragmented = False
    while network:
        kind, data = tunnels.untagged(*network)
        found = {IPV4: transport_of_ipv4, IPV6: transport_of_ipv6}.get(kind, lambda ip: None)(data)
        if not found:
            return None
        src, dst, protocol, body, whole, fragment = found
        if fragment:
            ident, offset, more = fragment
            parts = waiting.setdefault((src, dst, protocol, ident), {})
            parts[offset] = (body, more)
            body = joined(parts)
            if body is None:
                return None
            del waiting[src, dst, protocol, ident]
            is_fragmented = True
        network = tunnels.inside(protocol, body)
    return src, dst, protocol, body, whole, is_fragmented


def datagram_of(packet, waiting):
    """The UDP datagram or TCP segment in a packet; None for everything else and for what is cut short or damaged."""
    try:
        parts = innermost(network_of(packet.linktype, packet.data), waiting)
        if not parts:
            return None
        src, dst, kind, body, whole, is_fragmented = parts
        sport, dport = struct.unpack_from(">HH", body)
        common = (packet.frame, packet.ts_us, src, sport, dst, dport)
        if kind == UDP:
            length = struct.unpack_from(">H", body, 4)[0]
            good = 8 < length <= len(body)
            return Datagram(*common, body[8:length], None, 0, is_fragmented) if good else None
        if kind == TCP and whole:
            seq = struct.unpack_from(">I", body, 4)[0]
            return Datagram(*common, body[(body[12] >> 4) * 4 :], seq, body[13])
    except (struct.error, IndexError):
        pass
    return None


def datagrams(path, port=53):
    waiting = {}
    for packet in read(path):
        datagram = datagram_of(packet, waiting)
        if datagram and port in (datagram.sport, datagram.dport):
            yield datagram


# --- TCP, put together after the fact: all bytes of a direction first, then its messages ---


class Stream:
    """One direction of one connection. Positions count from the byte after the SYN, or from the first byte seen."""

    def __init__(self, datagram):
        self.first = datagram
        self.has_syn = bool(datagram.flags & SYN)
        self.base = datagram.seq + (1 if self.has_syn else 0)
        self.pieces = []

    def belongs(self, datagram):
        return not (datagram.flags & SYN) or ((datagram.seq + 1 - self.base) & 0xFFFFFFFF) == 0

    def add(self, datagram):
        seq = datagram.seq + (1 if datagram.flags & SYN else 0)
        at = (seq - self.base) & 0xFFFFFFFF
        at = at - (1 << 32) if at >= 1 << 31 else at
        if datagram.payload:
            self.pieces.append((at, datagram))

    def runs(self):
        """Lists of (position, bytes, frame, ts) without a hole in between; where bytes came twice, the first to come stand."""
        taken, kept = [], []
        for at, datagram in self.pieces:  # order of arrival
            for start, end in uncovered(at, at + len(datagram.payload), taken):
                kept.append((start, datagram.payload[start - at : end - at], datagram.frame, datagram.ts_us))
                taken.append((start, end))
            taken.sort()
        kept.sort()
        runs = []
        for piece in kept:
            if runs and runs[-1][-1][0] + len(runs[-1][-1][1]) == piece[0]:
                runs[-1].append(piece)
            else:
                runs.append([piece])
        return runs

    def messages(self):
        for run in self.runs():
            is_start = self.has_syn and run[0][0] == 0
            while run and not is_start and not begins_like_a_message(b"".join(piece[1] for piece in run[:3])):
                run = run[1:]
            yield from messages_of_run(run, self.first)


def uncovered(start, end, taken):
    for low, high in taken:
        if high <= start or low >= end:
            continue
        if low > start:
            yield start, low
        start = max(start, high)
    if start < end:
        yield start, end


def begins_like_a_message(data):
    if len(data) < 14:
        return False
    length, _, flags, n_questions, n_answers, n_authority, n_additional = struct.unpack_from(">7H", data)
    records = n_questions + n_answers + n_authority + n_additional
    return length >= 12 + 5 * min(records, 1) and flags >> 11 & 15 in (0, 2, 4, 5) and n_questions == 1 and records * 5 <= length


def messages_of_run(run, first):
    data, frame, ts_us = b"", 0, 0
    for _, piece, piece_frame, piece_ts in run:
        data += piece
        frame, ts_us = (piece_frame, piece_ts) if piece_frame > frame else (frame, ts_us)
        while len(data) >= 2:
            length = struct.unpack_from(">H", data)[0]
            if len(data) < 2 + length:
                break
            yield Datagram(frame, ts_us, first.src, first.sport, first.dst, first.dport, data[2 : 2 + length], 0, 0)
            data = data[2 + length :]


def messages(path, port=53):
    """Every DNS payload on the port, in the order in which it was complete: (Datagram, transport name)."""
    found, streams, current = [], [], {}
    for datagram in datagrams(path, port):
        if datagram.seq is None:
            found.append((datagram, "udp"))
            continue
        key = datagram[2:6]
        if key not in current or not current[key].belongs(datagram):
            current[key] = Stream(datagram)
            streams.append(current[key])
        current[key].add(datagram)
    for stream in streams:
        found.extend((message, "tcp") for message in stream.messages())
    found.sort(key=lambda item: item[0].frame)
    return found
