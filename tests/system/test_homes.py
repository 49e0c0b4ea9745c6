"""Two aggregators on one database: one home a tenant at any time, whoever is stopped, killed, drained or moved; nothing lost, nothing twice."""
import json
import os
import signal
import urllib.request

import pytest
import zmq
from peer_support import CONFIG_ACK, ERROR, WELCOME, Peer, read_key
from pg_support import CAPTURES, free_port, wait_until
from test_delivery import contents, finish

SITES = ("hq", "branch", "cloud")
LEASE_S = 5


class Pair:
    """A mesh whose aggregator "a" is tenant acme's home, and "b" beside it."""

    def __init__(self, mesh):
        self.mesh = mesh()
        self.ports = {"a": self.mesh.port, "b": free_port()}
        self.metrics_ports = {"a": self.mesh.metrics_port, "b": free_port()}
        self.stop("aggregator")
        for name in "ab":
            self.mesh.write(f"{name}.yaml", {**json.loads(self.mesh.config.read_text()), "name": name, "listen": self.endpoint(name), "advertise": self.endpoint(name),
                                             "metrics": {"port": self.metrics_ports[name]}})
        self.start("a")
        self.await_home("a")
        self.start("b")

    def endpoint(self, name):
        return f"tcp://127.0.0.1:{self.ports[name]}"

    def start(self, name):
        before = self.mesh.log(name).count("listening")
        self.mesh.start(name, "picket-aggregator", "--config", self.mesh.folder / f"{name}.yaml")
        wait_until(lambda: self.mesh.log(name).count("listening") > before, 60, f"aggregator {name}")

    def stop(self, name, how=signal.SIGTERM):
        process = self.mesh.processes[name]
        process.send_signal(how)
        process.wait(60)

    def home(self):
        answer = json.loads(self.mesh.ctl("homes", "--json"))
        return next(h["home"] for h in answer["homes"] if h["tenant"] == "acme")

    def await_home(self, name, seconds=10 * LEASE_S):
        wait_until(lambda: self.home() == name, seconds, f"home {name}")

    def metric(self, name, what):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_ports[name]}/metrics", timeout=30) as answer:
            lines = answer.read().decode().splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith(what + " ")))

    def ship(self, order="ab"):
        """All sensors at once, each with the aggregators' endpoints in this order."""
        sensors = []
        for site in SITES:
            self.mesh.add_sensor(site)
        n_sensors = len(self.mesh.table("select 1 from sensor"))
        for name in "ab":
            wait_until(lambda name=name: f"sensors={n_sensors}" in self.mesh.log(name) or self.mesh.processes[name].poll() is not None, 30, "the keys")
        for site in SITES:
            path = self.mesh.sensor_config(f"{site}-1", site, [CAPTURES / f"{site}.pcap"])
            config = json.loads(path.read_text())
            config["aggregator"]["endpoints"] = [self.endpoint(name) for name in order]
            path.write_text(json.dumps(config))
            sensors.append(self.mesh.start(f"{site}-1", "picket-sensor", "--config", path))
        return sensors


@pytest.fixture
def pair(mesh):
    return Pair(mesh)


_calm = {}


@pytest.fixture
def wanted(mesh):
    """What one undisturbed aggregator leaves."""
    if not _calm:
        from test_delivery import ship
        one = mesh()
        finish(one, ship(one))
        _calm.update(contents(one))
        one.close()
    return _calm


def check(pair, wanted):
    have = contents(pair.mesh)
    for name, rows in wanted.items():
        assert have[name] == rows, f"table {name} differs"


def block_commits(pair):
    """A transaction of the test's own that no commit of a batch gets past: what is sent waits in the home, in the midst of its transaction."""
    connection = pair.mesh.postgres.connect(pair.mesh.database)
    connection.execute("begin")
    connection.execute("lock table ingest_mark in exclusive mode")

    def is_waited_for():
        with pair.mesh.postgres.connect(pair.mesh.database) as other:
            return other.execute("select count(*) from pg_locks where not granted and relation = 'ingest_mark'::regclass").fetchone()[0] > 0
    return connection, is_waited_for


