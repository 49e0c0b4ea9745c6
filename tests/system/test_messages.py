"""`--output messages` against an independent dissector, message by message, over all shared captures.

A difference must have a kind, decided by what the dissector and the manifest say, never by what the sensor printed."""
import collections
import decimal
import functools
import ipaddress

import capture_support as support
import pytest
from model import packets

# A sensor of DNS on port 53 leaves these out by design, or in this step.
NOT_YET = ("gre", "vxlan", "geneve", "gtp", "teredo", "pppoes", "mpls", "erspan", "ipip", "6in4", "l2tp", "nflog", "ieee802", "wlan", "http2")
BY_TAG = {
    "ignore": "encrypted DNS",
    "malformed": "malformed",
    "cut-short": "cut by the snap length",
    "multi-interface": "pcapng whose interfaces libpcap cannot mix",
}

MAY_DIFFER = ("malformed", "name longer than 255 bytes")  # the other kinds may be missing, but not wrong


def key_of_expected(row):
    return (int(row["frame"]), ip(row["src"]), int(row["sport"]), ip(row["dst"]), int(row["dport"]), row["proto"], int(row["id"], 0), int(row["qr"] in ("1", "True")))


def ip(text):
    return str(ipaddress.ip_address(text))


def key_of_line(line):
    return (line["frame"], ip(line["src"]), line["sport"], ip(line["dst"]), line["dport"], line["proto"], line["id"], line["qr"])


@functools.lru_cache(maxsize=None)
def fragments_of(capture):
    return packets.fragment_frames(support.DATA / "pcap" / capture)


def kind_left_out(capture, row, tags):
    """Why the sensor need not have this message of the dissector's; None when it must."""
    encap = row["encap"].split(":")
    if row["in_icmp"] == "1":
        return "quoted in an ICMP error"
    if row["app"] in ("mdns", "llmnr"):
        return row["app"]
    if not row["sport"] or not row["dport"] or "53" not in (row["sport"], row["dport"]):
        return "away from port 53"
    if any(part in NOT_YET for part in encap) or encap.count("ip") + encap.count("ipv6") > 1:
        return "encapsulation of a later step"
    if row["malformed"] == "1":
        return "malformed"
    if "fragments" in tags and int(row["frame"]) in fragments_of(capture):
        return "IP fragments come in a later step"
    if row["proto"] == "tcp":
        return None
    if row["qname_hex"] and len(bytes.fromhex(row["qname_hex"].replace(":", ""))) > 255:
        return "name longer than 255 bytes"
    for tag, why in BY_TAG.items():
        if tag in tags:
            return why
    return None


def facts_of_expected(row):
    qname = bytes.fromhex(row["qname_hex"].replace(":", "")) if row["qname_hex"] else b""
    facts = {
        "ts": decimal.Decimal(row["time_epoch"]),
        "opcode": int(row["opcode"]),
        "qd": int(row["qdcount"]), "an": int(row["ancount"]), "ns": int(row["nscount"]), "ar": int(row["arcount"]),
        "tc": row["tc"] in ("1", "True"),
        "edns": row["edns"] == "1",
    }
    if row["qtype"] and row["malformed"] != "1":
        facts["qtype"] = int(row["qtype"])
        facts["qclass"] = int(row["qclass"], 0)
    if row["qr"] in ("1", "True") and row["rcode"]:
        facts["rcode"] = int(row["rcode"]) & 15
    if qname and not any(byte >= 0xC0 for byte in lengths(qname)):
        facts["qname"] = qname
    return facts


def lengths(wire):
    at, out = 0, []
    while at < len(wire):
        out.append(wire[at])
        at += wire[at] + 1
    return out


def facts_of_line(line, wanted):
    have = {
        "ts": decimal.Decimal(line["ts"]), "opcode": line["opcode"], "qd": line["qd"], "an": line["an"], "ns": line["ns"],
        "ar": line["ar"], "tc": line["tc"], "edns": "edns" in line, "rcode": line["rcode"] & 15,
        "qtype": line.get("qtype_num"), "qclass": line.get("qclass_num"), "qname": bytes.fromhex(line.get("qname_hex", "")),
    }
    return {key: have[key] for key in wanted}


def take(lines, row, is_same):
    """The first of the lines that is this row's, taken out of the list; None when none is."""
    for line in lines:
        if is_same(key_of_line(line), key_of_expected(row)):
            lines.remove(line)
            return line
    return None


def fault_of(row, line):
    """The facts in which the line differs from the row; the time only where both name the same packet."""
    wanted = facts_of_expected(row)
    if line["frame"] != int(row["frame"]):
        del wanted["ts"]
    have = facts_of_line(line, wanted)
    return {key: (wanted[key], have[key]) for key in wanted if wanted[key] != have[key]}


