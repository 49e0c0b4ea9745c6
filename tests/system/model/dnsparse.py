"""DNS messages by dnspython: a plain walk over the sections, names and RDATA read by dns.name and dns.rdata."""
import struct
import typing

import dns.exception
import dns.name
import dns.rdata
import dns.rdatatype
import dns.wire

SECTIONS = ("answer", "authority", "additional")
UPDATE = 5
SIGNATURES = (24, 46)  # SIG, RRSIG


class Refused(Exception):
    """dnspython does not take the message."""


class Record(typing.NamedTuple):
    section: str
    owner: dns.name.Name
    type: int
    rdclass: int
    ttl: int
    rdata: typing.Optional[dns.rdata.Rdata]  # None: RDLENGTH 0, as RFC 2136 allows
    raw: bytes  # as in the message


class Message(typing.NamedTuple):
    id: int
    flags: int
    counts: tuple
    questions: list  # of (name, type, class)
    records: list
    trailing: int
    is_fragmented: bool = False  # of a UDP datagram that came in IP fragments

    is_response = property(lambda self: bool(self.flags & 0x8000))
    opcode = property(lambda self: self.flags >> 11 & 15)
    aa = property(lambda self: bool(self.flags & 0x0400))
    tc = property(lambda self: bool(self.flags & 0x0200))

    @property
    def opt(self):
        return next((record for record in self.records if record.type == dns.rdatatype.OPT), None)

    @property
    def rcode(self):
        return (self.flags & 15) | ((self.opt.ttl >> 24) << 4 if self.opt else 0)

    def section(self, name):
        return [record for record in self.records if record.section == name]


def head(wire):
    """(id, flags, counts) of a message too damaged for more; Refused under twelve bytes."""
    if len(wire) < 12:
        raise Refused("short header")
    message_id, flags, *counts = struct.unpack_from(">6H", wire)
    return message_id, flags, tuple(counts)


def parse_questions(wire):
    """The header and the questions alone: what pairing needs of a damaged message."""
    message_id, flags, counts = head(wire)
    parser = dns.wire.Parser(wire, 12)
    try:
        questions = [(parser.get_name(), parser.get_uint16(), parser.get_uint16()) for _ in range(counts[0])]
    except (dns.exception.DNSException, struct.error, ValueError) as error:
        raise Refused(repr(error)) from error
    return Message(message_id, flags, counts, questions, [], 0), parser


def parse(wire):
    message, parser = parse_questions(wire)
    records = []
    try:
        for section, count in zip(SECTIONS, message.counts[1:]):
            for _ in range(count):
                records.append(parse_record(parser, section, message.opcode == UPDATE))
    except (dns.exception.DNSException, struct.error, ValueError, IndexError, AssertionError) as error:
        raise Refused(repr(error)) from error
    return message._replace(records=records, trailing=parser.remaining())


def parse_record(parser, section, may_be_empty):
    owner = parser.get_name()
    rdtype, rdclass, ttl, length = parser.get_struct("!HHIH")
    rdata = None
    raw = parser.wire[parser.current : parser.current + length]
    with parser.restrict_to(length):
        if length or not may_be_empty:
            rdata = dns.rdata.from_wire_parser(rdclass, rdtype, parser)
            check_expanded(rdata, rdtype, parser.wire, raw)
    return Record(section, owner, rdtype, rdclass, ttl, rdata, raw)


def options_of(opt):
    """[(code, data)] of an OPT record, from its bytes."""
    found, at = [], 0
    while at + 4 <= len(opt.raw):
        code, length = struct.unpack_from(">HH", opt.raw, at)
        found.append((code, opt.raw[at + 4 : at + 4 + length]))
        at += 4 + length
    return found


def check_expanded(rdata, rdtype, wire, raw):
    """No RDATA is longer than 65,535 bytes, also not after its compressed names are written out (CVE-2020-1350).

    dnspython leaves SIG as bytes and, where a name runs on over the pointer that led to it, takes the wrong place for the name's end: so signatures are measured here."""
    if len(raw) < 65535 - 255:
        return
    length = len(rdata.to_wire())
    if rdtype in SIGNATURES and len(raw) > 18:
        at = wire.index(raw) + 18
        length = len(raw) - bytes_in_place(wire, at) + len(dns.wire.Parser(wire, at).get_name().to_wire())
    if length > 65535:
        raise Refused(f"RDATA of {length} bytes when expanded: more than 65535")


def bytes_in_place(wire, start):
    """How many bytes a name takes where it stands, up to its end or its pointer."""
    at = start
    while 0 < wire[at] < 0xC0:
        at += 1 + wire[at]
    return at - start + (2 if wire[at] else 1)
