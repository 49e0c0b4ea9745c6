"""Alarms about sensors: each opens once, stays while it holds, and closes once; and the sums of the ledger, which people are shown, are those of the tables."""
import json
import os
import pathlib
import time

import msgpack
from peer_support import ACK, HEARTBEAT, WELCOME, Peer, read_key
from pg_support import CAPTURES, wait_until

NOW = "(extract(epoch from now()) * 1000000)::bigint"
HOUR = f"({NOW} / 3600000000 * 3600000000)"
SKEWED, REVOKED, CLONED, DARK, ENCRYPTED = ("away", "skewed"), ("left", "skewed"), ("cloned", "cloned"), ("dark", "blind"), ("tls", "blind")
SILENT, UNBALANCED = ("hq-1", "silent"), ("hq-1", "unbalanced")


def change(one, statement):
    with one.postgres.connect(one.database) as connection:
        connection.execute(statement)


def alarms(one, *more):
    """(sensor, kind) of those open, or of all; without what the sensors themselves say of these old captures."""
    rows = map(json.loads, one.ctl("alarms", "--tenant", "acme", "--json", *more).splitlines())
    return sorted((row["sensor"], row["kind"]) for row in rows if row["kind"] != "tap")


def sensors(one):
    return {row["sensor"]: row for row in map(json.loads, one.ctl("sensors", "--tenant", "acme", "--json").splitlines())}


def leb128(n):
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    return bytes([*out, n])


def ship(one):
    """Two sensors at one site have shipped a capture each."""
    for n, capture in enumerate(("hq", "branch"), 1):
        one.add_sensor("hq", f"hq-{n}")
        one.wait_for_keys(n)
        config = one.sensor_config(f"hq-{n}", "hq", [CAPTURES / f"{capture}.pcap"])
        assert one.start(f"hq-{n}", "picket-sensor", "--config", config).wait(120) == 0


def say(peer, offset_s, queued=0, waiting=0, behind_s=0):
    peer.send(peer.header(HEARTBEAT, time.monotonic_ns(), int(time.time() * 1e6), 0, queued, int(offset_s * 1e6), waiting, int(behind_s * 1e6)))
    assert peer.await_type(HEARTBEAT)


def check_sums(one):
    """The ledger is summed while batches are stored; here against the tables themselves. By sensor, which tables by site cannot tell."""
    shown = sensors(one)
    of = "join sensor s using (tenant_id, sensor_id)"
    messages = dict(one.table(f"select s.name, sum(h.counters[11])::bigint from health h {of} group by 1"))
    activity = dict(one.table(f"select s.name, sum(a.count)::bigint from activity a {of} group by 1"))
    batches = {name: (n, rows) for name, n, rows in one.table(f"select s.name, count(*), sum(m.row_count)::bigint from ingest_mark m {of} group by 1")}
    for name, row in shown.items():
        assert row["balanced"] and row["alarm"] is None
        assert row["counters"]["messages"] == messages[name] > 0
        assert row["stored_activity"] == activity.get(name, 0)
        assert (row["batches"], row["delivered_rows"]) == batches[name]
    for column, table in (("stored_negative", "negative"), ("stored_rrset", "rrset_site")):
        assert sum(row[column] for row in shown.values()) == one.table(f"select sum(count)::bigint from {table}")[0][0]
        assert all(row[column] > 0 for row in shown.values())


def make_hours(one, name, hour, before):
    """Five hours of the ledger in which it saw a message a minute, and then one, and this one, of other counters."""
    counters = ["0"] * 55
    counters[0], counters[10], counters[33] = "3600000", "60", "60"
    for n in range(7):
        values = list(counters)
        for place, value in (hour if n == 0 else before if n == 1 else {}).items():
            values[place - 1] = str(value)
        change(one, f"insert into ledger select tenant_id, sensor_id, {HOUR} - {n} * 3600000000::bigint, 1, 1, '{{{','.join(values)}}}', '{{0,0,0,0,0,0,0,0}}', '{{0,0,0,0,0,0,0,0}}', {NOW}"
                    f" from sensor where name = '{name}'")


