"""replay's inputs beside the captures: a history and a baseline."""
import subprocess

import pytest

from pg_support import CAPTURES


@pytest.fixture
def replay(sensor, aggregator, tmp_path):
    psp = tmp_path / "hq.psp"
    subprocess.run([sensor, "--read", CAPTURES / "hq.pcap", "--site", "acme/hq", "--scope", CAPTURES / "scope.yaml", "--write", psp], check=True, capture_output=True)
    return lambda *options: subprocess.run([aggregator, "replay", "--scope", CAPTURES / "scope.yaml", *options, psp],
                                           capture_output=True, text=True, check=False)


def test_a_baseline_is_read_and_a_wrong_one_is_refused(replay, tmp_path):
    def baseline(text):
        path = tmp_path / "baseline.json"
        path.write_text(text)
        return replay("--baseline", path)

    assert baseline('{"version": "x", "repeat": 0.5}').returncode == 0
    for text, why in [("[]", "not an object"), ('{"prior": {}}', "not a member"), ('{"priors": {"authoritative": {"new": {"hit": 1}}}}', "must be given"),
                      ('{"repeat": 2}', "between 0 and 1"), ("{", "line")]:
        done = baseline(text)
        assert done.returncode == 65 and why in done.stderr and done.stdout == "", (text, done.stderr)


def test_a_history_is_read_and_a_wrong_line_is_named(replay, tmp_path):
    path = tmp_path / "history.cof"
    path.write_text('{"rrname":"www.acme.example.","rrtype":"A","rdata":["192.0.2.1"],"time_first":1700000000,"time_last":1701000000}\n\n')
    assert replay("--history", path).returncode == 0
    path.write_text('{"rrname":"www.acme.example."}\n')
    done = replay("--history", path)
    assert done.returncode == 65 and "line 1" in done.stderr
    assert replay("--history", tmp_path / "none").returncode == 65
