"""A sweep above a window's rows: most of it is only counted, and still it is one finding of its size."""
import json
import pathlib
import re
import struct
import subprocess

import pytest
from model import craft
from pg_support import wait_until

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
SCOPE = """tenants:
  - name: acme
    sites: [hq]
    zones: [example.com]
    networks: [198.51.100.0/24]
"""
N_NAMES, N_CLIENTS, WINDOW_ROWS = 12000, 4, 1000


def exchange(at_us, client, number, name, flags, answer=b""):
    """A question, and 200 us later its answer; flags 0: none."""
    question = b"".join(bytes([len(part)]) + part.encode() for part in name.split(".")) + b"\0\0\1\0\1"
    port, start_us = 1024 + number % 60000, craft.START_US + at_us
    yield start_us, craft.udp(client, port, craft.SERVER, 53, struct.pack(">HHHHHH", number, 0, 1, 0, 0, 0) + question)
    if flags:
        head = struct.pack(">HHHHHH", number, flags, 1, 1 if answer else 0, 0, 0)
        yield start_us + 200, craft.udp(craft.SERVER, 53, client, port, head + question + answer)


def frames(label, n_names, n_clients):
    """All within one window of ten seconds; every fifth question stays without an answer, and a benign client asks between."""
    for i in range(n_names):
        at_us = 100_000 + i * 700
        yield from exchange(at_us, f"203.0.{113 + i % n_clients}.9", i, f"{label(i)}.example.com", 0x8403 if i % 5 else 0)
        if i % 100 == 0:
            yield from exchange(at_us + 300, "192.0.2.77", i, "www.example.com", 0x8400, b"\xc0\x0c\0\1\0\1\0\0\1\0\0\4\xc0\0\2\x50")


def generated(i):
    return f"x{i * 7919 % 10_000_000:07d}k{i * 104729 % 46656:x}q"


@pytest.fixture(name="replay")
def _replay(sensor, aggregator, tmp_path):
    def run(label, n_names=N_NAMES, n_clients=N_CLIENTS):
        (tmp_path / "scope.yaml").write_text(SCOPE)
        (tmp_path / "sweep.pcap").write_bytes(craft.pcap(frames(label, n_names, n_clients)))
        subprocess.run([sensor, "--read", tmp_path / "sweep.pcap", "--site", "acme/hq", "--scope", tmp_path / "scope.yaml",
                        "--window-rows", str(WINDOW_ROWS), "--write", tmp_path / "hq.psp"], check=True, capture_output=True)
        done = subprocess.run([aggregator, "replay", "--scope", tmp_path / "scope.yaml", tmp_path / "hq.psp"], check=True, capture_output=True, text=True)
        return {finding["id"]: finding for finding in map(json.loads, done.stdout.splitlines())}, json.loads(done.stderr.splitlines()[-1])
    return run


def test_a_flood_that_was_mostly_counted_is_one_finding_of_its_size(replay):
    findings, summary = replay(generated)
    assert summary["rows"] < 2 * WINDOW_ROWS and summary["client_rows"] > 0
    assert [finding["detector"] for finding in findings.values()] == ["flood"], findings
    [flood] = findings.values()
    assert N_NAMES / 3 < flood["counts"]["rand"] <= N_NAMES


def test_a_list_that_was_mostly_counted_says_how_long_it_was(replay):
    words = (REPOSITORY / "tests" / "scenarios" / "odd.txt").read_text().split()
    findings, summary = replay(lambda i: f"{words[i % len(words)]}-{words[i // len(words) % len(words)]}", 3000, 1)
    assert summary["client_rows"] > 0
    assert [finding["detector"] for finding in findings.values()] == ["D2"], findings
    [guesser] = findings.values()
    assert guesser["actor"]["key"] == "203.0.113.9"
    assert int(re.search(r"some (\d+) more were only counted", guesser["title"])[1]) in range(1000, 3000)


def sweep(tmp_path):
    (tmp_path / "scope.yaml").write_text(SCOPE)
    (tmp_path / "sweep.pcap").write_bytes(craft.pcap(frames(generated, N_NAMES, N_CLIENTS)))


def test_live_and_from_the_stored_rows_it_is_the_same_finding(mesh, tmp_path):
    sweep(tmp_path)
    one = mesh(scope=tmp_path / "scope.yaml")
    one.add_sensor("hq")
    one.wait_for_keys(1)
    config = json.loads(pathlib.Path(one.sensor_config("hq-1", "hq", [tmp_path / "sweep.pcap"])).read_text())
    config.update(window_s=10, window_rows=WINDOW_ROWS)
    process = one.start("hq-1", "picket-sensor", "--config", one.write("hq-1.yaml", config))
    assert process.wait(120) == 0, one.log("hq-1")[-2000:]
    live = wait_until(lambda: one.table("select id, detector, finding from finding"), 60, "the finding")
    assert [row[1] for row in live] == ["flood"]
    one.processes["aggregator"].terminate()
    assert one.processes["aggregator"].wait(60) == 0
    with one.postgres.connect(one.database) as connection:
        connection.execute("delete from detection_state")
        connection.execute("delete from finding")
    one.start_aggregator()
    again = wait_until(lambda: one.table("select id, detector, finding from finding"), 60, "the finding again")
    assert again == live