def test_sensors_of_the_other_are_sent_home(pair, wanted):
    sensors = pair.ship("ba")
    finish(pair.mesh, sensors)
    check(pair, wanted)
    assert pair.home() == "a" and pair.metric("b", "picket_homes") == 0
    assert pair.metric("b", "picket_turned_away_total") >= len(SITES) and pair.metric("b", "picket_batches_committed_total") == 0
    assert all("sent on" in pair.mesh.log(f"{site}-1") for site in SITES)


NOTED = "select 'config', sensor_id, n::text from (select sensor_id, serial as n from sensor_config) c union all select 'offence', sensor_id, n::text from sensor_offence"
CONFIG, SCOPE = 8, 16  # of HELLO


def misbehave(peer):
    """Says that it has the scope, which WELCOME named, and what is no frame."""
    peer.send(peer.header(CONFIG_ACK, peer.welcome[9], 0))
    peer.send(b"\xc1")
    assert peer.await_type(ERROR)


def a_peer(pair):
    pair.mesh.add_sensor("hq", "peer")

    def let_in():
        peer = Peer(pair.mesh, read_key(pair.mesh.folder / "peer.key"), port=pair.ports["a"])
        try:
            if peer.hello(timeout=2, capabilities=1 | CONFIG | SCOPE)[0] == WELCOME and peer.welcome[9]:
                return peer
        except zmq.Again:  # its key is not known yet, and libzmq does not try again
            pass
        peer.close()
        return None
    return wait_until(let_in, 30, "a session")


def test_a_paused_home_that_wakes_writes_nothing(pair, wanted):
    peer = a_peer(pair)
    connection, is_waited_for = block_commits(pair)
    sensors = pair.ship()
    wait_until(is_waited_for, 60, "a commit under way")
    misbehave(peer)  # it is in the queue behind the commit
    peer.close()
    a = pair.mesh.processes["a"]
    os.kill(a.pid, signal.SIGSTOP)
    pair.await_home("b")
    connection.execute("rollback")
    connection.close()
    before = pair.mesh.table("select * from ingest_mark")
    os.kill(a.pid, signal.SIGCONT)
    wait_until(lambda: pair.metric("a", "picket_homes") == 0, 60, "the former home to notice")
    assert before == [], "what the paused home had under way must not have been committed"
    wait_until(lambda: "offence sensor=peer" in pair.mesh.log("a"), 30, "what waited behind the commit")
    finish(pair.mesh, sensors)
    check(pair, wanted)
    assert pair.metric("a", "picket_batches_committed_total") == 0 and pair.metric("a", "picket_homes_lost_total") == 1
    assert pair.metric("b", "picket_batches_committed_total") == len(pair.mesh.table("select * from ingest_mark"))
    assert [row for row in pair.mesh.table(NOTED) if row[0] == "offence"] == [], "nor what a sensor did meanwhile"


def test_what_a_former_home_hears_of_sensors_is_not_written(pair):
    """The fence alone, as below, for what is no batch: acknowledged scopes and offences."""
    with a_peer(pair) as peer:
        misbehave(peer)
        wait_until(lambda: {row[0] for row in pair.mesh.table(NOTED)} == {"config", "offence"}, 30, "both, as long as it is the home")
        before = pair.mesh.table(NOTED)
        blocker = pair.mesh.postgres.connect(pair.mesh.database)
        blocker.execute("begin")
        blocker.execute("lock table aggregator_node in exclusive mode")
        with pair.mesh.postgres.connect(pair.mesh.database) as other:
            other.execute("update home set generation = generation + 1, holder = 'c', instance = 'c', expires_us = 9000000000000000000")
    with Peer(pair.mesh, read_key(pair.mesh.folder / "peer.key"), port=pair.ports["a"]) as peer:
        peer.send(b"\xc1")
        assert peer.await_type(ERROR)
        wait_until(lambda: pair.metric("a", "picket_homes_lost_total") == 1 or pair.mesh.table(NOTED) != before, 60, "a refused commit")
        assert pair.mesh.table(NOTED) == before
    blocker.execute("rollback")
    blocker.close()


