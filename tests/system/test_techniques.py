"""Each detector of one kind of behaviour from packets: captures of real tools (tests/data/captures/techniques), through sensor and replay; and a benign capture that stays silent."""
import json
import subprocess

import pytest

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


def test_retired_names_need_the_history(sensor, aggregator, folder, tmp_path):
    psp = tmp_path / "hq.psp"
    subprocess.run([sensor, "--read", str(folder / "retired.pcap"), "--site", "acme/hq", "--write", str(psp)], check=True, capture_output=True)
    done = subprocess.run([aggregator, "replay", "--scope", str(folder / "scope.yaml"), str(psp)], check=True, capture_output=True, text=True)
    assert done.stdout == ""
