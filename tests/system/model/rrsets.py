"""What `picket-sensor --output rrsets` must print: a model of docs-level rules, not of the C code.

Messages
    Only messages that parse whole (bytes left over are forgiven) give records; a damaged one whose header and question are sound still pairs.
Pairing
    Client address and port, server address and port, transport, id; and type, class and name (case ignored) of the question when both have one.
    A query with the same key and question as an open one is a retransmission: the five seconds run from the last of them.
    A response may come up to 50 ms before its query. A response closes its query; another one is unsolicited. Unsolicited responses give nothing.
Which responses give RRsets
    Opcode QUERY; question class IN; not a transfer; TC=0; not put together from IP fragments; with the question in the response; rcode NOERROR, or NXDOMAIN for its answer section (a CNAME chain).
Records
    Class IN, no OPT, SIG, nor types 249-255. A response with more than 512 of them gives nothing: an RRset is whole or absent. An RRset is owner (lower case) and type within a section, with the sorted set of canonical RDATA (RFC 4034 s6.2).
Response with answers
    R is the registrable domain of the QNAME (public suffix list), or the QNAME where there is none.
    AA=1: the bailiwick is the deepest owner of SOA or NS in the authority section that encloses the QNAME and lies at or below R, else R: a server cannot widen its own
    bailiwick. AA=0: R. RRsets at or below the bailiwick are kept; trust authoritative (AA=1) or resolver (AA=0).
    AA=0: owners on the CNAME chain from the QNAME (and a DNAME above a name of the chain) are kept with their own registrable domain. All else is refused.
Referral (NOERROR, AA=0, no answers, no SOA in authority)
    The NS RRset of the first authority owner that encloses the QNAME and is not the root: trust referral, bailiwick the parent of the cut. Additional A and AAAA of its
    targets at or below the cut: trust glue, same bailiwick.
"""
import collections
import typing

import dns.name
import dns.rdataclass
import dns.rdatatype

from model import dnsparse, packets, suffix

TIMEOUT_US, HOLD_US = 5_000_000, 50_000
MAX_RECORDS = 512
IN, QUERY, NOERROR, NXDOMAIN = 1, 0, 0, 3
NS, CNAME, SOA, SIG, DNAME, IXFR, AXFR = 2, 5, 6, 24, 39, 251, 252
ADDRESSES = (1, 28)
PAIRED_OPCODES = (0, 2, 4, 5)


class Key(typing.NamedTuple):
    rrname: dns.name.Name
    rrtype: int
    rdata: tuple  # canonical wire forms, sorted
    bailiwick: dns.name.Name
    trust: str


class Seen:
    def __init__(self):
        self.count, self.first_us, self.last_us = 0, None, None

    def add(self, ts_us):
        self.count += 1
        self.first_us = ts_us if self.first_us is None else min(self.first_us, ts_us)
        self.last_us = ts_us if self.last_us is None else max(self.last_us, ts_us)


def lower(name):
    return name.canonicalize()


def question_of(message):
    if not message.questions:
        return None
    name, rdtype, rdclass = message.questions[0]
    return lower(name), rdtype, rdclass


# --- pairing ---


class Query:
    def __init__(self, ts_us, question):
        self.ts_us, self.question = ts_us, question


def fits(a, b):
    return a is None or b is None or a == b


class Pairing:
    """Yields (query question, response message, ts) for each response that met its query."""

    def __init__(self):
        self.open, self.held = collections.defaultdict(list), collections.defaultdict(list)

    def query(self, key, ts_us, question):
        self.open[key] = [query for query in self.open[key] if ts_us - query.ts_us <= TIMEOUT_US]
        for query in self.open[key]:
            if fits(query.question, question):
                query.ts_us = ts_us
                return
        self.held[key] = [held for held in self.held[key] if ts_us - held[0] <= HOLD_US]
        for held in self.held[key]:
            if fits(question_of(held[1]), question):
                self.held[key].remove(held)
                yield question, held[1], held[0]
                return
        self.open[key].append(Query(ts_us, question))

    def response(self, key, ts_us, message):
        for query in self.open[key]:
            if ts_us - query.ts_us <= TIMEOUT_US and fits(query.question, question_of(message)):
                self.open[key].remove(query)
                yield query.question, message, ts_us
                return
        self.held[key].append((ts_us, message))


