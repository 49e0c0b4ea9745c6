"""`--output messages` against an independent dissector, message by message, over all shared captures.

A difference must have a kind, decided by what the dissector and the manifest say, never by what the sensor printed."""
import collections
import decimal
import ipaddress

import capture_support as support
import pytest

# A sensor of DNS on port 53 leaves these out by design, or in this step.
NOT_YET = ("gre", "vxlan", "geneve", "gtp", "teredo", "pppoes", "mpls", "erspan", "ipip", "6in4", "l2tp", "nflog", "ieee802", "wlan", "http2")
BY_TAG = {
    "checksum": "checksums are not judged",
    "ignore": "encrypted DNS",
    "malformed": "malformed",
    "fragments": "IP fragments come in a later step",
    "cut-short": "cut by the snap length",
    "multi-interface": "pcapng whose interfaces libpcap cannot mix",
}


def key_of_expected(row):
    return (int(row["frame"]), ip(row["src"]), int(row["sport"]), ip(row["dst"]), int(row["dport"]), row["proto"], int(row["id"], 0), int(row["qr"] in ("1", "True")))


def ip(text):
    return str(ipaddress.ip_address(text))


def key_of_line(line):
    return (line["frame"], ip(line["src"]), line["sport"], ip(line["dst"]), line["dport"], line["proto"], line["id"], line["qr"])


def kind_left_out(row, tags):
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
    if row["proto"] == "tcp":
        return "tcp" if "tcp-gap" in tags or "tcp-reorder" in tags or "tcp-odd" in tags else None
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


def compare(sensor, capture, tags):
    """(messages, {kind: [difference]}) where kind None is a fault."""
    _, lines, _, _ = support.run_sensor(sensor, capture, "messages")
    rows = support.expected(capture)
    reordered = {key_of_expected(row) for row in support.expected(capture, reorder=True) if row["app"] == "dns" and row["sport"]}
    ours = collections.defaultdict(list)
    for line in lines:
        if "id" in line:
            ours[key_of_line(line)].append(line)
    differences = collections.defaultdict(list)
    for row in rows:
        why = kind_left_out(row, tags)
        key = key_of_expected(row) if row["src"] and row["sport"] and row["id"] else None
        if key is None or not ours.get(key):
            if why is None and row["proto"] == "tcp" and reordered and key not in reordered:
                why = "tcp: only in order of arrival"
            differences[why].append(("missing", row))
            continue
        line = ours[key].pop(0)
        wanted = facts_of_expected(row)
        have = facts_of_line(line, wanted)
        if wanted != have:
            differences[why].append(("differs", {k: (wanted[k], have[k]) for k in wanted if wanted[k] != have[k]}, key))
    for left in ours.values():
        for line in left:
            kind = "tcp: only when reordered" if key_of_line(line) in reordered else "tcp: after a gap" if "tcp-gap" in tags else None
            if kind is None and ("malformed" in line or "malformed" in tags or "checksum" in tags):
                kind = "malformed, or with a checksum the dissector refuses"
            differences[kind].append(("extra", key_of_line(line), line.get("malformed")))
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
