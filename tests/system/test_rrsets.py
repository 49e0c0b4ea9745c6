"""`--output rrsets` against the model in model/rrsets.py: on the two largest captures, and on small ones that each break one rule.

The small ones carry their expectation by hand, so that sensor and model cannot agree on a mistake."""
import collections
import itertools

import capture_support as support
import dns.message
import dns.name
import dns.rdata
import dns.rdatatype
import known_faults
import pytest
from model import craft, rrsets, suffix

LARGEST = ["compactor__nsd-live.raw.pcap.xz", "pktvisor__dns_udp_tcp_random.pcap"]
FIELDS = {"rrname": str, "rrtype": str, "rdata": list, "count": int, "time_first": int, "time_last": int, "bailiwick": str, "trust": str}


def key_of_line(line):
    rrtype = dns.rdatatype.from_text(line["rrtype"])
    wires = [dns.rdata.from_text("IN", rrtype, text, relativize=False).to_digestable(dns.name.root) for text in line["rdata"]]
    assert len(set(wires)) == len(wires), f"the same RDATA twice: {line}"
    return rrsets.Key(dns.name.from_text(line["rrname"]), rrtype, tuple(sorted(wires)), dns.name.from_text(line["bailiwick"]), line["trust"])


def printed(lines):
    """{Key: (count, first, last)}; checks the form of each COF line."""
    found = {}
    for line in lines:
        for field, kind in FIELDS.items():
            assert type(line[field]) is kind, f"{field} in {line}"
        assert line["rdata"] and all(isinstance(text, str) and text for text in line["rdata"]), line
        assert line["rrname"] == line["rrname"].lower() and line["rrname"].endswith("."), line
        key = key_of_line(line)
        assert key not in found, f"two lines for {key}"
        found[key] = (line["count"], line["time_first"], line["time_last"])
    return found


