"""The `records` and `edns` of `--output messages` against dnspython reading the same payload.

The payload comes from model/packets.py, found by frame number, addresses and id; texts are compared after dnspython has read them, so spelling does not count."""
import collections
import functools

import capture_support as support
import dns.exception
import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import known_faults
import pytest
from model import dnsparse, packets

# What is known of the shared captures, measured; more of any is a fault of the sensor, or a new capture to look at.
MAX_REFUSED = 17  # by dnspython; captures tagged malformed, an inverse query, SIGred, and three root queries with bad names
MAX_UNREADABLE = 2  # texts dnspython does not read back: SVCB values that RFC 9460 does not allow
MAX_WITHOUT_PAYLOAD = 27  # printed messages this reader does not find: TCP after a gap
MIN_COMPARED = {"messages": 32450, "records": 158200, "edns": 24500}


@functools.lru_cache(maxsize=4096)
def name_of(text):
    return dns.name.from_text(text)


def identity(frame, src, sport, dst, dport, transport, message_id):
    return frame, src, sport, dst, dport, transport, message_id


@functools.lru_cache(maxsize=1)
def payloads(capture):
    found = collections.defaultdict(list)
    for datagram, transport in packets.messages(support.DATA / "pcap" / capture):
        if len(datagram.payload) >= 2:
            key = identity(*datagram[:1], *datagram[2:6], transport, int.from_bytes(datagram.payload[:2], "big"))
            found[key].append(datagram.payload)
    return found


def payload_of(found, line):
    """The bytes of a printed message; messages of one packet that share an id come in order."""
    waiting = found.get(identity(line["frame"], line["src"], line["sport"], line["dst"], line["dport"], line["proto"], line["id"]))
    return waiting.pop(0) if waiting else None


def rdata_fault(record, printed):
    """None where the printed RDATA means the record's; "unreadable" where dnspython cannot tell; else both texts."""
    if record.rdata is None:
        return None if printed == "" else f"{printed!r} for no RDATA"
    try:
        read = dns.rdata.from_text(record.rdclass, record.type, printed, relativize=False)
    except (dns.exception.DNSException, ValueError):
        return "unreadable" if not printed.startswith("\\#") else f"{printed!r} is no RFC 3597 form"
    wanted, have = record.rdata.to_wire(), read.to_wire()
    return None if wanted == have else f"{printed!r} for {record.rdata.to_text()!r}"


def record_faults(record, printed):
    wanted = {
        "section": record.section,
        "owner": record.owner.labels,
        "type": record.type,
        "class": record.rdclass,
        "ttl": record.ttl,
    }
    have = {
        "section": printed["section"],
        "owner": name_of(printed["owner"]).labels,
        "type": dns.rdatatype.from_text(printed["type"]),
        "class": dns.rdataclass.from_text(printed["class"]),
        "ttl": printed["ttl"],
    }
    return [f"{key}: {have[key]!r} for {wanted[key]!r}" for key in wanted if wanted[key] != have[key]]


def edns_of(message):
    if not message.opt:
        return None
    options = [{"code": code, "data": data.hex()} for code, data in dnsparse.options_of(message.opt)]
    return {"udp": message.opt.rdclass, "do": bool(message.opt.ttl & 0x8000), "version": message.opt.ttl >> 16 & 255, "options": options}


def message_faults(message, line, counts):
    wanted = [record for record in message.records if record.type != dns.rdatatype.OPT]
    faults = []
    if len(wanted) != len(line["records"]):
        faults.append(f"{len(line['records'])} records for {len(wanted)}")
    for record, printed in zip(wanted, line["records"]):
        faults += record_faults(record, printed)
        fault = rdata_fault(record, printed["rdata"])
        if fault == "unreadable":
            counts["unreadable"] += 1
        elif fault:
            faults.append(fault)
    edns = edns_of(message)
    if edns != line.get("edns"):
        faults.append(f"edns: {line.get('edns')} for {edns}")
    if message.is_response and message.rcode != line["rcode"]:
        faults.append(f"rcode: {line['rcode']} for {message.rcode}")
    if "malformed" in line and not message.trailing:
        faults.append(f"called malformed ({line['malformed']}), read whole by dnspython")
    counts["records"] += len(wanted)
    counts["edns"] += edns is not None
    return faults


