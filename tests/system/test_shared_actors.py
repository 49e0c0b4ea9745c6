"""D13: three tenants that opted in learn a class about their own suspect, and nothing else of each other; two learn nothing."""
import json
import struct

import pytest
from model import craft
from pg_support import wait_until

ACTOR = "203.0.113.9"
WORDS = "admin test dev stage vpn mail backup gitlab jenkins grafana intranet portal db api beta shop blog ftp crm wiki ldap proxy ns3 demo".split()
TENANTS = {"acme": ("muenster", "acme.example"), "bravo": ("leipzig", "bravo.example"), "cargo": ("bremen", "cargo.example")}


def scope(n_sharing):
    return {"tenants": [{"name": name, "sites": [site], "zones": [zone], "networks": ["198.51.100.0/24"], "share_actors": i < n_sharing}
                        for i, (name, (site, zone)) in enumerate(TENANTS.items())]}


def frames(zone, n_words):
    for i, word in enumerate(WORDS[:n_words]):
        question = b"".join(bytes([len(part)]) + part.encode() for part in f"{word}.{zone}".split(".")) + b"\0\0\1\0\1"
        for after_us, flags in ((0, 0), (200, 0x8403)):
            message = struct.pack(">HHHHHH", i, flags, 1, 0, 0, 0) + question
            ends = (craft.SERVER, 53, ACTOR, 40000 + i) if flags else (ACTOR, 40000 + i, craft.SERVER, 53)
            yield craft.START_US + i * 100000 + after_us, craft.udp(*ends, message)


def findings_of(one):
    return [json.loads(row[0]) if isinstance(row[0], str) else row[0] for row in one.table("select finding from finding where detector = 'D2'")]


# How many opted in; how many names the first one is asked (five: a suspicion, no alarm); who is told what: class and severity.
CASES = {
    "three": (3, 24, {"acme": (None, 3), "bravo": ("1", 4), "cargo": ("2-4", 4)}),
    "two": (2, 24, {"acme": (None, 3), "bravo": (None, 3), "cargo": (None, 3)}),
    "early": (3, 5, {"bravo": ("1", 4), "cargo": ("2-4", 4)}),
}


@pytest.mark.parametrize("case", CASES)
def test_a_class_crosses_and_nothing_else(mesh, tmp_path, case):
    n_sharing, n_words, wanted = CASES[case]
    (tmp_path / "scope.yaml").write_text(json.dumps(scope(n_sharing)))
    one = mesh(scope=tmp_path / "scope.yaml")
    for n, (tenant, (site, zone)) in enumerate(TENANTS.items(), 1):
        name = f"{tenant}-1"
        public = one.call("picket-sensor", "genkey", one.folder / f"{name}.key").strip()
        one.ctl("sensor", "add", "--site", f"{tenant}/{site}", "--name", name, "--pubkey", public)
        one.wait_for_keys(n)
        (tmp_path / f"{tenant}.pcap").write_bytes(craft.pcap(frames(zone, n_words if tenant == "acme" else len(WORDS))))
        config = json.loads(one.sensor_config(name, site, [tmp_path / f"{tenant}.pcap"]).read_text()) | {"site": f"{tenant}/{site}"}
        process = one.start(name, "picket-sensor", "--config", one.write(f"{name}.yaml", config))
        assert process.wait(120) == 0, one.log(name)[-2000:]
        wait_until(lambda n=n: one.table("select count(*) from detection_state")[0][0] == n, 60, "the tenant's state: what it suspects is handed in before")
    told = {finding["tenant"]: finding for finding in findings_of(one)}
    assert {name: (finding.get("elsewhere"), finding["severity"]) for name, finding in told.items()} == wanted
    for name, finding in told.items():
        others = [word for other, words in TENANTS.items() if other != name for word in (other, *words)]
        assert not [word for word in others if word in json.dumps(finding)]
    if case == "three":
        shown = one.ctl("findings", "--tenant", "cargo", "--json")
        assert json.loads(shown.splitlines()[0])["elsewhere"] == "2-4"
        assert "suspected at 2-4 other tenants too" in one.ctl("finding", "show", told["cargo"]["id"], "--tenant", "cargo")
