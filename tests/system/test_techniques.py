"""Each detector of one kind of behaviour from packets: captures of real tools (tests/data/captures/techniques), through sensor and replay; and a benign capture that stays silent."""
import json
import subprocess

import dns.rcode
import pytest
from packet_support import exchange, write_pcap

ATTACKER = "203.0.113.66"
# capture: what must come out, as detector -> actor; nothing of severity 2 or more besides.
EXPECTED = {
    "walk": {"D7": ATTACKER},
    "walk_names": {"D7": ATTACKER},
    "fingerprint": {"D1": ATTACKER, "D8": ATTACKER},
    "types": {"D9": ATTACKER, "D10": ATTACKER},
    "profile": {"D10": ATTACKER},
    "retired": {"D11": ATTACKER},
    "canary": {"D12": ATTACKER},
    "followup": {"D2": ATTACKER, "D15": "198.18.5.9"},
    "harvest": {"D16": None},  # a pseudonym
    "benign": {},
}


@pytest.fixture(name="folder", scope="module")
def _folder(captures_folder):
    return captures_folder / "techniques"


@pytest.fixture(name="client_key", scope="module")
def _client_key(tmp_path_factory):
    path = tmp_path_factory.mktemp("key") / "client.key"
    path.write_text("picket-client-key-1 " + "5a" * 32 + "\n")
    path.chmod(0o600)
    return path


@pytest.mark.parametrize("mode", ["keyed", "keyless", "clear"])
@pytest.mark.parametrize("technique", EXPECTED)
def test_technique_is_found_and_nothing_else(sensor, aggregator, folder, client_key, tmp_path, technique, mode):
    psp = tmp_path / "hq.psp"
    extra = {"keyed": ["--scope", str(folder / "scope.yaml"), "--client-key", str(client_key)], "keyless": ["--scope", str(folder / "scope.yaml")], "clear": []}[mode]
    subprocess.run([sensor, "--read", str(folder / f"{technique}.pcap"), "--site", "acme/hq", *extra, "--write", str(psp)], check=True, capture_output=True)
    done = subprocess.run([aggregator, "replay", "--scope", str(folder / "scope.yaml"), "--history", str(folder / "history.cof"), str(psp)],
                          check=True, capture_output=True, text=True)
    last = {finding["id"]: finding for finding in map(json.loads, done.stdout.splitlines())}
    loud = [finding for finding in last.values() if finding["severity"] >= 2]
    wanted = EXPECTED[technique]
    assert sorted(finding["detector"] for finding in loud) == sorted(wanted)
    for finding in loud:
        inside = "site:hq" if mode == "keyless" else None  # without a client key nobody of the inside is told from the others
        assert (wanted[finding["detector"]] or inside or finding["actor"]["key"]) == finding["actor"]["key"]
        assert finding["technique"] and finding["evidence"]
        assert sum(part["nats"] for part in finding["contributions"]) == pytest.approx(finding["score_nats"], abs=0.01)


RESOLVER, SERVER = "198.18.8.8", "198.51.100.53"
WORDS = ["vpn", "dev", "test", "staging", "mail2", "ftp", "admin", "portal", "webmail", "ns3", "api", "beta", "demo", "intranet", "owa", "git", "jenkins", "backup", "db", "smtp"]


@pytest.mark.parametrize("tells", [True, False], ids=["tells", "keeps_silent"])
def test_a_list_through_a_public_resolver_is_found_when_it_tells_for_whom_it_asks(sensor, aggregator, tmp_path, tells):
    """Nineteen networks ask for what is there, the twentieth for a list; without EDNS client subnets that is one busy address with few errors."""
    packets, number = [], 0
    for i in range(len(WORDS)):
        for k in range(20):
            ecs, is_guess = f"203.0.{100 + k}.0/24" if tells else None, k == 19
            name, rcode = (WORDS[i], dns.rcode.NXDOMAIN) if is_guess else (f"host{19 * i + k}", dns.rcode.NOERROR)
            number += 1
            both = exchange(number, RESOLVER, SERVER, name + ".example.com", answer=None if is_guess else "192.0.2.80", rcode=rcode, ecs=ecs)
            packets += [(1795000000000000 + number * 500000 + 1000 * n, data) for n, data in enumerate(both)]
    write_pcap(tmp_path / "hq.pcap", packets)
    scope, psp = tmp_path / "scope.yaml", tmp_path / "hq.psp"
    scope.write_text(json.dumps({"tenants": [{"name": "acme", "sites": ["hq"], "zones": ["example.com"]}]}))
    subprocess.run([sensor, "--read", tmp_path / "hq.pcap", "--site", "acme/hq", "--scope", scope, "--write", psp], check=True, capture_output=True)
    done = subprocess.run([aggregator, "replay", "--scope", scope, psp], check=True, capture_output=True, text=True)
    loud = {(finding["detector"], finding["actor"]["key"]) for finding in map(json.loads, done.stdout.splitlines()) if finding["severity"] >= 2}
    assert loud == ({("D2", "subnet:203.0.119.0/24")} if tells else set())


def test_retired_names_need_the_history(sensor, aggregator, folder, tmp_path):
    psp = tmp_path / "hq.psp"
    subprocess.run([sensor, "--read", str(folder / "retired.pcap"), "--site", "acme/hq", "--write", str(psp)], check=True, capture_output=True)
    done = subprocess.run([aggregator, "replay", "--scope", str(folder / "scope.yaml"), str(psp)], check=True, capture_output=True, text=True)
    assert done.stdout == ""


@pytest.mark.parametrize("keyed", [True, False], ids=["keyed", "keyless"])
@pytest.mark.parametrize("is_declared", [True, False], ids=["declared", "unknown"])
def test_declared_machines_of_the_inside_are_known_whatever_hides_their_neighbours(sensor, aggregator, client_key, tmp_path, keyed, is_declared):
    """A scanner and a secondary with private addresses: the site's scope names them, so they are no secret; who is not named stays one."""
    packets, number = [], 0
    for name, rdtype, client in [(word, "A", "10.9.0.99") for word in WORDS] + [("example.com", "AXFR", "10.9.0.77")]:
        number += 1
        qname = name if rdtype == "AXFR" else name + ".example.com"
        both = exchange(number, client, SERVER, qname, rdtype, rcode=dns.rcode.REFUSED if rdtype == "AXFR" else dns.rcode.NXDOMAIN)
        packets += [(1795000000000000 + number * 500000 + 1000 * n, data) for n, data in enumerate(both)]
    write_pcap(tmp_path / "hq.pcap", packets)
    scope, psp = tmp_path / "scope.yaml", tmp_path / "hq.psp"
    declared = {"scanners": ["10.9.0.99"], "transfer_peers": ["10.9.0.77"]} if is_declared else {}
    scope.write_text(json.dumps({"tenants": [{"name": "acme", "sites": ["hq"], "zones": ["example.com"], **declared}]}))
    extra = ["--client-key", client_key] if keyed else []
    subprocess.run([sensor, "--read", tmp_path / "hq.pcap", "--site", "acme/hq", "--scope", scope, *extra, "--write", psp], check=True, capture_output=True)
    done = subprocess.run([aggregator, "replay", "--scope", scope, psp], check=True, capture_output=True, text=True)
    loud = [finding for finding in map(json.loads, done.stdout.splitlines()) if finding["severity"] >= 2]
    assert {finding["detector"] for finding in loud} == (set() if is_declared else {"D1", "D2"})
    assert all(finding["actor"]["kind"] == ("client" if keyed else "site") and "10.9.0" not in json.dumps(finding) for finding in loud)
