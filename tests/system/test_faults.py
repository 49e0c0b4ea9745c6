"""The fault matrix: what breaks and whom it hits, at a random moment of a run; afterwards the sums in the store are those of the captures, counted by another parser, less what the
loss ledger tells, and nothing is there twice.

One cell, drawn by PICKET_SEED, in the quick run; all of them with PICKET_FAULTS=FILE (tests/run --long faults), larger: PICKET_FAULTS_SENSORS readers of
PICKET_FAULTS_TRANSACTIONS each; the file gets a line for each cell that held, and those in it are not run again. Everything runs in a network namespace of its own but PostgreSQL,
which is reached by a unix socket: its link cannot be cut. Without sch_netem in the kernel nothing here delays packets."""
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import pytest
from conftest import ROOT
from model import packets
from pg_support import Mesh, free_port, wait_until

CELLS = [(fault, victim) for victim in ("sensor", "aggregator", "postgres", "home") for fault in ("kill", "stop")]
CELLS += [("disk full", "sensor"), ("link cut", "sensor"), ("link cut", "home"), ("20 % loss", "sensor"), ("20 % loss", "home")]
RESULTS = os.environ.get("PICKET_FAULTS")
N_SENSORS, N_TRANSACTIONS, STOP_S = (int(os.environ.get(f"PICKET_FAULTS_{name}", value)) for name, value in (("SENSORS", 3), ("TRANSACTIONS", 4_000), ("STOP_S", 2)))
SEED = int(os.environ.get("PICKET_SEED", random.SystemRandom().randrange(10**6)))


def drawn():
    if not RESULTS:
        return [random.Random(SEED).choice(CELLS)]
    done = [json.loads(line) for line in pathlib.Path(RESULTS).read_text().splitlines()] if pathlib.Path(RESULTS).exists() else []
    return [cell for cell in CELLS if not any((row["fault"], row["victim"]) == cell for row in done)]


SUMS = """select (select coalesce(sum(count), 0) from activity), (select coalesce(sum(count), 0) from negative), (select coalesce(sum(count), 0) from rrset_stat),
    (select coalesce(sum(counters[11]), 0) from health), (select coalesce(sum(counters[21] + counters[22]), 0) from health),
    (select coalesce(sum(transactions), 0) from loss where kind in (2, 4)), (select coalesce(sum(transactions), 0) from loss where kind = 3),
    (select count(*) from ingest_mark), (select count(distinct ingest_seq) from ingest_mark), (select coalesce(sum(batches), 0) from ledger)"""


def run(*command):
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, (command, done.stderr)


class Space:
    """A namespace whose loopback loses what it is told to."""

    def __init__(self):
        self.name = f"picket-faults-{os.getpid()}"
        done = subprocess.run(["ip", "netns", "add", self.name], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"network namespaces are not permitted here: {done.stderr.strip()}")
        run("ip", "-n", self.name, "link", "set", "lo", "up")
        self.nft("add table inet f")
        self.nft("add chain inet f out { type filter hook output priority 0; }")

    def nft(self, rule):
        run("ip", "netns", "exec", self.name, "nft", *rule.split())

    def drop(self, percent, ports):
        ports = ",".join(map(str, ports))
        for side in ("dport", "sport"):
            share = f"numgen random mod 100 < {percent} " if percent < 100 else ""
            self.nft(f"add rule inet f out tcp {side} {{{ports}}} {share}drop")

    def heal(self):
        self.nft("flush chain inet f out")

    def close(self):
        subprocess.run(["ip", "netns", "del", self.name], check=False)