def test_each_opens_once_and_closes_once(mesh):
    one = mesh()
    ship(one)
    check_sums(one)
    for name in ("away", "cloned", "dark", "left", "tls"):
        one.add_sensor("hq", name)
    one.wait_for_keys(7)
    # The captures are from long ago; hours of the last week are judged.
    change(one, f"update ledger set hour_us = {NOW} - 10800000000 + hour_us % 1000")
    change(one, f"update health set received_us = {NOW} + 600000000")
    make_hours(one, "dark", {11: 0, 34: 0}, {11: 0, 34: 0})
    make_hours(one, "tls", {49: 1000}, {})
    change(one, "update health set received_us = received_us - 3600000000 where sensor_id = 1")
    change(one, "update ledger set stored[3] = stored[3] + 1 where sensor_id = 1")  # as if a row were there twice
    key, boots = read_key(one.folder / "cloned.key"), (os.urandom(16), os.urandom(16))
    for n in range(3):
        with Peer(one, key, boot=boots[n % 2]) as peer:
            assert peer.hello()[0] == WELCOME
    with Peer(one, read_key(one.folder / "left.key")) as peer:
        assert peer.hello()[0] == WELCOME
        say(peer, 3600)
    with Peer(one, read_key(one.folder / "away.key")) as peer:
        assert peer.hello()[0] == WELCOME
        say(peer, -45.5, 7, 70000, 93784)
        wait_until(lambda: (sensors(one)["away"]["now"] or {}).get("waiting_batches") == 7, 60, "the heartbeat in the store")
        now = sensors(one)["away"]["now"]
        assert now["clock_offset_ms"] == -45500 and now["waiting_bytes"] == 70000 and now["behind_s"] == 93784
        assert now["address"] == "127.0.0.1" and now["software"] == "pyzmq"
        text = one.ctl("sensors", "--tenant", "acme")
        assert "behind by 1d 02:03:04: batches=7 bytes=70000 wait there" in text and "its clock is 45.5 s ahead" in text
        wait_until(lambda: alarms(one) == sorted([SILENT, UNBALANCED, DARK, ENCRYPTED]), 180, "the first alarms")  # skewed not yet for two minutes, cloned only once
        with Peer(one, key, boot=boots[1]) as other:
            assert other.hello()[0] == WELCOME
        change(one, "update sensor_state set skewed_since_us = skewed_since_us - 120000000")
        wait_until(lambda: alarms(one) == sorted([SILENT, UNBALANCED, DARK, ENCRYPTED, SKEWED, REVOKED, CLONED]), 60, "the alarms")
        shown, text = sensors(one), one.ctl("alarms", "--tenant", "acme")
        assert shown["hq-1"]["alarm"] == "sums do not meet" and not shown["hq-1"]["balanced"] and {"silent", "unbalanced"} <= set(shown["hq-1"]["alarms"])
        assert shown["hq-2"]["balanced"] and shown["hq-2"]["alarm"] is None and shown["cloned"]["alarms"] == ["cloned"]
        for sentence in ("its key is used from 127.0.0.1 and 127.0.0.1", "its clock is 45.5 s ahead since", "its clock is 3600.0 s behind since", "no message for an hour, 60 an hour before",
                         "1000 packets of encrypted DNS, "):
            assert sentence in text, text
        text = one.ctl("sensors", "--tenant", "acme")
        assert "alarm: sums do not meet" in text and "alarm open: silent" in text
        # All of it ends. The last heartbeat is an older sensor's, which says less.
        peer.send(peer.header(HEARTBEAT, time.monotonic_ns(), int(time.time() * 1e6), 0, 0, 29_000_000))
        one.ctl("sensor", "revoke", "left", "--tenant", "acme")
        change(one, "update sensor_state set cloned_us = cloned_us - 300000000")  # as if it were the time since the last turn
        change(one, f"update health set received_us = {NOW} + 600000000")
        change(one, "update ledger set stored[3] = stored[3] - 1 where sensor_id = 1")
        change(one, f"update ledger set counters[11] = counters[11] + 1, counters[49] = 0 where hour_us >= {HOUR} - 3600000000")
        wait_until(lambda: alarms(one) == [], 60, "their end")
        assert sensors(one)["away"]["now"]["clock_offset_ms"] == 29000
    assert alarms(one, "--all") == sorted([SILENT, UNBALANCED, DARK, ENCRYPTED, SKEWED, REVOKED, CLONED])
    log = one.log("aggregator")
    for sensor, kind in alarms(one, "--all"):
        assert log.count(f"opened sensor={sensor} kind={kind}") == log.count(f"closed sensor={sensor} kind={kind}") == 1


