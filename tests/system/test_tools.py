"""Tools as they ask, in small captures made here: each is found, named, and told once, however it came and wherever it was seen; nothing of severity 2 or more besides."""
import json
import subprocess

import dns.flags
import dns.message
import pytest

from model import craft

SCOPE = """
tenants:
  - name: acme
    sites: [a, b, c, office]
    zones: [acme.example, acme-shop.example, acme-hash.example]
    networks: [198.51.100.0/24]
"""
START = 1795428000
TOOL, RESOLVER, CLIENT, OFFICE = "203.0.113.66", "192.0.2.53", "10.4.0.10", "10.4.0.1"
SERVERS = {"a": "198.51.100.1", "b": "198.51.100.2", "c": "198.51.100.3"}
# German, so that the word set knows few of them.
WORDS = ("anmelden konto buchung rechnung kunden lager einkauf verkauf vertrieb lohn drucker telefon fernwartung bestellung lieferung werkstatt fertigung versand kasse "
         "buchhaltung archiv urlaub kantine schulung bewerbung presse lizenz abnahme fuhrpark leitstelle warenkorb gutschein preise katalog angebot vertrag betriebsrat zutritt "
         "kamera pforte besucher parkplatz umfrage termin kalender postfach zeitung bilder grafik druckerei planung aufgaben wartung speicher verzeichnis benutzer").split()
SERVICES = "ldap kerberos gc kpasswd sips h323cs xmpp-client xmpp-server caldav carddav imaps submission stun turn ftp finger whois ocsp crls pgpkeys aix telnet nntp".split()


class Capture:
    """Exchanges in any order; `data` sorts the frames by time."""

    def __init__(self):
        self.frames = []

    def ask(self, at, client, server, name, qtype="A", answer=None, rd=True, do=False, takes=0.002):
        """`answer`: record data as text; None: NXDOMAIN; "": NODATA. `at` in seconds since 1970."""
        number = len(self.frames)
        query = dns.message.make_query(name, qtype, use_edns=0 if do else False, want_dnssec=do, id=number % 65536)
        query.flags = dns.flags.RD if rd else dns.flags.Flag(0)
        records = [f"{name}. 300 {qtype} {answer}"] if answer else []
        response = craft.response(query, records, aa=True, rcode="NXDOMAIN" if answer is None else "NOERROR")
        asked_us = round(at * 1e6)
        self.frames.append((asked_us, craft.udp(client, 1024 + number, server, 53, craft.wire(query))))
        self.frames.append((asked_us + round(takes * 1e6), craft.udp(server, 53, client, 1024 + number, craft.wire(response))))

    def data(self):
        return craft.pcap(sorted(self.frames))


def _gobuster(captures):
    """gobuster dns --wildcard: a UUID first, AAAA and A of each word; the wildcard has an A alone."""
    for i, label in enumerate(["9f6703b2-6228-4151-9f6e-89f0fb014160", *WORDS]):
        for qtype, answer in (("AAAA", ""), ("A", "198.51.100.250")):
            captures["a"].ask(START + i * 0.01, TOOL, SERVERS["a"], f"{label}.acme-shop.example", qtype, answer)


def _services(captures):
    """dnsrecon -t srv."""
    for i, label in enumerate(SERVICES):
        captures["a"].ask(START + i * 0.01, TOOL, SERVERS["a"], f"_{label}._tcp.acme.example", "SRV")


def _hashes(captures):
    """n3map through a resolver."""
    for i in range(48):
        captures["a"].ask(START + i * 0.05, RESOLVER, SERVERS["a"], f"{i:x}.acme-hash.example", rd=False, do=True)


def _sizing(captures):
    """Sixteen random names of a signed zone, asked directly."""
    for i in range(16):
        label = "".join("bcdfghjklmnpqrstvwxz"[(i * 7 + k * k * 3 + k) % 20] for k in range(12))
        captures["a"].ask(START + i, TOOL, SERVERS["a"], f"{label}.acme-hash.example", do=True)


def _split(captures):
    """One list over eight sources and three sites, a name every ten seconds."""
    for i, label in enumerate(WORDS):
        site = "abc"[i % 3]
        captures[site].ask(START + 10 * i, f"203.{i % 8}.113.9", SERVERS[site], f"{label}.acme.example")


def _zones(captures):
    """Eight sources through one list, in a zone and then in the next."""
    for i, label in enumerate(WORDS + WORDS):
        zone = "acme.example" if i < len(WORDS) else "acme-hash.example"
        captures["a"].ask(START + i, f"203.{i % 8}.113.9", SERVERS["a"], f"{label}.{zone}")