def compare(sensor, capture):
    """(faults, counts) of one capture."""
    _, lines, _, _ = support.run_sensor(sensor, capture, "messages")
    found = {key: list(waiting) for key, waiting in payloads(capture).items()} if lines else {}
    faults, counts = [], collections.Counter()
    for line in lines:
        if "id" not in line:
            continue
        payload = payload_of(found, line)
        if payload is None:
            counts["without payload"] += 1
            continue
        try:
            message = dnsparse.parse(payload)
        except dnsparse.Refused as refusal:
            counts["refused"] += 1
            if "malformed" not in line:
                faults.append((line["frame"], f"taken whole; dnspython refuses: {refusal}"))
            continue
        counts["messages"] += 1
        faults += [(line["frame"], fault) for fault in message_faults(message, line, counts)]
    return faults, counts


_compared = {}


def compared(sensor, capture):
    if capture not in _compared:
        _compared[capture] = compare(sensor, capture)
    return _compared[capture]


@pytest.mark.parametrize("capture", support.captures() or [None])
def test_records_agree(sensor, request, capture):
    known_faults.mark(request, capture)
    support.need_captures()
    faults, counts = compared(sensor, capture)
    assert not faults, f"{len(faults)} faults in {dict(counts)}; first: {faults[:5]}"


def test_little_was_left_out(sensor):
    support.need_captures()
    total = collections.Counter()
    for capture in support.captures():
        total += compared(sensor, capture)[1]
    print(dict(total))
    assert total["refused"] <= MAX_REFUSED
    assert total["unreadable"] <= MAX_UNREADABLE
    assert total["without payload"] <= MAX_WITHOUT_PAYLOAD
    for what, least in MIN_COMPARED.items():
        assert total[what] >= least, what


# --- the comparison itself can fail ---


def a_message():
    """A payload with a name, an unknown type and EDNS, and the line that is right for it."""
    wire = bytes.fromhex(
        "123484000001000200000001" "037777770765786d61706c6503636f6d0000010001"
        "c00c000500010000003c0002c010" "c00cff0100010000003c0003010203" "00002904d00000800000060003000261ff".replace(" ", "")
    )
    line = {
        "frame": 1, "rcode": 0, "edns": {"udp": 1232, "do": True, "version": 0, "options": [{"code": 3, "data": "61ff"}]},
        "records": [
            {"section": "answer", "owner": "www.exmaple.com.", "type": "CNAME", "class": "IN", "ttl": 60, "rdata": "exmaple.com."},
            {"section": "answer", "owner": "www.exmaple.com.", "type": "TYPE65281", "class": "IN", "ttl": 60, "rdata": "\\# 3 010203"},
        ],
    }
    return dnsparse.parse(wire), line


def spoil_record(key, value):
    return lambda line: line["records"][0].update({key: value})


@pytest.mark.parametrize(
    "spoil",
    [
        spoil_record("owner", "WWW.exmaple.com."),
        spoil_record("owner", "www\\.exmaple.com."),
        spoil_record("type", "DNAME"),
        spoil_record("class", "CH"),
        spoil_record("ttl", 61),
        spoil_record("section", "authority"),
        spoil_record("rdata", "Exmaple.com."),
        spoil_record("rdata", ""),
        lambda line: line["records"][1].update(rdata="\\# 3 010204"),
        lambda line: line["records"][1].update(rdata="\\# 4 010203"),
        lambda line: line["records"].pop(),
        lambda line: line["records"].reverse(),
        lambda line: line["edns"].update(udp=1233),
        lambda line: line["edns"].update(do=False),
        lambda line: line["edns"].update(version=1),
        lambda line: line["edns"]["options"].clear(),
        lambda line: line.pop("edns"),
        lambda line: line.update(rcode=3),
        lambda line: line.update(malformed="bad_rdata"),
    ],
)
def test_a_wrong_line_is_noticed(spoil):
    message, line = a_message()
    assert message_faults(message, line, collections.Counter()) == []
    spoil(line)
    counts = collections.Counter()
    assert message_faults(message, line, counts) or counts["unreadable"]