def test_a_sensor_may_say_anything_of_itself_and_not_knowing_changes_nothing(mesh):
    one = mesh()
    one.add_sensor("hq", "odd")
    one.wait_for_keys(1)
    with Peer(one, read_key(one.folder / "odd.key")) as peer:
        assert peer.hello()[0] == WELCOME
        peer.send(peer.header(HEARTBEAT, 1, 1, 1, 2**64 - 1, -2**63, 2**64 - 1, 2**64 - 1))
        wait_until(lambda: one.table("select skewed_since_us from sensor_state where queued = 9223372036854775807"), 60, "the heartbeat in the store")
        since = one.table("select skewed_since_us from sensor_state")
        say(peer, 0, 3)  # it does not know: what was known stays
        wait_until(lambda: one.table("select 1 from sensor_state where queued = 3"), 60, "the next heartbeat")
        assert one.table("select skewed_since_us from sensor_state") == since != [(None,)]
        # Its health, by interface: twice, so that sums are seen to be sums.
        vectors = json.loads((pathlib.Path(__file__).resolve().parents[1] / "data/vectors/wire.json").read_text())["batches"]
        body = bytes.fromhex(next(v["hex"] for v in vectors if v["name"] == "health-interfaces"))
        odd = msgpack.unpackb(body, raw=False, strict_map_key=False)
        odd[98] = [['\u00e9"\\', 77, 1, 2, 3]]
        for seq, data in enumerate((body, body, msgpack.packb(odd, use_bin_type=True)), 1):
            peer.batch((5, 0, 1, 0, 0, data, len(data)), seq)
            assert peer.await_type(ACK)
        assert sensors(one)["odd"]["interfaces"] == [
            {"name": '??"\\', "state": "unknown", "packets": 1, "kernel_dropped": 2, "iface_dropped": 3},
            {"name": "a-name-of-fif15", "state": "down", "packets": 2000, "kernel_dropped": 0, "iface_dropped": 2 * (2**32 - 1)},
            {"name": "eth0", "state": "open", "packets": 138000, "kernel_dropped": 24, "iface_dropped": 0}]
        assert "interface eth0 is open: packets=138000 dropped=24 lately" in one.ctl("sensors", "--tenant", "acme")
        # A window as long as a number can be, and sums at their most in hours enough to overflow: nobody's alarms or view stop, nobody waits.
        odd[96] = bytes([0]) + leb128(2**63 - 1) + bytes(32)  # the first release's counters, each by itself
        data = msgpack.packb(odd, use_bin_type=True)
        peer.batch((5, 0, 1, 0, 0, data, len(data)), 4)
        assert peer.await_type(ACK)
        assert one.table("select max(counters[1]) from health") == [(2**63 - 1,)]
        most = "{" + ",".join([str(2**63 - 1)] * 8) + "}"
        assert one.table(f"select picket_add('{most}', '{most}')") == [([2**59] * 8,)]
        for n in range(2, 34):
            change(one, f"insert into ledger select tenant_id, sensor_id, {HOUR} - {n} * 3600000000::bigint, 1, 1, counters, picket_add('{most}', '{most}'), picket_add('{most}', '{most}'), 0"
                        " from ledger where hour_us = (select min(hour_us) from ledger)")
        wait_until(lambda: alarms(one) == [("odd", "unbalanced")], 60, "alarms that are still looked for")
        assert sensors(one)["odd"]["stored_activity"] == 2**63 - 1
    assert "failed=" not in one.log("aggregator")
