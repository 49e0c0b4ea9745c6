"""The fault matrix: what breaks and whom it hits, at a random moment of a run; afterwards the sums in the store are those of the captures, counted by another parser, less what the
loss ledger tells, and nothing is there twice.

One cell, drawn by PICKET_SEED, in the quick run; with PICKET_FAULTS=FILE (tests/run --long faults) all of them, or those of PICKET_FAULTS_CELLS, larger: PICKET_FAULTS_SENSORS readers of
PICKET_FAULTS_TRANSACTIONS each, faults that last PICKET_FAULTS_STOP_S; the file gets a line for each cell that held. Sensors read their captures first, cut off from everybody, so that
none can be killed with a half-read one; the run that is disturbed is the delivery of what they then have in their spools."""
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import tempfile
import time

import fault_support as support
import pytest
from pg_support import Mesh, wait_until

FAULTS = ("kill", "stop", "disk full", "link cut", "20 % loss", "300 ms delay", "clock step")
VICTIMS = ("sensor", "aggregator", "postgres", "home")
CELLS = [(fault, victim) for fault in FAULTS for victim in VICTIMS]
RESULTS = os.environ.get("PICKET_FAULTS")
N_SENSORS, N_TRANSACTIONS, STOP_S = (int(os.environ.get(f"PICKET_FAULTS_{name}", value)) for name, value in (("SENSORS", 3), ("TRANSACTIONS", 4_000), ("STOP_S", 2)))
SEED = int(os.environ.get("PICKET_SEED", random.SystemRandom().randrange(10**6)))
HOUR_S = 3600
SUMS = """select (select coalesce(sum(count), 0) from activity), (select coalesce(sum(count), 0) from negative), (select coalesce(sum(count), 0) from rrset_stat),
    (select coalesce(sum(counters[11]), 0) from health), (select coalesce(sum(counters[21] + counters[22]), 0) from health),
    (select coalesce(sum(counters[25] - counters[26]), 0) from health), (select coalesce(sum(counters[24]), 0) from health),
    (select coalesce(sum(transactions), 0) from loss where kind in (2, 4)), (select coalesce(sum(transactions), 0) from loss where kind = 3),
    (select count(*) from ingest_mark), (select count(distinct ingest_seq) from ingest_mark), (select coalesce(sum(batches), 0) from ledger),
    (select max(generation) from home)"""
NAMES = ("activity", "negative", "rrset", "messages", "told", "told_rrset", "shed", "lost", "lost_rrset", "marks", "sequences", "ledger", "generation")


def chosen():
    """The cells of this run. Any part of a cell's name chooses: "postgres", "clock step", "kill/home"."""
    if not RESULTS:
        return [random.Random(SEED).choice(CELLS)]
    wanted = os.environ.get("PICKET_FAULTS_CELLS", "").split(",")
    return [cell for cell in CELLS if any(word in "/".join(cell) for word in wanted)]


