"""What a zone shows (D14) in a replay: from packets, after the other findings, and told apart from them."""
import json
import subprocess

import pytest
from model import craft

SCOPE = """tenants:
  - name: acme
    sites: [hq]
    zones: [acme.example]
    networks: [198.51.100.0/24]
"""
PUBLIC, INSIDE = "198.51.100.53", "10.1.0.53"
ASKED = [  # server, name, type, answer (AA) or NXDOMAIN
    (PUBLIC, "db.acme.example.", "A", "db.acme.example. 300 A 10.20.0.5"),
    (INSIDE, "printer.acme.example.", "A", "printer.acme.example. 300 A 10.20.0.9"),  # an inside view shows nothing to anybody
    (PUBLIC, "www.acme.example.", "A", "www.acme.example. 300 A 198.51.100.80"),
    (PUBLIC, "shop.acme.example.", "CNAME", "shop.acme.example. 300 CNAME acme-shop.azurewebsites.net."),
    (PUBLIC, "blog.acme.example.", "CNAME", "blog.acme.example. 300 CNAME www.acme.example."),
    (PUBLIC, "acme.example.", "TXT", 'acme.example. 300 TXT "v=spf1 +all"'),
    ("192.0.2.53", "acme-shop.azurewebsites.net.", "A", None),
]
EXPOSED = [(4, "dangling: shop.acme.example."), (3, "spf_all: acme.example."), (2, "private_address: db.acme.example.")]


def frames():
    for i, (server, name, rdtype, answer) in enumerate(ASKED):
        question = craft.query(name, rdtype, message_id=i)
        reply = craft.response(question, answer=[answer] if answer else [], aa=True, rcode="NOERROR" if answer else "NXDOMAIN",
                               authority=[] if answer else ["azurewebsites.net. 300 SOA ns.example. h.example. 1 2 3 4 5"])
        yield craft.START_US + i * 1000, craft.udp("192.0.2.10", 40000 + i, server, 53, question.to_wire())
        yield craft.START_US + i * 1000 + 300, craft.udp(server, 53, "192.0.2.10", 40000 + i, reply.to_wire())


def replay(sensor, aggregator, scope, capture, site, tmp_path, with_scope=True):
    psp = tmp_path / "out.psp"
    subprocess.run([sensor, "--read", capture, "--site", site, *(["--scope", scope] if with_scope else []), "--write", psp], check=True, capture_output=True)
    done = subprocess.run([aggregator, "replay", "--scope", scope, psp], check=True, capture_output=True, text=True)
    return [json.loads(line) for line in done.stdout.splitlines()], json.loads(done.stderr.splitlines()[-1])


@pytest.mark.parametrize("with_scope", [True, False], ids=["scope", "clear"])
def test_what_the_zone_shows_stands_at_the_end(sensor, aggregator, tmp_path, with_scope):
    scope, capture = tmp_path / "scope.yaml", tmp_path / "zone.pcap"
    scope.write_text(SCOPE)
    capture.write_bytes(craft.pcap(frames()))
    lines, summary = replay(sensor, aggregator, scope, capture, "acme/hq", tmp_path, with_scope)
    assert all((line["detector"], line["state"], line["technique"]) == ("D14", "standing", ["T1590"]) for line in lines), lines
    assert [(line["severity"], " ".join(line["title"].removeprefix("Exposed, ").split()[:2])) for line in lines] == EXPOSED
    assert len({line["id"] for line in lines}) == summary["exposures"] == 3 and summary["findings"] == 0


@pytest.mark.parametrize("technique", ["benign", "types", "profile", "walk"])
def test_a_zone_in_order_shows_nothing(sensor, aggregator, captures_folder, tmp_path, technique):
    folder = captures_folder / "techniques"
    lines, summary = replay(sensor, aggregator, folder / "scope.yaml", folder / f"{technique}.pcap", "acme/hq", tmp_path)
    assert summary["exposures"] == 0 and all(line["state"] != "standing" for line in lines)