def transactions(path):
    pairing = Pairing()
    for datagram, transport in packets.messages(path):
        try:
            message = dnsparse.parse(datagram.payload)
        except dnsparse.Refused:
            try:
                message = dnsparse.parse_questions(datagram.payload)[0]._replace(records=None)
            except dnsparse.Refused:
                continue
        message = message._replace(is_fragmented=datagram.is_fragmented)
        if message.opcode not in PAIRED_OPCODES:
            continue
        here, there = (datagram.src, datagram.sport), (datagram.dst, datagram.dport)
        if message.is_response:
            yield from pairing.response((there, here, transport, message.id), datagram.ts_us, message)
        else:
            yield from pairing.query((here, there, transport, message.id), datagram.ts_us, question_of(message))


# --- RRsets ---


def is_kept(record):
    return record.rdclass == IN and record.type not in (dns.rdatatype.OPT, SIG) and not 249 <= record.type <= 255


def grouped(records):
    """{(owner, type): sorted canonical RDATA}, in order of first appearance."""
    sets = {}
    for record in records:
        if is_kept(record):
            wire = record.rdata.to_digestable(dns.name.root) if record.rdata else b""
            sets.setdefault((lower(record.owner), record.type), set()).add(wire)
    return {key: tuple(sorted(wires)) for key, wires in sets.items()}


def chain_of(qname, answers):
    """The names of the CNAME chain from the QNAME on, in whatever order the records stand; and the DNAME owners that made it."""
    names, dnames = {qname}, set()
    aliases = [(lower(record.owner), record.type, lower(record.rdata.target)) for record in answers if record.type in (CNAME, DNAME) and record.rdclass == IN]
    for _ in aliases:
        for owner, rdtype, target in aliases:
            if rdtype == CNAME and owner in names:
                names.add(target)
            elif rdtype == DNAME and any(name != owner and name.is_subdomain(owner) for name in names):
                dnames.add(owner)
    return names, dnames


def bailiwick_of(qname, message):
    widest = suffix.registrable(qname)
    claims = [lower(record.owner) for record in message.section("authority") if record.type in (SOA, NS) and record.rdclass == IN]
    good = [claim for claim in claims if qname.is_subdomain(claim) and claim.is_subdomain(widest)]
    return max(good, key=lambda claim: len(claim.labels)) if good and message.aa else widest


def of_answer(qname, message):
    answers = message.section("answer")
    bailiwick, (chain, dnames) = bailiwick_of(qname, message), chain_of(qname, answers)
    trust = "authoritative" if message.aa else "resolver"
    for (owner, rdtype), rdata in grouped(answers).items():
        on_chain = owner in chain or (owner in dnames and rdtype == DNAME)
        if owner.is_subdomain(bailiwick):
            yield Key(owner, rdtype, rdata, bailiwick, trust)
        elif not message.aa and on_chain:
            yield Key(owner, rdtype, rdata, suffix.registrable(owner), trust)


def of_referral(qname, message):
    authority = [record for record in message.section("authority") if record.type == NS and record.rdclass == IN]
    cuts = [lower(record.owner) for record in authority if qname.is_subdomain(lower(record.owner)) and record.owner != dns.name.root]
    if not cuts:
        return
    cut = cuts[0]
    servers = [record for record in authority if lower(record.owner) == cut]
    yield Key(cut, NS, grouped(servers)[(cut, NS)], cut.parent(), "referral")
    targets = {lower(record.rdata.target) for record in servers}
    glue = [record for record in message.section("additional") if record.type in ADDRESSES and lower(record.owner) in targets]
    for (owner, rdtype), rdata in grouped(glue).items():
        if owner.is_subdomain(cut):
            yield Key(owner, rdtype, rdata, cut.parent(), "glue")


def of_response(question, message):
    if message.records is None or message.opcode != QUERY or message.tc or message.is_fragmented or not question or not message.questions:
        return []
    qname, qtype, qclass = question
    if qclass != IN or qtype in (AXFR, IXFR) or sum(map(is_kept, message.records)) > MAX_RECORDS:
        return []
    if message.section("answer"):
        return list(of_answer(qname, message)) if message.rcode in (NOERROR, NXDOMAIN) else []
    is_negative = any(record.type == SOA for record in message.section("authority"))
    return list(of_referral(qname, message)) if message.rcode == NOERROR and not message.aa and not is_negative else []


def of_capture(path):
    """{Key: Seen} for a whole capture."""
    found = collections.defaultdict(Seen)
    for question, message, ts_us in transactions(path):
        for key in of_response(question, message):
            found[key].add(ts_us)
    return dict(found)