class Field(Mesh):
    """Two aggregators and the sensors, each at a port of the switch; "a" is the home."""

    def __init__(self, folder, postgres, programs, switch, captures, expected):
        self.switch, self.captures, self.expected = switch, captures, expected
        self.sites = [f"s{i}" for i in range(len(captures))]
        self.clocks = {}
        scope = folder / "scope.yaml"
        scope.write_text(json.dumps({"tenants": [{"name": "acme", "sites": self.sites, "zones": support.ZONES}]}))
        (folder / "empty.pcap").write_bytes(captures[0].read_bytes()[:24])
        super().__init__(folder, postgres, programs, scope=scope)
        self.processes["aggregator"].send_signal(signal.SIGTERM)
        self.processes.pop("aggregator").wait(60)
        for name in "ab":
            (folder / name).mkdir()
            self.write(f"{name}.yaml", {**json.loads(self.config.read_text()), "name": name, "database": postgres.wired(self.database), "listen": "tcp://0.0.0.0:7353",
                                        "advertise": self.endpoint(name), "metrics": {"port": 0}})
        for site in self.sites:
            self.add_sensor(site)

    def endpoint(self, name):
        return f"tcp://{self.switch.address(name)}:7353"

    def give_clock(self, name):
        self.clocks[name] = support.Clock(self.folder / f"{name}.clock")

    def log_path(self, name):
        return self.folder / name / "log" if name in "ab" else self.folder / f"{name}.log"

    def log(self, name):
        path = self.log_path(name)
        return path.read_text(errors="replace") if path.exists() else ""

    def inside(self, place, name, program, *arguments):
        environment = {**os.environ, **(self.clocks[place].environment() if place in self.clocks else {})}
        with open(self.log_path(name), "ab") as log:
            self.processes[name] = subprocess.Popen([*self.switch.inside(place), self.programs[program], *map(str, arguments)], stdout=log, stderr=log,
                                                    cwd=self.log_path(name).parent, env=environment)
        return self.processes[name]

    def start_named(self, name):
        before = self.log(name).count("listening")

        def up():
            if name not in self.processes or self.processes[name].poll() is not None:
                self.inside(name, name, "picket-aggregator", "--config", self.folder / f"{name}.yaml")
            return self.log(name).count("listening") > before
        wait_until(up, 60, f"aggregator {name}")

    def start_aggregators(self):
        for name in "ab":
            self.start_named(name)
            wait_until(lambda: self.holder() == "a", 60, "the home")

    def holder(self):
        return (self.table("select holder from home where expires_us > (extract(epoch from clock_timestamp()) * 1000000)::bigint") or [("",)])[0][0]

    def await_home(self, name):
        wait_until(lambda: self.holder() == name, 60, f"home {name}")  # the promise: a lease (5 s) and a second

    def start_sensor(self, site, capture, **spool):
        path = self.sensor_config(f"{site}-1", site, [capture])
        config = json.loads(path.read_text())
        config["aggregator"]["endpoints"] = [self.endpoint(name) for name in "ab"]
        config["spool"].update(spool)
        path.write_text(json.dumps(config))
        return self.inside(site, f"{site}-1", "picket-sensor", "--config", path)

    def restart_sensor(self, site):
        self.processes[f"{site}-1"].kill()
        self.processes[f"{site}-1"].wait()
        self.start_sensor(site, self.folder / "empty.pcap")

    def spooled(self):
        return {path: path.stat().st_size for path in self.folder.glob("spool-*/**/*.psp")}

    def read_captures(self, captures, **spool_of_first):
        """All sensors read to the end while they reach nobody; what is to be delivered waits in the spools."""
        for name in "ab":
            self.switch.cut(name)
        for i, (site, capture) in enumerate(zip(self.sites, captures)):
            self.start_sensor(site, capture, **({} if i else spool_of_first))
        last, still = None, 0

        def quiet():
            nonlocal last, still
            now = self.spooled()
            still = still + 1 if now == last and len({p.parent for p in now}) == len(self.sites) else 0
            last = now
            return still > 100  # two seconds
        wait_until(quiet, 300, "the spools")
        self.switch.heal()

    def settle_home(self):
        """Captures of a minute are read for longer than a lease, with both cut off from the database: who came back first is the home, and that was no fault's doing."""
        wait_until(self.holder, 60, "a home")
        if self.holder() != "a":
            self.ctl("home", "move", "acme", "a")
            self.await_home("a")
        self.generation = self.table("select max(generation) from home")[0][0]

    def delivered(self):
        """The share of the transactions that is in the store by now."""
        return float(self.table("select coalesce(sum(stored[3] + stored[5]), 0) from ledger")[0][0]) / (self.expected["activity"] + self.expected["negative"])

    def await_share(self, share):
        def reached():
            time.sleep(0.1)  # the question costs the database something
            return self.delivered() >= share
        wait_until(reached, 600, f"{share:.0%} of the run")

    def finish(self):
        for site in self.sites:
            assert self.processes[f"{site}-1"].wait(600) == 0, self.log(f"{site}-1")[-2000:]
        with self.postgres.connect(self.database) as connection:
            sums = dict(zip(NAMES, map(int, connection.execute(SUMS).fetchone())))
        sums["moves"] = sums.pop("generation") - self.generation
        return sums


# --- the faults ---


def last(at_least_s=0):
    """How long what is broken stays so: this is the fault, not a wait for something."""
    subprocess.run(["sleep", str(max(STOP_S, at_least_s))], check=True)


