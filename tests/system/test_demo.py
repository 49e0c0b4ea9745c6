"""The demonstration's promise: one attack split over three sites is found by the mesh, and by no two of them."""
import itertools
import json
import subprocess

import pytest

SITES = ("hq", "branch", "cloud")


@pytest.fixture(scope="session")
def recorded(tmp_path_factory, sensor, captures_folder):
    """The .psp file of each site, with the scope and without."""
    folder = tmp_path_factory.mktemp("psp")
    for site in SITES:
        for name, extra in ((site, ["--scope", str(captures_folder / "scope.yaml")]), (site + "-clear", [])):
            subprocess.run([sensor, "--read", str(captures_folder / f"{site}.pcap"), "--site", f"acme/{site}", *extra, "--write", str(folder / f"{name}.psp")],
                           check=True, capture_output=True)
    return folder


def replay(aggregator, captures_folder, files):
    """Last revision of each finding."""
    done = subprocess.run([aggregator, "replay", "--scope", str(captures_folder / "scope.yaml"), *map(str, files)], capture_output=True, text=True, check=True)
    last = {}
    for line in done.stdout.splitlines():
        finding = json.loads(line)
        last[finding["id"]] = finding
    return list(last.values())


def found(findings):
    return {(f["detector"], f["actor"]["key"]) for f in findings}


def test_all_three_sites_find_all_three_attacks(aggregator, captures_folder, recorded):
    findings = replay(aggregator, captures_folder, [recorded / f"{site}.psp" for site in SITES])
    assert found(findings) == {("D1", "192.0.2.66"), ("D2", "203.0.113.66"), ("D6", "203.0.113.77")}
    for finding in findings:
        assert finding["sites"] == ["branch", "cloud", "hq"]
        assert finding["technique"] and finding["evidence"]
        assert sum(c["nats"] for c in finding["contributions"]) == pytest.approx(finding["score_nats"], abs=0.01)
    scan = next(f for f in findings if f["detector"] == "D2")
    assert scan["counts"]["dict"] >= 8 and scan["zones"] == ["acme.example."]
    assert set(scan["learned"]) <= {"www.acme.example.", "mail.acme.example.", "vpn.acme.example."}


@pytest.mark.parametrize("left_out", SITES)
def test_without_any_one_site_the_split_attacks_are_gone(aggregator, captures_folder, recorded, left_out):
    findings = replay(aggregator, captures_folder, [recorded / f"{site}.psp" for site in SITES if site != left_out])
    assert {detector for detector, _ in found(findings)} == {"D1"}


@pytest.mark.parametrize("site", SITES)
def test_each_share_alone_stays_silent(aggregator, captures_folder, recorded, site):
    assert {detector for detector, _ in found(replay(aggregator, captures_folder, [recorded / f"{site}.psp"]))} == {"D1"}


def test_order_of_files_does_not_change_ids(aggregator, captures_folder, recorded):
    ids = set()
    for order in itertools.permutations(SITES):
        ids.add(frozenset(f["id"] for f in replay(aggregator, captures_folder, [recorded / f"{site}.psp" for site in order])))
    assert len(ids) == 1


def test_outside_actors_are_found_equally_without_scope(aggregator, captures_folder, recorded):
    with_scope = replay(aggregator, captures_folder, [recorded / f"{site}.psp" for site in SITES])
    in_clear = replay(aggregator, captures_folder, [recorded / f"{site}-clear.psp" for site in SITES])
    assert {(f["id"], f["severity"], f["score_nats"]) for f in with_scope} == {(f["id"], f["severity"], f["score_nats"]) for f in in_clear}


def test_damaged_psp_is_refused_whole(aggregator, captures_folder, recorded, tmp_path):
    good = (recorded / "hq.psp").read_bytes()
    for at in range(0, len(good), 97):
        bad = bytearray(good)
        bad[at] ^= 0x41
        (tmp_path / "bad.psp").write_bytes(bad)
        done = subprocess.run([aggregator, "replay", "--scope", str(captures_folder / "scope.yaml"), str(tmp_path / "bad.psp")], capture_output=True, text=True, check=False)
        assert done.returncode == 65 and done.stdout == "", f"byte {at} was changed and taken"
        assert "bad.psp" in done.stderr and "offset" in done.stderr
