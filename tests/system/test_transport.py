"""Promises of delivery between versions: an older sensor, and aggregators that are replaced one after the other, under traffic. docs/TRANSPORT_TESTS.md says where the rest stands."""
import signal
import subprocess
import time

import msgpack

from peer_support import ACK, HEARTBEAT, HELLO, WELCOME, Peer, read_key, records
from pg_support import CAPTURES, wait_until
from test_delivery import finish
from test_homes import check, pair, wanted  # noqa: F401 (fixtures)

HEALTH, FIRST_COUNTERS, MORE_COUNTERS = 5, 96, 97


def plain(record):
    """The batch as a sensor before zstd and before the later counters sent it."""
    kind, codec, rows, first, last, body, _ = record
    if codec:
        body = subprocess.run(["zstd", "-dc"], input=body, capture_output=True, check=True).stdout
    if kind == HEALTH:
        fields = msgpack.unpackb(body, raw=False, strict_map_key=False)
        fields.pop(MORE_COUNTERS, None)
        body = msgpack.packb(fields, use_bin_type=True)
    return kind, 0, rows, first, last, body, len(body)


def test_a_sensor_with_fewer_words_keeps_working(mesh, sensor, tmp_path):
    one = mesh()
    one.add_sensor("hq", "old")
    one.wait_for_keys(1)
    batches = [plain(record) for record in records(sensor, tmp_path)]
    assert any(record[0] == HEALTH for record in batches)
    with Peer(one, read_key(one.folder / "old.key")) as peer:
        hello = msgpack.packb({1: "old", 8: 7, 9: 1, 10: len(batches)}, use_bin_type=True)
        peer.send(peer.header(HELLO, 0, peer.boot, time.monotonic_ns(), session=0), hello)
        assert peer.await_type(WELCOME)
        for seq, record in enumerate(batches, 1):
            peer.batch(record, seq, epoch=7)
            assert peer.await_type(ACK)[1][:2] == [7, seq]
            peer.send(peer.header(HEARTBEAT, time.monotonic_ns(), int(time.time() * 1e6), 0, 0))  # without the offset
        assert peer.await_type(HEARTBEAT)
    # The same capture by a sensor of today, into another mesh.
    other = mesh()
    other.add_sensor("hq")
    other.wait_for_keys(1)
    assert other.start("hq-1", "picket-sensor", "--config", other.sensor_config("hq-1", "hq", [CAPTURES / "hq.pcap"])).wait(120) == 0
    for query in ("select sum(count) from activity", "select sum(count) from negative", "select sum(count), min(first_us), max(last_us) from rrset_stat",
                  "select sum(counters[11]), sum(counters[15]), sum(counters[21]) from health"):
        assert one.table(query) == other.table(query), query
    assert one.table("select sum(counters[34]) from health") == [(0,)]


def test_two_aggregators_are_replaced_one_after_the_other_under_traffic(pair, wanted):  # noqa: F811
    sensors = pair.ship()
    for name, other in (("a", "b"), ("b", "a"), ("a", "b")):
        wait_until(lambda: pair.home() in ("a", "b"), 60, "a home")
        pair.stop(name, signal.SIGTERM)
        pair.await_home(other)
        pair.start(name)
    finish(pair.mesh, sensors)
    check(pair, wanted)
