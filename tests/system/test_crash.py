"""kill -9 of a sensor that captures from interfaces: what it had captured and not sealed is told as lost by the next process, and all sums meet in the store, to the last message.

What the mark in the spool's folder says is read here by another reader; so it is known what the sensor had taken when it was killed, without waiting for a time."""
import json
import os
import pathlib
import random
import signal
import struct
import subprocess

import pytest
from conftest import program
from live_support import Lab
from pg_support import wait_until

SLOT_BYTES, MESSAGES, IN_SCOPE = 1024, 10, 20
SCOPE = "tenants:\n  - {name: acme, sites: [hq], zones: [acme.example]}\n"
SUMS = """select (select coalesce(sum(counters[11]), 0) from health), (select coalesce(sum(counters[21] + counters[22]), 0) from health), (select coalesce(sum(counters[25] - counters[26]), 0) from health),
    (select coalesce(sum(counters[15]), 0) from health), (select coalesce(sum(counters[24]), 0) from health),
    (select coalesce(sum(count), 0) from activity) + (select coalesce(sum(count), 0) from negative), (select coalesce(sum(count), 0) from rrset_stat),
    (select coalesce(sum(transactions), 0) from loss where cause = 8 and kind in (2, 4)), (select coalesce(sum(transactions), 0) from loss where cause = 8 and kind = 3),
    (select coalesce(sum(batches), 0) from loss)"""
NAMES = ("messages", "told", "told_rrset", "transactions", "shed", "stored", "stored_rrset", "lost", "lost_rrset", "lost_batches")


@pytest.fixture
def lab():
    if os.geteuid() != 0:
        pytest.skip("needs root for network namespaces")
    made = Lab()
    yield made
    made.close()


def under_way(folder):
    """Messages that the sources of the mark have not told in a health row; 0 without a mark."""
    path, total = pathlib.Path(folder) / "mark", 0
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return 0
    for at in range(0, len(data), 2 * SLOT_BYTES):
        slots = [struct.unpack_from("=128Q", data, at + i * SLOT_BYTES) for i in range(2)]
        newest = max(slots, key=lambda words: words[1])
        n_counters = newest[13]
        total += newest[14 + MESSAGES] if n_counters > MESSAGES else 0
    return total


class Site:
    """A sensor in the lab that no aggregator hears, until it ships outside what it has."""

    def __init__(self, lab, mesh, threads=1, window_s=60):
        self.lab = lab
        (lab.folder / "scope.yaml").write_text(SCOPE)
        self.mesh = mesh(scope=lab.folder / "scope.yaml")
        lab.pair("a0", "b0")
        public = self.mesh.call("picket-sensor", "genkey", lab.folder / "sensor.key").strip()
        self.config = lab.config(["b0"], window_s=window_s, capture_threads=threads)
        content = json.loads(self.config.read_text())
        content["aggregator"] = {"endpoints": [f"tcp://127.0.0.1:{self.mesh.port}"], "server_key": self.mesh.server_key}
        self.config.write_text(json.dumps(content))
        self.mesh.ctl("sensor", "add", "--site", "acme/hq", "--name", "hq-1", "--pubkey", public)
        self.mesh.wait_for_keys(1)
        self.spool, self.sent = lab.folder / "spool", 0

    def start(self):
        self.run = self.lab.daemon(self.config)
        self.run.wait_for("module=privileges")

    def send(self, pairs):
        self.sent += self.lab.send("a0", pairs)

    def send_and_kill(self, pairs):
        """Once all of it is taken and noted."""
        self.start()
        self.send(pairs)
        wait_until(lambda: under_way(self.spool) >= 2 * pairs, 30, "the note")
        assert under_way(self.spool) == 2 * pairs
        self.kill()

    def kill(self):
        self.run.process.send_signal(signal.SIGKILL)
        self.run.process.wait()

    def ship(self):
        """All that the spool holds, and the sums in the store."""
        content = json.loads(self.config.read_text())
        (self.lab.folder / "empty.pcap").write_bytes(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1))
        content["capture"] = {"read": [str(self.lab.folder / "empty.pcap")]}
        path = self.lab.folder / "ship.yaml"
        path.write_text(json.dumps(content))
        assert self.mesh.start("ship", "picket-sensor", "--config", path).wait(120) == 0, self.mesh.log("ship")
        with self.mesh.postgres.connect(self.mesh.database) as connection:
            sums = dict(zip(NAMES, map(int, connection.execute(SUMS).fetchone())))
        print(sums)
        assert sums["told"] == sums["stored"] + sums["lost"]
        assert sums["told_rrset"] == sums["stored_rrset"] + sums["lost_rrset"]
        assert sums["lost_batches"] == 0
        (row,) = map(json.loads, self.mesh.ctl("sensors", "--tenant", "acme", "--json").splitlines())
        assert row["balanced"] and row["alarm"] is None and row["lost_transactions"] == sums["lost"]
        assert row["lost_by_cause"]["crash"]["transactions"] == sums["lost"] + sums["lost_rrset"]
        hours = self.mesh.table("select sum(lost[9])::bigint from ledger")
        assert hours[0][0] == sums["lost"]
        return sums


@pytest.mark.parametrize("threads", [1, 2])
def test_what_was_captured_is_stored_or_told_lost(lab, mesh, threads):
    site = Site(lab, mesh, threads)
    site.send_and_kill(700)  # a window that was never given out
    site.send_and_kill(300)  # and again
    assert "lost cause=crash until=" in site.run.log() and "messages=1400 transactions=700," in site.run.log()
    site.start()
    site.send(500)
    site.run.stop()  # in order: this is stored
    sums = site.ship()
    assert sums["messages"] == site.sent == 3000 and sums["transactions"] == 1500
    assert (sums["lost"], sums["lost_rrset"], sums["stored"], sums["stored_rrset"], sums["shed"]) == (1000, 1000, 500, 500, 0)
    assert "cause=crash" in site.mesh.ctl("sensors", "--tenant", "acme")


def test_killed_in_a_flood_at_a_random_moment_the_sums_meet(lab, mesh):
    """Windows end meanwhile. What was in the kernel's ring, and the last tenth of a second, nobody can know."""
    seed = int(os.environ.get("PICKET_SEED", random.SystemRandom().randrange(10**6)))
    print("PICKET_SEED =", seed)
    dice, n_pairs = random.Random(seed), 40000
    site = Site(lab, mesh, window_s=1)
    known = 0
    for turn in range(3):
        site.start()
        sender = subprocess.Popen(["ip", "netns", "exec", lab.name, program("send_dns"), "a0", "20000", "60", str(n_pairs), str(turn * n_pairs)], stdout=subprocess.PIPE, text=True)
        enough = dice.randrange(1, n_pairs // 4)
        wait_until(lambda: under_way(site.spool) >= enough, 30, "some of the flood")
        known += under_way(site.spool)
        site.kill()
        site.sent += int(sender.communicate()[0].split()[1])
    site.start()
    site.run.stop()
    sums = site.ship()
    assert known <= sums["messages"] <= site.sent
    assert sums["transactions"] == sums["told"] + sums["shed"]