def compare_around_gaps(capture, missing, left, differences):
    """Captures with a second list, TCP put in order before it is read: after a gap a message may come later than in the first list, be missing where the second
    has none, be there where the second has it; nothing else."""
    ordered = [row for row in support.expected(capture, reorder=True) if row["proto"] == "tcp"]
    spare = collections.Counter(key_of_expected(row)[1:] for row in ordered)
    for row in missing:
        line = take(left, row, lambda have, wanted: have[1:] == wanted[1:] and have[0] > wanted[0])
        if line:
            fault = fault_of(row, line)
            differences[None if fault else "tcp: complete later, after a gap"].append(("differs", fault, key_of_expected(row)))
        else:
            differences[None if spare[key_of_expected(row)[1:]] else "tcp: only in order of arrival"].append(("missing", row))
    for row in ordered:
        line = take(left, row, lambda have, wanted: have[1:] == wanted[1:])
        if line:
            fault = fault_of(row, line)
            differences[None if fault else "tcp: only when reordered"].append(("extra", fault, key_of_expected(row)))


def compare(sensor, capture, tags):
    """(messages, {kind: [difference]}) where kind None is a fault."""
    _, lines, _, _ = support.run_sensor(sensor, capture, "messages")
    rows = support.expected(capture)
    has_second_list = bool(support.expected(capture, reorder=True))
    ours = collections.defaultdict(list)
    for line in lines:
        ours[key_of_line(line) if "id" in line else None].append(line)
    differences, missing = collections.defaultdict(list), []
    for row in rows:
        why = kind_left_out(capture, row, tags)
        key = key_of_expected(row) if row["src"] and row["sport"] and row["id"] else None
        if key is not None and ours.get(key):
            fault = fault_of(row, ours[key].pop(0))
            if fault:
                differences[why if why in MAY_DIFFER else None].append(("differs", fault, key))
        elif why is None and row["proto"] == "tcp" and has_second_list:
            missing.append(row)
        else:
            differences[why].append(("missing", row))
    left = [line for waiting in ours.values() for line in waiting]
    if has_second_list:
        compare_around_gaps(capture, missing, left, differences)
    for line in left:
        differences[None].append(("extra", line["frame"], line.get("id"), line.get("malformed")))
    return len(rows), differences


@pytest.fixture(scope="session")
def tags():
    return {support.name_of(row): set(row.get("tags", "").replace(",", " ").split()) for row in support.manifest()}


@pytest.mark.parametrize("capture", support.captures() or [None])
def test_messages_agree(sensor, tags, capture):
    support.need_captures()
    total, differences = compare(sensor, capture, tags.get(capture, set()))
    faults = differences.pop(None, [])
    for kind, items in sorted(differences.items()):
        print(f"{capture}: {len(items)} of {total}: {kind}")
    assert not faults, f"{len(faults)} of {total} messages differ without a kind; first: {faults[:5]}"


def test_differences_are_few(sensor, tags):
    """The kinds above must not eat the test: over all captures, of the messages on port 53, hardly any differ at all."""
    support.need_captures()
    messages = differing = 0
    for capture in support.captures():
        _, differences = compare(sensor, capture, tags.get(capture, set()))
        rows = [row for row in support.expected(capture) if "53" in (row["sport"], row["dport"]) and row["in_icmp"] != "1"]
        aside = {"quoted in an ICMP error", "away from port 53", "mdns", "llmnr", "encapsulation of a later step", "IP fragments come in a later step"}
        messages += len(rows)
        differing += sum(len(items) for kind, items in differences.items() if kind not in aside)
    assert messages > 25000
    assert differing < messages * 0.02, f"{differing} of {messages} differ"


# --- the comparison itself can fail ---


def spoil(key, value):
    return lambda lines: lines[7].update({key: value})


@pytest.mark.parametrize(
    "change",
    [spoil(key, value) for key, value in (
        ("frame", 9999), ("ts", "1.000000"), ("src", "192.0.2.1"), ("sport", 1), ("dst", "192.0.2.1"), ("dport", 1), ("proto", "tcp"), ("id", 70000), ("qr", 2), ("opcode", 3), ("tc", True),
        ("qname_hex", "00"), ("qtype_num", 9), ("qclass_num", 9), ("qd", 9), ("an", 9), ("ns", 9), ("ar", 9), ("edns", {}))]
    + [lambda lines: lines[1].update(rcode=5), lambda lines: lines.pop(), lambda lines: lines.append(dict(lines[0], malformed="bad_rdata")), lambda lines: lines.append({"frame": 1, "malformed": "short_header"})],
)
def test_a_wrong_line_is_noticed(sensor, tags, monkeypatch, change):
    support.need_captures()
    capture = "arkime__dns-wiresharkrepo.pcap"
    status, lines, counters, stderr = support.run_sensor(sensor, capture, "messages")
    spoiled = [dict(line) for line in lines]
    change(spoiled)
    monkeypatch.setattr(support, "run_sensor", lambda *_: (status, spoiled, counters, stderr))
    assert compare(sensor, capture, tags[capture])[1][None]