def modelled(path):
    return {key: (seen.count, seen.first_us // 1000000, seen.last_us // 1000000) for key, seen in rrsets.of_capture(path).items()}


def difference(model, sensor):
    keys = sorted(model.keys() | sensor.keys(), key=str)
    return [(str(key.rrname), key.rrtype, str(key.bailiwick), key.trust, "model", model.get(key), "sensor", sensor.get(key)) for key in keys if model.get(key) != sensor.get(key)]


@pytest.mark.parametrize("capture", LARGEST)
def test_largest_captures_agree(sensor, capture):
    support.need_captures()
    _, lines, counters, _ = support.run_sensor(sensor, capture, "rrsets")
    sensor_says, model = printed(lines), modelled(support.DATA / "pcap" / capture)
    assert len(model) > 400
    wrong = difference(model, sensor_says)
    assert not wrong, f"{len(wrong)} of {len(model)} differ; first: {wrong[:5]}"
    assert sum(line["count"] for line in lines) == counters["rrsets"]


def test_they_are_the_largest():
    support.need_captures()
    rows = sorted(support.manifest(), key=lambda row: -int(row["dns_messages"]))
    assert [support.name_of(row) for row in rows[:2]] == LARGEST


def test_largest_captures_hold_every_trust():
    support.need_captures()
    kinds = collections.Counter(key.trust for capture in LARGEST for key in modelled(support.DATA / "pcap" / capture))
    assert set(kinds) == {"authoritative", "resolver", "referral", "glue"}


@pytest.mark.parametrize(
    "name, domain",
    [
        ("www.example.com.", "example.com."), ("example.com.", "example.com."), ("com.", "com."), (".", "."),
        ("a.b.example.co.uk.", "example.co.uk."), ("co.uk.", "co.uk."), ("x.y.ck.", "x.y.ck."), ("a.x.y.ck.", "x.y.ck."),
        ("www.ck.", "www.ck."), ("a.www.ck.", "www.ck."), ("host.corp.", "host.corp."), ("a.host.corp.", "host.corp."),
        ("me.github.io.", "me.github.io."), ("www.me.github.io.", "me.github.io."), ("4.3.2.1.in-addr.arpa.", "1.in-addr.arpa."),
    ],
)
def test_model_knows_public_suffixes(name, domain):
    assert suffix.registrable(dns.name.from_text(name)) == dns.name.from_text(domain)


# --- one rule each: (frames, what must be printed as "rrname type bailiwick trust count rdata...") ---

WWW = "www.example.com. 300 A 192.0.2.1"
SOA = "example.com. 300 SOA ns.example.com. root.example.com. 1 2 3 4 5"
PLAIN = "www.example.com. A example.com. resolver 1 192.0.2.1"


def exchange(qname="www.example.com.", qtype="A", **parts):
    ask = craft.query(qname, qtype)
    return [craft.asked(ask), craft.answered(craft.response(ask, **parts))]


def without_question():
    ask = craft.query("www.example.com.")
    bare = craft.response(ask, answer=[WWW])
    bare.question = []
    return [craft.asked(ask), craft.answered(bare)]


def other_question(qname, qtype="A", message_id=1):
    return [craft.asked(craft.query("www.example.com.")), craft.answered(craft.response(craft.query(qname, qtype, message_id), answer=[WWW]))]


def cut_inside():
    """The second address of the answer is cut off: the header promises two records, one is whole."""
    ask = craft.query("www.example.com.")
    whole = craft.wire(craft.response(ask, answer=[WWW, "www.example.com. 300 A 192.0.2.2"]))
    return [craft.asked(ask), craft.answered(whole[:-2])]


def later(query_us, response_us, again_us=None):
    ask = craft.query("www.example.com.")
    frames = [craft.asked(ask, query_us)] + ([craft.asked(ask, again_us)] if again_us is not None else [])
    return sorted(frames + [craft.answered(craft.response(ask, answer=[WWW]), response_us)])


def twice(second):
    ask = craft.query("www.example.com.")
    return [craft.asked(ask), craft.answered(craft.response(ask, answer=[WWW])), craft.answered(craft.response(ask, answer=[second]), 30000)]


def big_answer(count):
    return exchange(answer=[f"www.example.com. 300 A 10.0.{i // 256}.{i % 256}" for i in range(count)])


CASES = {
    "an answer": (exchange(answer=[WWW]), [PLAIN]),
    "case is folded": (exchange("wWw.ExAmPlE.com.", answer=["WWW.example.COM. 300 CNAME A.Example.com."]), ["www.example.com. CNAME example.com. resolver 1 a.example.com."]),
    "one set, sorted, once": (
        exchange(answer=["www.example.com. 1 A 192.0.2.9", WWW, "www.example.com. 9 A 192.0.2.9"]), ["www.example.com. A example.com. resolver 1 192.0.2.1 192.0.2.9"]),
    "unsolicited": ([craft.answered(craft.response(craft.query("www.example.com."), answer=[WWW]))], []),
    "another id": (other_question("www.example.com.", message_id=2), []),
    "another name": (other_question("www.example.net."), []),
    "another type": (other_question("www.example.com.", "AAAA"), []),
    "another port": ([craft.asked(craft.query("www.example.com.")), craft.answered(craft.response(craft.query("www.example.com."), answer=[WWW]), port=40001)], []),
    "another server": ([craft.asked(craft.query("www.example.com.")), craft.answered(craft.response(craft.query("www.example.com."), answer=[WWW]), server="198.51.100.54")], []),
    "no question in the response": (without_question(), []),
    "the second response is nobody's": (twice("www.example.com. 300 A 203.0.113.66"), [PLAIN]),
    "five seconds": (later(0, 5_000_000), [PLAIN]),
    "more than five seconds": (later(0, 5_000_001), []),
    "five seconds from the retransmission": (later(0, 8_000_000, again_us=4_000_000), [PLAIN]),
    "a little before its query": (later(50_000, 0), [PLAIN]),
    "long before its query": (later(50_001, 0), []),
    "truncated": (exchange(answer=[WWW], tc=True), []),
    "damaged in the answer": (cut_inside(), []),
    "SERVFAIL": (exchange(answer=[WWW], rcode="SERVFAIL"), []),
    "NXDOMAIN with a chain": (exchange(answer=["www.example.com. 300 CNAME gone.example.com."], authority=[SOA], rcode="NXDOMAIN"), ["www.example.com. CNAME example.com. resolver 1 gone.example.com."]),
    "NXDOMAIN": (exchange(authority=[SOA], rcode="NXDOMAIN", aa=True), []),
    "no data": (exchange(authority=[SOA], aa=True), []),
    "a transfer": (exchange("example.com.", "AXFR", answer=[SOA, WWW, SOA]), []),
    "authoritative, zone unnamed": (exchange("www.a.example.com.", answer=["www.a.example.com. 300 A 192.0.2.1"], aa=True), ["www.a.example.com. A example.com. authoritative 1 192.0.2.1"]),
    "authoritative, zone named": (
        exchange("www.a.example.com.", answer=["www.a.example.com. 300 A 192.0.2.1"], authority=["a.example.com. 300 NS ns.example.net."], aa=True),
        ["www.a.example.com. A a.example.com. authoritative 1 192.0.2.1"]),
    "authoritative, zone named elsewhere": (
        exchange("www.a.example.com.", answer=["www.a.example.com. 300 A 192.0.2.1"], authority=["b.example.com. 300 NS ns.example.net."], aa=True),
        ["www.a.example.com. A example.com. authoritative 1 192.0.2.1"]),
    "a server widens its bailiwick to the root": (
        exchange("x.evil.example.", answer=["x.evil.example. 300 CNAME www.bank.example.", "www.bank.example. 300 A 203.0.113.66"], authority=[". 300 NS ns.evil.example."], aa=True),
        ["x.evil.example. CNAME evil.example. authoritative 1 www.bank.example."]),
    "a server widens its bailiwick to the top level": (
        exchange("x.evil.com.", answer=["x.evil.com. 300 CNAME www.bank.com.", "www.bank.com. 300 A 203.0.113.66"], authority=["com. 300 NS ns.evil.com."], aa=True),
        ["x.evil.com. CNAME evil.com. authoritative 1 www.bank.com."]),
    "authoritative chain out of bailiwick": (
        exchange(answer=["www.example.com. 300 CNAME cdn.example.net.", "cdn.example.net. 300 A 192.0.2.7"], aa=True), ["www.example.com. CNAME example.com. authoritative 1 cdn.example.net."]),
    "resolver's chain": (
        exchange(answer=["cdn.example.net. 300 A 192.0.2.7", "www.example.com. 300 CNAME cdn.example.net."]),
        ["www.example.com. CNAME example.com. resolver 1 cdn.example.net.", "cdn.example.net. A example.net. resolver 1 192.0.2.7"]),
    "resolver's long chain": (
        exchange(answer=["www.example.com. 300 CNAME a.example.net.", "a.example.net. 300 CNAME b.example.org.", "b.example.org. 300 A 192.0.2.7"]),
        ["www.example.com. CNAME example.com. resolver 1 a.example.net.", "a.example.net. CNAME example.net. resolver 1 b.example.org.", "b.example.org. A example.org. resolver 1 192.0.2.7"]),
    "resolver's DNAME": (
        exchange(answer=["www.example.com. 300 CNAME www.old.example.net.", "old.example.net. 300 DNAME new.example.org.", "www.old.example.net. 300 CNAME www.new.example.org.",
                         "www.new.example.org. 300 A 192.0.2.7"]),
        ["www.example.com. CNAME example.com. resolver 1 www.old.example.net.", "old.example.net. DNAME example.net. resolver 1 new.example.org.",
         "www.old.example.net. CNAME example.net. resolver 1 www.new.example.org.", "www.new.example.org. A example.org. resolver 1 192.0.2.7"]),
    "a stranger in a resolver's answer": (exchange(answer=[WWW, "www.bank.example. 300 A 203.0.113.66"]), [PLAIN]),
    "a sibling in a resolver's answer": (exchange(answer=[WWW, "b.example.com. 300 A 192.0.2.2"]), [PLAIN, "b.example.com. A example.com. resolver 1 192.0.2.2"]),
    "authority and additional beside an answer": (
        exchange(answer=[WWW], authority=["example.com. 300 NS ns.example.com."], additional=["ns.example.com. 300 A 192.0.2.53"]), [PLAIN]),
    "a referral with glue": (
        exchange(authority=["example.com. 300 NS ns.example.com.", "example.com. 300 NS ns.example.net."],
                 additional=["ns.example.com. 300 A 192.0.2.53", "ns.example.net. 300 A 203.0.113.66", "www.example.com. 300 A 203.0.113.66", "ns.example.com. 300 TXT \"x\""]),
        ["example.com. NS com. referral 1 ns.example.com. ns.example.net.", "ns.example.com. A com. glue 1 192.0.2.53"]),
    "a referral beside the question": (exchange(authority=["example.net. 300 NS ns.example.net."]), []),
    "a referral up to the root": (exchange(authority=[". 300 NS a.root-servers.net."], additional=["a.root-servers.net. 300 A 203.0.113.66"]), []),
    "an authoritative server does not refer": (exchange(authority=["example.com. 300 NS ns.example.com."], aa=True), []),
    "a registry's own suffix": (exchange("a.host.corp.", answer=["a.host.corp. 300 A 10.0.0.1"]), ["a.host.corp. A host.corp. resolver 1 10.0.0.1"]),
    "another class": (exchange(answer=[WWW], qtype="A")[:1] + [craft.answered(craft.wire(craft.response(craft.query("www.example.com."), answer=[WWW])).replace(b"\0\1\0\1\0\0\1\x2c", b"\0\1\0\3\0\0\1\x2c"))], []),
    "as many records as are kept": (big_answer(512), ["www.example.com. A example.com. resolver 1 " + " ".join(f"10.0.{i // 256}.{i % 256}" for i in range(512))]),
    "a set is whole or absent": (big_answer(513), []),
}


def key_of_text(text):
    rrname, rrtype, bailiwick, trust, count, *rdata = text.split(" ")
    line = {"rrname": rrname, "rrtype": rrtype, "rdata": rdata, "bailiwick": bailiwick, "trust": trust}
    return key_of_line(line), int(count)


def made(name, tmp_path):
    frames, texts = CASES[name]
    path = tmp_path / "case.pcap"
    path.write_bytes(craft.pcap(frames))
    return path, dict(key_of_text(text) for text in texts)


@pytest.mark.parametrize("name", CASES)
def test_model_holds_each_rule(tmp_path, name):
    path, wanted = made(name, tmp_path)
    assert {key: seen.count for key, seen in rrsets.of_capture(path).items()} == wanted


@pytest.mark.parametrize("name", CASES)
def test_sensor_holds_each_rule(sensor, request, tmp_path, name):
    known_faults.mark(request, name)
    path, wanted = made(name, tmp_path)
    status, lines, counters, _ = support.run_sensor(sensor, path, "rrsets")
    assert status == 0 and counters["balanced"] is True
    assert {key: value[0] for key, value in printed(lines).items()} == wanted


def test_times_and_counts_add_up(sensor, tmp_path):
    """Three sightings: count 3, first and last to the second below; another set is another line."""
    frames = []
    for number, (after_us, address) in enumerate([(900_000, 1), (3_100_000, 1), (1_500_000, 2), (86_400_000_000, 1)]):
        ask = craft.query("www.example.com.", message_id=number)
        frames += [craft.asked(ask, after_us), craft.answered(craft.response(ask, answer=[f"www.example.com. 300 A 192.0.2.{address}"]), after_us + 200_000)]
    path = tmp_path / "times.pcap"
    path.write_bytes(craft.pcap(sorted(frames)))
    _, lines, _, _ = support.run_sensor(sensor, path, "rrsets")
    start = craft.START_US // 1000000
    assert sorted((line["rdata"], line["count"], line["time_first"], line["time_last"]) for line in lines) == [
        (["192.0.2.1"], 3, start + 1, start + 86400), (["192.0.2.2"], 1, start + 1, start + 1)]


# --- the comparison itself can fail ---


@pytest.mark.parametrize("field, value", itertools.chain(
    zip(itertools.repeat("rrname"), ["x.example.com."]), zip(itertools.repeat("rdata"), [["192.0.2.2"], ["192.0.2.1", "192.0.2.2"]]),
    [("bailiwick", "com."), ("trust", "authoritative"), ("rrtype", "NULL"), ("count", 2), ("time_first", 1), ("time_last", 1)]))
def test_a_wrong_line_is_noticed(tmp_path, field, value):
    path = tmp_path / "plain.pcap"
    path.write_bytes(craft.pcap(CASES["an answer"][0]))
    start = craft.START_US // 1000000
    line = {"rrname": "www.example.com.", "rrtype": "A", "rdata": ["192.0.2.1"], "count": 1, "time_first": start, "time_last": start, "bailiwick": "example.com.", "trust": "resolver"}
    assert difference(modelled(path), printed([line])) == []
    if field == "rrtype":
        line["rdata"] = ["\\# 4 c0000201"]
    line[field] = value
    assert difference(modelled(path), printed([line]))
