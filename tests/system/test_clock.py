"""A sensor whose clock steps by an hour, and by a month: nothing is lost, and no time in the store lies in the future."""
import struct
import time
import urllib.request

from pg_support import CAPTURES, wait_until

AHEAD_US = 5 * 60 * 1_000_000


def restamp(source, target, offsets):
    """The same packets, a tenth of a second apart up to now; the n-th part of them moved by the n-th offset."""
    raw = source.read_bytes()
    assert raw[:4] == b"\xd4\xc3\xb2\xa1", "a pcap in microseconds, little-endian"
    packets, at = [], 24
    while at < len(raw):
        size = struct.unpack_from("<I", raw, at + 8)[0]
        packets.append((raw[at + 8:at + 16], raw[at + 16:at + 16 + size]))
        at += 16 + size
    start = time.time() - len(packets) / 10
    with open(target, "wb") as out:
        out.write(raw[:24])
        for i, (lengths, frame) in enumerate(packets):
            us = int((start + i / 10 + offsets[i * len(offsets) // len(packets)]) * 1e6)
            out.write(struct.pack("<II", us // 1_000_000, us % 1_000_000) + lengths + frame)


def counted(one):
    with one.postgres.connect(one.database) as connection:
        return connection.execute(
            "select (select coalesce(sum(count), 0) from activity), (select coalesce(sum(count), 0) from negative), (select coalesce(sum(counters[21] + counters[22]), 0) from health)").fetchone()


def latest(one):
    with one.postgres.connect(one.database) as connection:
        return connection.execute(
            "select greatest((select max(first_us + span_us) from activity), (select max(last_us) from negative), (select max(last_us) from rrset_stat),"
            " (select max(last_us) from rrset_site), (select max(hour_us) from ledger), (select max(last_us) from finding))").fetchone()[0]


def test_a_clock_that_steps_by_an_hour_or_a_month_loses_nothing_and_poisons_nothing(mesh, tmp_path):
    one = mesh()
    one.add_sensor("hq")
    one.wait_for_keys(1)
    capture = tmp_path / "stepping.pcap"
    restamp(CAPTURES / "hq.pcap", capture, (0, 3600, 0, -3600, 30 * 86400, 0))
    process = one.start("hq-1", "picket-sensor", "--config", one.sensor_config("hq-1", "hq", [capture]))
    assert process.wait(120) == 0, one.log("hq-1")[-2000:]
    wait_until(lambda: counted(one)[2] > 0, 60, "the health rows")
    activity, negative, told = counted(one)
    assert activity + negative == told == 71, "as many as the capture holds, known from test_records"
    assert one.table("select * from quarantine") == []

    def early():
        text = urllib.request.urlopen(f"http://127.0.0.1:{one.metrics_port}/metrics", timeout=30).read().decode()
        return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("picket_detection_early_rows_total "))
    wait_until(lambda: early() > 0, 60, "the rows held")
    assert latest(one) <= time.time() * 1e6 + AHEAD_US + 60_000_000
    # A time that is right goes unchanged: the first tenth of the packets is from before now.
    assert one.table("select count(*) > 0 from activity where first_us < (extract(epoch from now()) * 1000000)::bigint - 1000000") == [(True,)]
