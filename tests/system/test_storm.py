"""A long delivery by real sensors with whole spools, struck again and again: what the spools held is what the store has, batch for batch and row for row, and what another parser counts in the captures.

8.10-1: kill -9 of the aggregator, its child and PostgreSQL at random moments. 8.10-10: the server's key changes twice over two ports, and half of the sensors change theirs.
Full size (tests/run --long transport): ten sensors, more than a hundred thousand batches. PICKET_SEED draws the moments."""
import collections
import json
import os
import pathlib
import random
import struct
import subprocess
import time

import fault_support as support
import pytest
from gate_support import RESULTS, keep, size
from pg_support import Mesh, free_port, wait_until

SEED = int(os.environ.get("PICKET_SEED", random.SystemRandom().randrange(10**6)))
N_SENSORS, N_TRANSACTIONS, SPACING_US = size((3, 2000, 30_000), (10, 106_000, 30_000))
N_KILLS, MIN_BATCHES = size((3, 500), (30, 100_000))
ACTIVITY, HEALTH, LOSS = 2, 5, 6


def records(folder):
    """What a spool holds, by docs/PROTOCOL.md s5: (epoch, seq): (kind, rows)."""
    found = {}
    for path in folder.glob("seg-*.psp"):
        data, at = path.read_bytes(), 64
        assert data[:8] == b"PICKETSG"
        epoch = struct.unpack_from(">Q", data, 14)[0]
        while at + 40 <= len(data):
            length, _crc, seq, kind, _codec, form, rows = struct.unpack_from(">IIQBBBxI", data, at)
            if seq == 0:
                break
            found[epoch, seq] = kind, rows
            at += (40 + (24 if form else 0) + length + 7) // 8 * 8
    return found


class Storm(Mesh):
    def __init__(self, folder, postgres, programs, paths, expected):
        self.paths, self.expected = paths, expected
        self.sites = [f"s{i}" for i in range(len(paths))]
        scope = folder / "scope.yaml"
        scope.write_text(json.dumps({"tenants": [{"name": "acme", "sites": self.sites, "zones": support.ZONES}]}))
        super().__init__(folder, postgres, programs, scope=scope)
        for site in self.sites:
            self.add_sensor(site)
        self.stop_aggregator()
        if not RESULTS:  # or the few batches would be there before anything could happen to them
            self.slow_down()

    def slow_down(self):
        """A database that takes ten milliseconds more for a batch."""
        with self.postgres.connect(self.database) as connection:
            connection.execute("create function slow() returns trigger language plpgsql as $$ begin perform pg_sleep(0.01); return null; end $$")
            connection.execute("create trigger slow before insert on ingest_mark for each statement execute function slow()")

    def stop_aggregator(self):
        self.processes["aggregator"].terminate()
        assert self.processes["aggregator"].wait(60) == 0, self.log("aggregator")[-2000:]

    def start_sensors(self):
        for site, path in zip(self.sites, self.paths):
            self.start(f"{site}-1", "picket-sensor", "--config", self.sensor_config(f"{site}-1", site, [path]))

    def spools(self):
        return {site: records(self.folder / f"spool-{site}-1") for site in self.sites}

    def read_captures(self):
        """To the end, while there is no aggregator; what the spools then hold is what must be stored."""
        self.start_sensors()
        last = None

        def quiet():
            nonlocal last
            before, last = last, {path: path.stat().st_size for path in self.folder.glob("spool-*/*.psp")}
            return last == before and len({path.parent for path in last}) == len(self.sites) or time.sleep(size(0.5, 2))
        wait_until(quiet, 600, "the spools")
        self.spooled = self.spools()
        self.n_batches = sum(map(len, self.spooled.values()))

    def stored(self):
        return int(self.table("select coalesce(sum(batches), 0) from ledger")[0][0])

    def unfinished(self):
        """The sites of which not all is stored."""
        stored = dict(self.table("select s.name, sum(l.batches)::bigint from ledger l join sensor s using (tenant_id, sensor_id) group by 1"))
        return [site for site in self.sites if stored.get(f"{site}-1", 0) < len(self.spooled[site])]

    def await_share(self, share):
        def reached():
            time.sleep(0.1)  # the question costs the database something
            return self.stored() >= share * self.n_batches
        wait_until(reached, 1200, f"{share:.0%} of {self.n_batches} batches")

    def finish(self):
        for site in self.sites:
            assert self.processes[f"{site}-1"].wait(1200) == 0, self.log(f"{site}-1")[-2000:]

    def check(self):
        kinds, rows = collections.Counter(), collections.Counter()
        for spool in self.spooled.values():
            for kind, n in spool.values():
                kinds[kind] += 1
                rows[kind] += n
        assert self.n_batches >= MIN_BATCHES and rows[LOSS] == 0, kinds
        assert self.table("select sum(batches), sum(row_count) from ledger") == [(self.n_batches, sum(rows.values()))]
        assert self.table("select last_seq from ingest_seq") == [(self.n_batches,)], "a number for each batch, none for two"
        # None of a sensor's epoch is missing: the numbers are 1 to the greatest, as many as the spool gave out.
        assert self.table("select count(*), sum(newest_seq) from ingest_epoch") == [(len(self.sites), self.n_batches)]
        for table, kind in (("activity", ACTIVITY), ("health", HEALTH)):  # the others are added up
            assert self.table(f"select count(*) from {table}") == [(rows[kind],)], table
        assert self.table("select count(*) from quarantine") == [(0,)]
        sums = self.table("select (select sum(count) from activity), (select sum(count) from negative), (select sum(count) from rrset_stat), (select sum(counters[11]) from health)")
        activity, negative, rrset, messages = map(int, sums[0])
        assert messages == self.expected["messages"]
        assert activity + negative == self.expected["activity"] + self.expected["negative"]
        told = self.table("select sum(counters[25] - counters[26]) from health")
        assert rrset == int(told[0][0])
        # What a sensor had was sent in the order in which it came about.
        assert self.table("select count(*) from (select seq < lag(seq) over (partition by sensor_id, epoch order by ingest_seq) as is_back from ingest_mark where ingest_seq > 0) m where is_back") == [(0,)]
        return {"batches": self.n_batches, "rows": sum(rows.values()), "messages": messages, "transactions": activity + negative, "sightings": rrset}