def some(field, dice):
    """Up to half of the sensors."""
    return dice.sample(field.sites, dice.randint(1, max(1, len(field.sites) // 2)))


def take_over(field):
    """The home dies; the other must become it, whatever else is wrong meanwhile."""
    field.processes["a"].kill()
    field.await_home("b")


def kill(field, victim, dice):
    if victim == "sensor":
        for site in some(field, dice):
            field.restart_sensor(site)
    elif victim == "aggregator":
        field.processes["a"].kill()
        field.processes["a"].wait()
        field.start_named("a")
    elif victim == "postgres":
        field.postgres.kill()
        field.postgres.restart_after_kill()
    else:
        take_over(field)


def stop(field, victim, dice):
    if victim == "postgres":
        parents = [int((field.postgres.data / "postmaster.pid").read_text().split()[0])]
    elif victim == "sensor":
        parents = [field.processes[f"{site}-1"].pid for site in some(field, dice)]
    else:
        parents = [field.processes["a"].pid]
    pids = parents + [int(p) for parent in parents for p in subprocess.run(["pgrep", "-P", str(parent)], capture_output=True, text=True, check=False).stdout.split()]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    if victim == "home":
        field.await_home("b")
    last()
    for pid in pids:
        try:
            os.kill(pid, signal.SIGCONT)
        except ProcessLookupError:
            pass


def files_written(process):
    """The regular files that a process and its children hold open for writing."""
    found = set()
    for pid in [process.pid, *map(int, subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=False).stdout.split())]:
        for link in pathlib.Path(f"/proc/{pid}/fd").iterdir():
            flags = int(next(line for line in pathlib.Path(f"/proc/{pid}/fdinfo/{link.name}").read_text().splitlines() if line.startswith("flags")).split()[1], 8)
            if flags & os.O_ACCMODE != os.O_RDONLY and link.is_file():
                found.add(str(link.resolve()))
    return found


def fill_disk(field, victim, dice):
    del dice
    if victim == "sensor":
        return  # it was, from the first batch on
    disk = field.disk if victim == "aggregator" else field.postgres.disk
    disk.fill()
    if victim != "aggregator":
        field.postgres.use_up()
    if victim == "home":
        field.processes["a"].kill()
    last()
    if victim == "aggregator":
        assert files_written(field.processes["a"]) == {str(field.log_path("a"))}, "an aggregator writes no file but its log"
    disk.free()
    if victim != "aggregator":
        field.postgres.await_up()
    if victim == "home":
        field.await_home("b")


def on_links(break_one, field, victim, dice, at_least_s=0):
    """Whatever is done to links: those of some sensors, of the home, of the database; at a take-over the home's and the database's."""
    ports = {"sensor": lambda: some(field, dice), "aggregator": lambda: "a", "postgres": lambda: ["db"], "home": lambda: ["db"]}[victim]()
    for port in ports:
        break_one(port)
    if victim == "home":
        take_over(field)
    last(at_least_s)
    field.switch.heal()


def cut_links(field, victim, dice):
    if victim != "home":
        on_links(field.switch.cut, field, victim, dice)
    else:  # it lives, and neither it nor the database hears of the other
        field.switch.cut("a")
        field.await_home("b")
        last()
        field.switch.heal()


def step_clocks(field, victim, dice):
    """An hour ahead, and later an hour behind the true time. A take-over meets the step back, when leases last an hour longer by the clock of the database."""
    clocks = {"sensor": [field.clocks[site] for site in field.sites if site in field.clocks], "aggregator": [field.clocks.get("a")]}.get(victim, [field.postgres.clock])
    if victim == "home":
        field.postgres.clock.set_off(-HOUR_S)
        take_over(field)
        field.await_share(dice.uniform(0.6, 0.9))
        field.postgres.clock.set_off(HOUR_S)
        return
    for share, seconds in ((0, HOUR_S), (dice.uniform(0.6, 0.9), -HOUR_S)):
        field.await_share(share)
        for clock in clocks:
            clock.set_off(seconds)
        for site in set(field.clocks) & set(field.sites):
            field.restart_sensor(site)  # what it numbers now, it numbers by that clock


STRIKES = {"kill": kill, "stop": stop, "disk full": fill_disk, "link cut": cut_links, "clock step": step_clocks,
           "20 % loss": lambda field, *rest: on_links(lambda port: field.switch.lose(port, 20), field, *rest),
           "300 ms delay": lambda field, *rest: on_links(lambda port: field.switch.delay(port, 300), field, *rest, at_least_s=12)}  # two leases and more: a home might change


# --- the test ---


@pytest.fixture(scope="module")
def captures(tmp_path_factory):
    kept = os.environ.get("PICKET_FAULTS_CAPTURES")
    return support.captures(pathlib.Path(kept) if kept else tmp_path_factory.mktemp("captures"), N_SENSORS, N_TRANSACTIONS)


@pytest.fixture(scope="module")
def switch():
    made = support.Switch(["db", "a", "b", *(f"s{i}" for i in range(N_SENSORS))])
    yield made
    made.close()


@pytest.fixture(scope="module")
def wired(switch):
    folder = tempfile.mkdtemp(prefix="picket-pg-", dir="/tmp")  # a socket's path must be short
    os.chmod(folder, 0o755)
    cluster = support.WiredPostgres(folder, switch, "3g" if RESULTS else "512m")
    yield cluster
    cluster.stop()
    shutil.rmtree(folder, ignore_errors=True)


def prepare(field, fault, victim, dice, paths):
    """What must be so from the start of the processes on. Returns a disk to give back."""
    disk, spool = None, {}
    if (fault, victim) == ("disk full", "sensor"):
        disk = support.SmallDisk(field.folder / f"spool-{field.sites[0]}-1", f"{max(16, N_TRANSACTIONS // 1000)}k")
        spool = {"memory_mb": 1}  # 14 bytes a transaction are needed: a hundred thousand are more than disk and memory hold
    elif (fault, victim) == ("disk full", "aggregator"):
        disk = field.disk = support.SmallDisk(field.folder / "a", "1m")
    elif (fault, victim) == ("clock step", "aggregator"):
        field.give_clock("a")
    elif (fault, victim) == ("clock step", "sensor"):
        paths = list(paths)
        for site in some(field, dice):
            field.give_clock(site)
            i = field.sites.index(site)
            support.stepped(paths[i], field.folder / f"{site}.pcap")
            paths[i] = field.folder / f"{site}.pcap"
    field.start_aggregators()
    field.read_captures(paths, **spool)
    field.settle_home()
    return disk


def check(sums, expected, fault, victim):
    assert sums["messages"] == expected["messages"]
    assert sums["activity"] + sums["negative"] == sums["told"] - sums["lost"]
    assert sums["rrset"] == sums["told_rrset"] - sums["lost_rrset"]
    assert sums["marks"] == sums["sequences"] == sums["ledger"]
    if (fault, victim) != ("clock step", "sensor"):  # there the capture's own clock parts questions from their answers
        assert sums["activity"] + sums["negative"] + sums["lost"] == expected["activity"] + expected["negative"]
        assert sums["rrset"] + sums["lost_rrset"] == expected["rrset"]
    assert sums["moves"] == 0 or (fault, victim) != ("300 ms delay", "postgres"), "a slow link to the database must not make the home change"
    assert sums["moves"] == 0 or victim != "sensor", "nothing that happens to a sensor is the home's business"
    assert sums["lost"] == 0 or (fault, victim) == ("disk full", "sensor")
    assert sums["lost"] > 0 or (fault, victim) != ("disk full", "sensor") or N_TRANSACTIONS < 100_000, "it should have been too much"


def keep(row):
    path = pathlib.Path(RESULTS)
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    rows = [other for other in rows if (other["fault"], other["victim"]) != (row["fault"], row["victim"])] + [row]
    rows.sort(key=lambda r: CELLS.index((r["fault"], r["victim"])))
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))


