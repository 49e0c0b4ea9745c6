"""A sensor packs for who can unpack, and for nobody else."""
import hashlib
import json
import subprocess

import pytest
from peer_support import ACK, BATCH, HELLO, FakeAggregator
from pg_support import CAPTURES
from test_vectors import unpack

ZSTD = 1


def ship(sensor, folder, capabilities):
    """All batches of a recorded capture, as an aggregator of these capabilities gets them: (fields of the header, body)."""
    aggregator = FakeAggregator()
    key = folder / "sensor.key"
    subprocess.run([sensor, "genkey", str(key)], check=True, capture_output=True)
    config = folder / "sensor.yaml"
    config.write_text(json.dumps({
        "sensor": "hq-1", "site": "acme/hq", "scope": str(CAPTURES / "scope.yaml"), "key_file": str(key), "capture": {"read": [str(CAPTURES / "hq.pcap")]},
        "spool": {"folder": str(folder / "spool")}, "aggregator": {"endpoints": [f"tcp://127.0.0.1:{aggregator.port}"], "server_key": aggregator.public.decode()}}))
    process = subprocess.Popen([sensor, "--config", str(config)], stderr=subprocess.PIPE, text=True)
    found = []
    try:
        assert aggregator.await_type(HELLO)
        aggregator.welcome(capabilities)
        while process.poll() is None:
            got = aggregator.await_type(BATCH, timeout=1)
            if got:
                found.append(got)
                aggregator.say(ACK, [got[0][0], got[0][1], [], 1, 4 << 20])
        assert process.returncode == 0, process.stderr.read()
    finally:
        process.kill()
        process.wait()
        aggregator.close()
    return found


@pytest.mark.parametrize("capabilities", [ZSTD, 0, 4 | 64], ids=["zstd", "nothing", "other things"])
def test_packed_only_for_who_can_unpack(sensor, tmp_path, capabilities):
    batches = ship(sensor, tmp_path, capabilities)
    assert len(batches) >= 5
    codecs = {fields[2] for fields, _ in batches}
    assert codecs == ({0, 1} if capabilities & ZSTD else {0})
    for (_epoch, _seq, codec, kind, body_len, raw_len, rows, _first, _last, digest), body in batches:
        assert len(body) == body_len and hashlib.blake2b(body, digest_size=16).digest() == digest
        plain = body if codec == 0 else subprocess.run(["zstd", "-dc"], input=body, capture_output=True, check=True).stdout
        assert len(plain) == raw_len
        decoded = unpack(plain)
        assert (decoded[2], decoded[11]) == (kind, rows)
