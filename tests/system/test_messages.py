"""`--output messages` against an independent dissector, message by message, over all shared captures.

A difference must have a kind, decided by what the dissector and the manifest say, never by what the sensor printed."""
import collections
import decimal
import ipaddress
import re

import capture_support as support
import pytest

ENCRYPTED = ("quic", "tls", "http2")
MULTICAST = ("5353", "5355")
BY_TAG = {
    "malformed": "malformed",
}
MAY_DIFFER = ("malformed", "name longer than 255 bytes")  # the other kinds may be missing, but not wrong
MAX_DIFFERING = 0.005


def key_of_expected(row):
    return (int(row["frame"]), ip(row["src"]), int(row["sport"]), ip(row["dst"]), int(row["dport"]), row["proto"], int(row["id"], 0), int(row["qr"] in ("1", "True")))


def ip(text):
    return str(ipaddress.ip_address(text))


def key_of_line(line):
    return (line["frame"], ip(line["src"]), line["sport"], ip(line["dst"]), line["dport"], line["proto"], line["id"], line["qr"])


def ports_told(capture, facts):
    """The ports besides 53 that hold DNS by the manifest: named in decode_as, or, where it only says "elsewhere", those the dissector's clients asked."""
    ports = set(re.findall(r"port==(\d+)", facts.get("decode_as", "")))
    if "port-other" in facts["tags"] and not ports:
        ports = {row["dport"] for row in support.expected(capture) if row["qr"] in ("0", "False")} - {"53"}
    return sorted(ports)


def kind_left_out(row, facts, ports):
    """Why the sensor need not have this message of the dissector's; None when it must."""
    encap = row["encap"].split(":")
    if row["in_icmp"] == "1":
        return "quoted in an ICMP error"
    if any(part in ENCRYPTED for part in encap):
        return "encrypted DNS"
    if not {row["sport"], row["dport"]} & {"53", *MULTICAST, *ports}:
        return "away from the ports told"
    if row["malformed"] == "1":
        return "malformed"
    if row["proto"] == "tcp":
        return None
    if row["qname_hex"] and len(bytes.fromhex(row["qname_hex"].replace(":", ""))) > 255:
        return "name longer than 255 bytes"
    for tag, why in BY_TAG.items():
        if tag in facts["tags"]:
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
        facts["qclass"] = int(row["qclass"], 0) & (0x7FFF if row["app"] == "mdns" else 0xFFFF)
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
    if have["qclass"] and 5353 in (line["sport"], line["dport"]):
        have["qclass"] &= 0x7FFF  # the top bit is not part of it (RFC 6762 s18.12)
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


def compare(sensor, capture, facts):
    """(messages, {kind: [difference]}) where kind None is a fault."""
    ports = ports_told(capture, facts)
    extra = ("--multicast", *(part for port in ports for part in ("--port", port)))
    _, lines, _, _ = support.run_sensor(sensor, capture, "messages", extra)
    rows = support.expected(capture)
    has_second_list = bool(support.expected(capture, reorder=True))
    ours = collections.defaultdict(list)
    for line in lines:
        ours[key_of_line(line) if "id" in line else None].append(line)
    differences, missing = collections.defaultdict(list), []
    for row in rows:
        why = kind_left_out(row, facts, ports)
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
def facts():
    """By capture, what the manifest says of it; tags as a set."""
    return {support.name_of(row): {**row, "tags": set(row.get("tags", "").replace(",", " ").split())} for row in support.manifest()}


@pytest.mark.parametrize("capture", support.captures() or [None])
def test_messages_agree(sensor, facts, capture):
    support.need_captures()
    total, differences = compare(sensor, capture, facts[capture])
    faults = differences.pop(None, [])
    for kind, items in sorted(differences.items()):
        for item in items:
            print(f"{capture}: {kind}: {item}")
    assert not faults, f"{len(faults)} of {total} messages differ without a kind; first: {faults[:5]}"


def test_differences_are_few(sensor, facts):
    """All kinds together, over all captures."""
    support.need_captures()
    messages, kinds = 0, collections.Counter()
    for capture in support.captures():
        total, differences = compare(sensor, capture, facts[capture])
        messages += total
        kinds.update({kind: len(items) for kind, items in differences.items()})
    print(messages, dict(kinds))
    assert messages > 32000
    assert sum(kinds.values()) < messages * MAX_DIFFERING, f"{dict(kinds)} of {messages}"


def test_encapsulations_are_told(sensor):
    """`via` against the dissector's stack: the same layers in the same order, and numbers where they have them."""
    support.need_captures()
    names = {"vlan": "vlan", "pppoes": "pppoe", "gre": "gre", "vxlan": "vxlan", "geneve": "geneve", "gtp": "gtp", "teredo": "teredo", "mpls": "mpls"}
    seen = collections.Counter()
    for capture in support.captures():
        wanted = {}
        for row in support.expected(capture):
            stack = row["encap"].split(":")
            layers = [names[part] for part in stack if part in names]
            if any(outer in ("ip", "ipv6") and inner in ("ip", "ipv6") for outer, inner in zip(stack, stack[1:])):
                layers.append("6in4")
            if row["in_icmp"] != "1" and layers:
                wanted[int(row["frame"])] = layers
        if not wanted:
            continue
        _, lines, _, _ = support.run_sensor(sensor, capture, "messages", ("--multicast",))
        for line in lines:
            layers = [layer.split(":") for layer in line.get("via", "").split(",") if layer]
            assert [layer[0] for layer in layers] == wanted.get(line["frame"], []) or line["frame"] not in wanted, (capture, line["frame"], line.get("via"))
            assert all(len(layer) == 2 for layer in layers if layer[0] in ("vlan", "pppoe", "vxlan", "geneve", "gtp", "mpls"))
            seen.update(layer[0] for layer in layers)
    assert set(seen) >= {"vlan", "pppoe", "gre", "vxlan", "geneve", "gtp", "6in4"}


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
def test_a_wrong_line_is_noticed(sensor, facts, monkeypatch, change):
    support.need_captures()
    capture = "arkime__dns-wiresharkrepo.pcap"
    status, lines, counters, stderr = support.run_sensor(sensor, capture, "messages")
    spoiled = [dict(line) for line in lines]
    change(spoiled)
    monkeypatch.setattr(support, "run_sensor", lambda *_: (status, spoiled, counters, stderr))
    assert compare(sensor, capture, facts[capture])[1][None]