def test_a_commit_of_an_older_generation_fails_whole(pair, wanted):
    """The fence alone: the home does not know yet that it is none, because nobody can renew or look."""
    blocker = pair.mesh.postgres.connect(pair.mesh.database)
    blocker.execute("begin")
    blocker.execute("lock table aggregator_node in exclusive mode")
    with pair.mesh.postgres.connect(pair.mesh.database) as other:
        other.execute("update home set generation = generation + 1, holder = 'c', instance = 'c', expires_us = 9000000000000000000")
    sensors = pair.ship()
    wait_until(lambda: pair.metric("a", "picket_homes_lost_total") == 1 or pair.mesh.table("select * from ingest_mark"), 60, "a refused commit")
    assert pair.mesh.table("select * from ingest_mark") == [] and pair.metric("a", "picket_batches_committed_total") == 0
    with pair.mesh.postgres.connect(pair.mesh.database) as other:
        other.execute("update home set holder = '', instance = '', expires_us = 0")
    blocker.execute("rollback")
    blocker.close()
    finish(pair.mesh, sensors)
    check(pair, wanted)


def test_a_killed_home_is_taken_over_with_its_state(pair, wanted):
    sensors = pair.ship("ba")
    wait_until(lambda: len(pair.mesh.table("select * from ingest_mark")) > 2, 60, "some batches")
    pair.stop("a", signal.SIGKILL)
    pair.await_home("b")
    finish(pair.mesh, sensors)
    check(pair, wanted)
    assert "tenant=acme open" in pair.mesh.log("b")
    # Whoever was still at the dead home was told by its socket, and did not wait for a deadline.
    assert any(f"endpoint={pair.endpoint('a')} cannot be reached" in pair.mesh.log(f"{site}-1") for site in SITES)


def test_a_dead_home_is_taken_over_though_the_databases_clock_went_back(pair):
    pair.stop("a", signal.SIGKILL)
    with pair.mesh.postgres.connect(pair.mesh.database) as connection:  # as if it had been written an hour later than it is now
        for table, column in (("home", "holder"), ("aggregator_node", "name")):
            connection.execute(f"update {table} set expires_us = expires_us + 3600000000 where {column} = 'a'")
    pair.await_home("b")


def test_a_drained_home_is_taken_over_at_once(pair, wanted):
    connection, is_waited_for = block_commits(pair)
    sensors = pair.ship()
    wait_until(is_waited_for, 60, "a commit under way")
    pair.mesh.processes["a"].send_signal(signal.SIGTERM)
    connection.execute("rollback")
    connection.close()
    assert pair.mesh.processes["a"].wait(60) == 0
    # Released, not run out: nobody holds it, or the other does already.
    assert pair.mesh.table("select holder from home where expires_us > 0 and holder = 'a'") == []
    pair.await_home("b")
    finish(pair.mesh, sensors)
    check(pair, wanted)


def test_an_operator_moves_a_home_under_traffic(pair, wanted):
    sensors = pair.ship()
    wait_until(lambda: len(pair.mesh.table("select * from ingest_mark")) > 0, 60, "a batch")
    pair.mesh.ctl("home", "move", "acme", "b")
    pair.await_home("b")
    finish(pair.mesh, sensors)
    check(pair, wanted)
    assert pair.mesh.try_ctl("home", "move", "acme", "nobody-by-this-name") is None
    pair.mesh.ctl("home", "move", "acme", "auto")
    pair.mesh.ctl("home", "move", "acme", "a")
    pair.await_home("a")


def test_a_restart_under_the_same_name_waits_for_no_lease(pair):
    generation = pair.mesh.table("select generation from home")[0][0]
    pair.stop("b")
    pair.stop("a", signal.SIGKILL)
    pair.start("a")  # returns when it listens: by then its homes are open
    assert pair.mesh.table("select holder, generation from home") == [("a", generation + 1)]
    assert pair.metric("a", "picket_homes") == 1