class Field(Mesh):
    """Two aggregators and the sensors, all in the namespace; "a" is the home."""

    def __init__(self, folder, postgres, programs, space, captures):
        self.space, self.captures = space, captures
        self.sites = [f"s{i}" for i in range(len(captures))]
        scope = folder / "scope.yaml"
        scope.write_text(json.dumps({"tenants": [{"name": "acme", "sites": self.sites, "zones": ["z0.com", "z1.net", "z2.org", "z5.com", "z10.com"]}]}))
        self.ports = {"a": free_port(), "b": free_port()}
        super().__init__(folder, postgres, programs, scope=scope)
        self.processes["aggregator"].send_signal(signal.SIGTERM)
        self.processes.pop("aggregator").wait(60)
        for name in "ab":
            endpoint = f"tcp://127.0.0.1:{self.ports[name]}"
            self.write(f"{name}.yaml", {**json.loads(self.config.read_text()), "name": name, "listen": endpoint, "advertise": endpoint, "metrics": {"port": 0}})
            self.start_named(name)
            wait_until(lambda: self.holder() == "a", 60, "the home")
        for site in self.sites:
            self.add_sensor(site)

    def inside(self, name, program, *arguments):
        with open(self.folder / f"{name}.log", "ab") as log:
            self.processes[name] = subprocess.Popen(["ip", "netns", "exec", self.space.name, self.programs[program], *map(str, arguments)], stdout=log, stderr=log, cwd=self.folder)
        return self.processes[name]

    def start_named(self, name):
        before = self.log(name).count("listening")

        def up():
            if name not in self.processes or self.processes[name].poll() is not None:
                self.inside(name, "picket-aggregator", "--config", self.folder / f"{name}.yaml")
            return self.log(name).count("listening") > before
        wait_until(up, 60, f"aggregator {name}")

    def holder(self):
        return (self.table("select holder from home where expires_us > (extract(epoch from clock_timestamp()) * 1000000)::bigint") or [("",)])[0][0]

    def start_sensor(self, site, capture):
        path = self.sensor_config(f"{site}-1", site, [capture])
        config = json.loads(path.read_text())
        config["aggregator"]["endpoints"] = [f"tcp://127.0.0.1:{self.ports[name]}" for name in "ab"]
        path.write_text(json.dumps(config))
        return self.inside(f"{site}-1", "picket-sensor", "--config", path)

    def spooled(self):
        return {path: path.stat().st_size for path in self.folder.glob("spool-*/**/*.psp")}

    def read_captures(self):
        """All sensors read to the end while they reach nobody; what is to be delivered waits in the spools."""
        self.space.drop(100, self.ports.values())
        for site, capture in zip(self.sites, self.captures):
            self.start_sensor(site, capture)
        last, still = None, 0

        def quiet():
            nonlocal last, still
            now = self.spooled()
            still = still + 1 if now == last and len({p.parent for p in now}) == len(self.sites) else 0
            last = now
            return still > 100  # two seconds
        wait_until(quiet, 300, "the spools")
        self.space.heal()

    def batches(self):
        return self.table("select count(*) from ingest_mark")[0][0]

    def strike(self, fault, victim, dice):
        site = dice.choice([s for s in self.sites if self.processes[f"{s}-1"].poll() is None] if victim == "sensor" else self.sites)  # somebody must be there to be struck
        process = self.processes[f"{site}-1" if victim == "sensor" else "a"]
        if victim == "home" and fault != "stop":
            if fault == "kill":
                process.kill()
            else:
                self.ctl("home", "move", "acme", "b")
            wait_until(lambda: self.holder() == "b", 60, "the take-over")
        elif fault == "kill" and victim == "postgres":
            self.postgres.kill()
            self.postgres.restart_after_kill()
        elif fault == "kill":
            process.kill()
            process.wait()
            if victim == "sensor":
                self.start_sensor(site, self.folder / "empty.pcap")
            else:
                self.start_named("a")
        elif fault == "stop":
            pid = int((self.postgres.data / "postmaster.pid").read_text().split()[0]) if victim == "postgres" else process.pid
            pids = [pid] + [int(p) for p in subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False).stdout.split()]
            for p in pids:
                os.kill(p, signal.SIGSTOP)
            if victim == "home":
                wait_until(lambda: self.holder() == "b", 60, "the take-over")
            else:
                subprocess.run(["sleep", str(STOP_S)], check=True)  # this is the fault, not a wait for something
            for p in pids:
                try:
                    os.kill(p, signal.SIGCONT)
                except ProcessLookupError:
                    pass

    def disturb(self, fault, victim, dice):
        """Strikes after a random share of what the calm run took."""
        if fault == "20 % loss":
            self.space.drop(20, self.ports.values())
        n_expected = N_TRANSACTIONS * len(self.sites) // 1000  # about as many batches as there will be
        hits = dice.randrange(1, 2 + n_expected // (4 if victim == "sensor" else 1))
        sensors = [self.processes[f"{site}-1"] for site in self.sites]
        wait_until(lambda: self.batches() >= hits or all(s.poll() is not None for s in sensors), 120, "progress")
        if fault == "link cut" and victim == "sensor":
            self.space.drop(100, self.ports.values())
            subprocess.run(["sleep", str(STOP_S)], check=True)
            self.space.heal()
        elif fault in ("kill", "stop") or victim == "home":
            self.strike(fault, victim, dice)

    def finish(self):
        for site in self.sites:
            assert self.processes[f"{site}-1"].wait(600) == 0, self.log(f"{site}-1")[-2000:]
        with self.postgres.connect(self.database) as connection:
            return dict(zip(("activity", "negative", "rrset", "messages", "told", "lost", "lost_rrset", "marks", "sequences", "ledger"), map(int, connection.execute(SUMS).fetchone())))


@pytest.fixture(scope="module")
def captures(tmp_path_factory):
    """Captures, and the messages in each by the model's own parser."""
    folder, made = tmp_path_factory.mktemp("captures"), []
    for i in range(N_SENSORS):
        path = folder / f"{i}.pcap"
        subprocess.run([sys.executable, ROOT / "tests/bench/make_capture.py", path, str(N_TRANSACTIONS), str(i + 1)], check=True)
        made.append(path)
    return made, sum(1 for path in made for _ in packets.messages(path))


@pytest.mark.parametrize("fault, victim", drawn())
def test_every_message_is_stored_or_told_lost_and_none_twice(fault, victim, captures, postgres, tmp_path, sensor, aggregator, api, ctl):
    print(f"PICKET_SEED = {SEED}: {fault} of {victim}")
    dice = random.Random(f"{SEED} {fault} {victim}")
    paths, n_messages = captures
    programs = {"picket-sensor": sensor, "picket-aggregator": aggregator, "picket-api": api, "picketctl": ctl}
    space, mounts = Space(), []
    field = None
    try:
        field = Field(tmp_path, postgres, programs, space, paths)
        (tmp_path / "empty.pcap").write_bytes(paths[0].read_bytes()[:24])
        if fault == "disk full":
            mounts.append(tmp_path / f"spool-{field.sites[0]}-1")
            mounts[0].mkdir(mode=0o700)
            run("mount", "-t", "tmpfs", "-o", f"size={max(64, N_TRANSACTIONS // 200)}k,mode=700", "tmpfs", mounts[0])
        field.read_captures()
        start = time.monotonic()
        field.disturb(fault, victim, dice)
        sums = field.finish()
        print(sums, "messages in the captures:", n_messages)
        assert sums["messages"] == n_messages
        assert sums["activity"] + sums["negative"] == sums["told"] - sums["lost"] and sums["activity"] > 0
        assert sums["marks"] == sums["sequences"] == sums["ledger"]
        assert sums["lost"] == 0 or fault == "disk full"
        if victim == "home":
            assert field.holder() == "b"
        if RESULTS:
            with open(RESULTS, "a") as out:
                out.write(json.dumps({"fault": fault, "victim": victim, "seed": SEED, "seconds": round(time.monotonic() - start, 1), "captured": n_messages, **sums}) + "\n")
    finally:
        if field:
            for process in field.processes.values():
                if process.poll() is None:
                    process.send_signal(signal.SIGCONT)
            field.close()
        space.close()
        for mount in mounts:
            subprocess.run(["umount", mount], check=False)