@pytest.fixture(scope="module")
def captures(tmp_path_factory):
    kept = os.environ.get("PICKET_FAULTS_CAPTURES")
    return support.captures(pathlib.Path(kept) if kept else tmp_path_factory.mktemp("captures"), N_SENSORS, N_TRANSACTIONS, SPACING_US)


@pytest.fixture
def storm(tmp_path, postgres, captures, sensor, aggregator, api, ctl):
    programs = {"picket-sensor": sensor, "picket-aggregator": aggregator, "picket-api": api, "picketctl": ctl}
    one = Storm(tmp_path, postgres, programs, *captures)
    yield one
    one.close()


def strike(one, victim):
    process = one.processes["aggregator"]
    if victim == "aggregator":
        process.kill()
        process.wait()
        one.start_aggregator()
    elif victim == "child":
        subprocess.run(["pkill", "-KILL", "-P", str(process.pid)], check=False)
    else:
        one.postgres.kill()
        one.postgres.restart_after_kill()


def test_whoever_is_killed_rows_stored_are_rows_sent(storm):
    print("PICKET_SEED =", SEED)
    dice = random.Random(SEED)
    storm.read_captures()
    victims = ["aggregator", "child", "postgres"] * (N_KILLS // 3)
    dice.shuffle(victims)
    started = time.monotonic()
    storm.start_aggregator()
    n_struck = collections.Counter()
    for share, victim in zip(sorted(dice.uniform(0.02, 0.9) for _ in victims), victims):
        storm.await_share(share)
        n_struck[victim] += any(storm.processes[f"{site}-1"].poll() is None for site in storm.sites)
        strike(storm, victim)
    storm.finish()
    seconds = time.monotonic() - started
    assert sum(n_struck.values()) >= N_KILLS - 1
    keep(1, test="kill", seed=SEED, killed=dict(n_struck), seconds=round(seconds), **storm.check())


def test_keys_change_over_two_ports_and_no_row_is_lost(storm):
    ports = [storm.port, free_port()]
    keys = ["server.key", "second.key", "third.key"]
    for name in keys[1:]:
        storm.call("picket-aggregator", "genkey", storm.folder / name)

    def place(i):
        return {"listen": f"tcp://127.0.0.1:{ports[i % 2]}", "key_file": str(storm.folder / keys[i])}

    def await_learned(i, sites):
        told = f"learned endpoint=tcp://127.0.0.1:{ports[i % 2]}"
        wait_until(lambda: all(told in storm.log(f"{site}-1") for site in sites), 120, f"CONFIG of key {i + 1}")
    changing = storm.sites[::2]
    for site in changing:
        storm.call("picket-sensor", "rotate-key", "--config", storm.sensor_config(f"{site}-1", site, [storm.paths[0]]))
    storm.read_captures()
    storm.config.write_text(json.dumps({**json.loads(storm.config.read_text()), "name": "a", "next": place(1)}))
    started = time.monotonic()
    shares, waiting = [], storm.sites
    storm.start_aggregator()
    for i, share in ((1, 0.3), (2, 0.6)):
        await_learned(i, waiting)
        storm.await_share(share)
        shares.append(round(storm.stored() / storm.n_batches, 2))
        storm.stop_aggregator()  # in order, as an administrator does
        waiting = storm.unfinished()
        assert waiting, "under traffic"
        storm.config.write_text(json.dumps({**json.loads(storm.config.read_text()), **place(i), "next": place(i + 1) if i + 1 < len(keys) else None}))
        storm.start_aggregator()
    storm.finish()
    seconds = time.monotonic() - started
    for site in waiting:  # for the last change; the others may be done before
        connected = [line.split("endpoint=")[1].split()[0] for line in storm.log(f"{site}-1").splitlines() if " connected endpoint=" in line]
        assert connected[-1] == f"tcp://127.0.0.1:{ports[0]}" and f"tcp://127.0.0.1:{ports[1]}" in connected, "by way of the second port back at the first, under the third key"
    assert storm.table("select is_active, replaces is not null, count(*) from sensor_key group by 1, 2") == sorted(
        [(False, False, len(changing)), (True, True, len(changing)), (True, False, len(storm.sites) - len(changing))], key=repr)
    keep(10, test="keys", server_keys=3, sensors_with_a_new_key=len(changing), changed_at=shares, seconds=round(seconds), **storm.check())