def _inside(captures):
    """A client's list goes on by its resolver to the servers: both legs seen at the office, and at the servers once more."""
    for i, label in enumerate(WORDS):
        at, server = START + i * 0.05, SERVERS["ab"[i % 2]]
        captures["office"].ask(at, CLIENT, OFFICE, f"{label}.acme.example", takes=0.02)
        for seen_at in ("office", "ab"[i % 2]):
            captures[seen_at].ask(at + 0.005, RESOLVER, server, f"{label}.acme.example", rd=False)


def _inside_reverse(captures):
    """nmap -sL from inside, both legs seen."""
    for i in range(60):
        at, name = START + i * 0.05, f"{i * 97 % 251}.100.51.198.in-addr.arpa"
        captures["office"].ask(at, CLIENT, OFFICE, name, "PTR", "host.acme.example.", takes=0.02)
        captures["office"].ask(at + 0.005, RESOLVER, SERVERS["a"], name, "PTR", "host.acme.example.", rd=False)


def _benign(captures):
    """Three resolvers with a wrong name each, a telephone that looks for its services, a page whose shards are counted, a client that asks for two hosts' names."""
    for i in range(60):
        captures["a"].ask(START + i, f"192.0.2.{50 + i % 3}", SERVERS["a"], f"host{i // 3}.acme.example", "A", f"198.51.100.{i + 4}", rd=False)
    for i, label in enumerate(WORDS[:3]):
        captures["a"].ask(START + 10 * i, f"192.0.2.{50 + i}", SERVERS["a"], f"{label}.acme.example", rd=False)
    for i, label in enumerate(SERVICES[:5]):
        captures["office"].ask(START + i, CLIENT, OFFICE, f"_{label}._tcp.acme.example", "SRV")
    for i in range(10):
        captures["a"].ask(START + i, RESOLVER, SERVERS["a"], f"{i}.acme-hash.example", "A", "198.51.100.77", rd=False, do=True)
    for i in range(2):
        captures["office"].ask(START + i, CLIENT, OFFICE, f"{i + 7}.100.51.198.in-addr.arpa", "PTR", "host.acme.example.")


# What must come out: detector and actor (None: the inside client, by its pseudonym or in clear by its address).
CASES = {
    "gobuster": (_gobuster, ("D2", TOOL)),
    "services": (_services, ("D10", TOOL)),
    "hashes": (_hashes, ("D7", RESOLVER)),
    "sizing": (_sizing, ("D7", TOOL)),
    "split": (_split, ("D4", "zone:acme.example.")),
    "zones": (_zones, ("D4", "zone:acme.example.")),
    "inside": (_inside, ("D2", None)),
    "inside_reverse": (_inside_reverse, ("D6", None)),
    "benign": (_benign, None),
}


@pytest.mark.parametrize("with_scope", [True, False], ids=["scope", "clear"])
@pytest.mark.parametrize("case", CASES)
def test_tool_is_found_once(sensor, aggregator, tmp_path, case, with_scope):
    make, wanted = CASES[case]
    scope, key = tmp_path / "scope.yaml", tmp_path / "client.key"
    scope.write_text(SCOPE)
    key.write_text("picket-client-key-1 " + "5a" * 32 + "\n")
    key.chmod(0o600)
    captures = {site: Capture() for site in ("a", "b", "c", "office")}
    make(captures)
    files = []
    for site, capture in captures.items():
        if capture.frames:
            pcap, psp = tmp_path / f"{site}.pcap", tmp_path / f"{site}.psp"
            pcap.write_bytes(capture.data())
            extra = ["--scope", scope, "--client-key", key] if with_scope else []
            subprocess.run([sensor, "--read", pcap, "--site", f"acme/{site}", *extra, "--write", psp], check=True, capture_output=True)
            files.append(psp)
    done = subprocess.run([aggregator, "replay", "--scope", scope, *files], check=True, capture_output=True, text=True)
    last = {finding["id"]: finding for finding in map(json.loads, done.stdout.splitlines())}
    loud = [finding for finding in last.values() if finding["severity"] >= 2 and finding["detector"] != "D14"]
    assert [finding["detector"] for finding in loud] == ([wanted[0]] if wanted else [])
    for finding in loud:
        if wanted[1] or not with_scope:
            assert finding["actor"]["key"] == (wanted[1] or CLIENT), finding["title"]
        else:
            assert finding["actor"]["kind"] == "client", finding["actor"]