@pytest.mark.parametrize("fault, victim", chosen())
def test_every_message_is_stored_or_told_lost_and_none_twice(fault, victim, captures, switch, wired, tmp_path, sensor, aggregator, api, ctl):
    print(f"PICKET_SEED = {SEED}: {fault} of {victim}")
    dice = random.Random(f"{SEED} {fault} {victim}")
    paths, expected = captures
    programs = {"picket-sensor": sensor, "picket-aggregator": aggregator, "picket-api": api, "picketctl": ctl}
    field = disk = None
    start = time.monotonic()
    try:
        field = Field(tmp_path, wired, programs, switch, paths, expected)
        disk = prepare(field, fault, victim, dice, paths)
        run_start, share = time.monotonic(), dice.uniform(0.05, 0.5)
        field.await_share(share)
        STRIKES[fault](field, victim, dice)
        sums = field.finish()
        print(f"struck at {share:.0%}", sums, "by the model:", expected)
        check(sums, expected, fault, victim)
        if victim == "home":
            field.await_home("b")
        if RESULTS:
            keep({"fault": fault, "victim": victim, "seed": SEED, "struck": round(share, 2), "seconds": round(time.monotonic() - run_start), "cell_seconds": round(time.monotonic() - start),
                  "captured": expected["messages"], "sensors": N_SENSORS, "transactions": N_TRANSACTIONS, "stop_s": STOP_S, "commit": os.environ.get("PICKET_FAULTS_COMMIT", "?"), **sums})
    finally:
        if field:
            for process in field.processes.values():
                if process.poll() is None:
                    process.send_signal(signal.SIGCONT)
            field.close()
            wired.drop(field.database)
        switch.heal()
        wired.clock.set_off(0)
        if disk:
            disk.close()
