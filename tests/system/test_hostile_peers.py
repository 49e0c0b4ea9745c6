"""Enrolled but hostile: peers that hold a key and break every rule. They are answered, struck and cut; everybody else's rows arrive."""
import json
import os
import pathlib
import signal
import socket
import subprocess
import threading
import time
import urllib.request

import msgpack
import pytest
import zmq

from conftest import ROOT
from gate_support import RESULTS, keep, size
from peer_support import ACK, BYE, CREDIT, ERROR, HEARTBEAT, WELCOME, Peer, read_key, records
from pg_support import CAPTURES, wait_until

FRAMING, VERSION, UNSUPPORTED, NO_SESSION, TOO_LARGE, CREDIT_SPENT, CORRUPT, MALFORMED, CONFLICT, CLONE = range(1, 11)


def metrics(mesh):
    text = urllib.request.urlopen(f"http://127.0.0.1:{mesh.metrics_port}/metrics", timeout=20).read().decode()
    return {line.split()[0]: float(line.split()[1]) for line in text.splitlines() if not line.startswith("#")}


def children(pid):
    return [int(p) for p in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_dead(pid):
    """Also when nobody has looked after it yet."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


def writable_bytes(pid):
    return int(next(line.split()[1] for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmData"))) * 1024


def resident_mib(pid):
    return int(next(line.split()[1] for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))) / 1024


def peak_mib(pid):
    return int(next(line.split()[1] for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM"))) / 1024


def keys_of(mesh, *names, site="hq"):
    for name in names:
        mesh.add_sensor(site, name)
    return [read_key(mesh.folder / f"{name}.key") for name in names]


@pytest.fixture(scope="module")
def batches(sensor, tmp_path_factory):
    return records(sensor, tmp_path_factory.mktemp("psp"))


def test_every_breach_gets_its_answer(mesh, batches):
    one = mesh()
    keys = keys_of(one, "a", "b", "c")
    one.wait_for_keys(3)
    record = batches[0]

    def ask(key, act):
        with Peer(one, key) as peer:
            assert peer.hello()[0] == WELCOME
            assert peer.credit == 1, "slow start"
            act(peer)
            got = peer.await_type(ERROR)
            assert got, "no answer"
            return got[1][0]

    too_many = b"\0" * 300
    bomb = subprocess.run(["zstd", "-19", "-c", "--content-size", "--stream-size=1048576"], input=bytes(1 << 20), capture_output=True, check=True).stdout
    assert ask(keys[0], lambda p: p.send(p.header(HEARTBEAT, 0, 0, 0, 0), b"x", b"y")) == FRAMING
    assert ask(keys[0], lambda p: p.send(too_many)) == FRAMING
    assert ask(keys[0], lambda p: p.send(b"\xc1\xff")) == FRAMING
    assert ask(keys[0], lambda p: p.send(b"")) == FRAMING
    assert ask(keys[0], lambda p: p.send(msgpack.packb([0x5002, 6, p.session, 0, 0, 0, 0]))) == VERSION
    assert ask(keys[0], lambda p: p.send(p.header(99, 1))) == UNSUPPORTED
    assert ask(keys[0], lambda p: p.batch(record, 1, session=12345)) == NO_SESSION
    # No body the limits allow: nobody keeps it, the sensor counts the loss.
    assert ask(keys[1], lambda p: p.batch(record, 1, raw_len=(1 << 20) + 1)) == TOO_LARGE
    assert ask(keys[1], lambda p: p.batch(record, 1, raw_len=0)) == TOO_LARGE
    # A body that is not what its header says: kept in quarantine.
    lies = ({"body_len": 17}, {"digest": bytes(16)}, {"codec": 1, "body": bomb, "raw_len": 1 << 20}, {"rows": record[2] + 1}, {"codec": 7}, {"kind": 5})
    for number, lie in enumerate(lies):
        assert ask(keys[1], lambda p: p.batch(record, 2 + number, **lie)) == MALFORMED, lie
    assert one.table("select count(*) from quarantine") == [(len(lies),)]

    def ignore_credit(peer):
        for seq in range(10, 13):
            peer.batch(record, seq)
    assert ask(keys[2], ignore_credit) == CREDIT_SPENT
    assert one.table("select count(*) from ingest_mark where ingest_seq > 0 and seq <> 10") == [(0,)], "nothing of it is among the rows"
    assert "offence" in one.log("aggregator")


def varint(v):
    out = b""
    while v > 127:
        out, v = out + bytes([v & 127 | 128]), v >> 7
    return out + bytes([v])


def of_many_days(record, n_days, ago=3):
    """The same rows of activity, dealt out to so many days, whose last is so many before theirs."""
    kind, codec, rows, first, last, body, _raw = record
    assert kind == 2 and rows >= n_days
    raw = body if codec == 0 else subprocess.run(["zstd", "-dc"], input=body, capture_output=True, check=True).stdout
    body, column, before = msgpack.unpackb(raw, strict_map_key=False), b"\x01", 0
    for row in range(rows):
        offset = -(ago + row % n_days) * 86_400_000_000
        delta, before = offset - before, offset
        column += varint((delta << 1 ^ delta >> 63) & (1 << 64) - 1)
    body[36] = column  # the rows' first times, as differences in zigzag
    packed = msgpack.packb(dict(sorted(body.items())), use_bin_type=True)
    return kind, 0, rows, first - (ago + n_days) * 86_400_000_000, last, packed, len(packed)


def test_a_batch_of_more_days_than_a_window_has_is_refused(mesh, batches):
    one = mesh()
    keys = keys_of(one, "bad", "good")
    one.wait_for_keys(2)
    activity = next(b for b in batches if b[0] == 2)
    with Peer(one, keys[0]) as bad, Peer(one, keys[1]) as good:
        assert bad.hello()[0] == WELCOME and good.hello()[0] == WELCOME
        good.batch(of_many_days(activity, 8), 1)
        assert good.await_type(ACK, ERROR)[0] == ACK, "as many as a batch may have"
        bad.batch(of_many_days(activity, 9), 1)
        got = bad.await_type(ACK, ERROR)
        assert got[0] == ERROR and got[1][0] == MALFORMED
    assert "more days" in one.table("select reason from quarantine")[0][0]
    assert one.table("select count(distinct day) from activity") == [(8,)]
    assert "offence" in one.log("aggregator")


def test_a_batch_that_alone_is_too_much_for_the_database_is_put_aside(mesh, batches):
    """It is found among those it was to be committed with, and tried again a few times, since others may have taken the room; not for ever."""
    one = mesh()
    keys = keys_of(one, "bad", "good", "other")
    one.wait_for_keys(3)
    with one.postgres.connect(one.database) as connection:
        number = connection.execute("select sensor_id from sensor where name = 'bad'").fetchone()[0]
        connection.execute("create function no_room() returns trigger language plpgsql as $$ begin raise exception 'out of shared memory' using errcode = '53200'; end $$")
        connection.execute(f"create trigger no_room after insert on activity for each row when (new.sensor_id = {number}) execute function no_room()")
    activity = next(b for b in batches if b[0] == 2)
    with Peer(one, keys[0]) as bad, Peer(one, keys[1]) as good, Peer(one, keys[2]) as other:
        for peer in (bad, good, other):
            assert peer.hello()[0] == WELCOME
        for peer in (bad, good, other):
            peer.batch(activity, 1)
        for peer in (good, other):
            got = peer.await_type(ACK, ERROR, timeout=30)
            assert got and got[0] == ACK
        got = bad.await_type(ACK, ERROR, timeout=30)
        assert got and got[0] == ERROR and got[1][0] == MALFORMED
    assert one.table("select sensor_id, reason like '%53200%' from quarantine") == [(number, True)]
    assert one.table("select count(distinct sensor_id) from activity") == [(2,)]
    assert metrics(one)["picket_store_failures_total"] == 2, "the pauses between three tries"


def test_a_sequence_with_other_content_is_refused_and_changes_nothing(mesh, batches):
    one = mesh()
    (key,) = keys_of(one, "a")
    one.wait_for_keys(1)
    with Peer(one, key) as peer:
        assert peer.hello()[0] == WELCOME
        peer.batch(batches[0], 1)
        assert peer.await_type(ACK)[1][:2] == [1, 1]
        before = one.table("select epoch, seq, digest from ingest_mark")
        peer.batch(batches[1], 1)
        assert peer.await_type(ERROR)[1][:3] == [CONFLICT, 1, 1]
        peer.batch(batches[0], 1)  # the same again is a duplicate
        assert peer.await_type(ACK)[1][:2] == [1, 1]
        assert one.table("select epoch, seq, digest from ingest_mark") == before


def test_a_stolen_routing_id_and_anothers_session_get_nothing(mesh, batches):
    """Whoever has a key of his own and names himself as another, to libzmq or in a header: the other is served, and he is not."""
    one = mesh()
    victim, thief = keys_of(one, "victim", "thief")
    one.wait_for_keys(2)

    def hears_nothing(routing):
        with Peer(one, thief, routing=routing) as peer:
            try:
                heard = peer.hello(timeout=2)
            except zmq.Again:
                heard = None
            robbed.batch(batches[seq - 1], seq)
            assert robbed.await_type(ACK)[1][:2] == [1, seq], "the answer is his whose it is"
            return heard is None and peer.receive(0.5) is None
    name = b"\0hq-1"  # as a ROUTER names those who do not name themselves: five bytes, the first of them zero
    with Peer(one, victim, routing=name) as robbed:
        assert robbed.hello()[0] == WELCOME
        for seq, routing in enumerate((name, b"victim", b"\0", bytes(255)), 1):
            assert hears_nothing(routing), routing
        with Peer(one, thief) as peer:
            assert peer.hello()[0] == WELCOME
            peer.batch(batches[1], 100, session=robbed.session)
            assert peer.await_type(ERROR)[1][0] == NO_SESSION
    assert one.table("select s.name, count(*), max(m.seq) from ingest_mark m join sensor s using (tenant_id, sensor_id) group by 1") == [("victim", 4, 4)]


def test_ten_strikes_shut_the_door_on_one_key_only(mesh, batches):
    one = mesh()
    bad, good = keys_of(one, "bad", "good")
    one.wait_for_keys(2)
    with Peer(one, good) as neighbour:
        assert neighbour.hello()[0] == WELCOME
        for _ in range(10):
            with Peer(one, bad) as peer:
                peer.send(b"\xc1")
                assert peer.await_type(ERROR)[1][0] == FRAMING
        wait_until(lambda: metrics(one)["picket_struck_total"] == 1, 20, "the strike")
        assert 'refused_for="10 minutes"' in one.log("aggregator")
        with Peer(one, bad) as peer:
            with pytest.raises(Exception):  # refused at the handshake: nothing can be sent
                peer.hello(timeout=2)
        neighbour.batch(batches[0], 1)
        assert neighbour.await_type(ACK)


def test_two_machines_with_one_key_are_an_alarm(mesh):
    one = mesh()
    (key,) = keys_of(one, "cloned")
    one.wait_for_keys(1)
    boots, answers = (os.urandom(16), os.urandom(16)), []
    for n in range(12):
        peer = Peer(one, key, boot=boots[n % 2])
        got = peer.hello()
        answers.append((got[0], got[1][0]) if got[0] == ERROR else got[0])
        if n:
            previous.close()
        previous = peer
        if answers[-1] == (ERROR, CLONE):
            break
    previous.close()
    assert answers[-1] == (ERROR, CLONE), answers
    assert answers[:-1] == [WELCOME] * (len(answers) - 1)
    wait_until(lambda: "in use on two machines" in one.log("aggregator"), 20, "the alarm")


def test_a_message_without_an_end_is_cut_and_the_others_go_on(mesh, batches):
    """So many frames in one message that libzmq, which collects them unseen, would take 400 MiB: the connection is shut down long before."""
    one = mesh()
    bad, good = keys_of(one, "bad", "good")
    one.wait_for_keys(2)
    aggregator = one.processes["aggregator"].pid
    (child,) = children(aggregator)
    with Peer(one, good) as neighbour, Peer(one, bad) as peer:
        assert neighbour.hello()[0] == WELCOME
        assert peer.hello()[0] == WELCOME
        before = peak_mib(child)
        frame, n = b"x" * 1000, size(250_000, 600_000)
        for _ in range(n):
            peer.socket.send(frame, flags=2)  # SNDMORE
        peer.socket.send(frame)  # only now does it leave
        wait_until(lambda: metrics(one)["picket_overgrown_total"] >= 1, 20, "the cut")
        assert children(aggregator) == [child], "the child lived"
        assert peak_mib(child) - before < 150
        started = time.monotonic()
        neighbour.batch(batches[0], 1)
        assert neighbour.await_type(ACK)
        keep(6, test="frames", frames=n, frame_bytes=len(frame), sender_peak_mib=round(peak_mib(os.getpid())), child_grew_mib=round(peak_mib(child) - before),
             neighbours_ack_s=round(time.monotonic() - started, 3))
    assert "a message that does not end" in one.log("aggregator")


def test_a_frame_above_the_limit_ends_its_connection_and_no_other(mesh, batches):
    """libzmq cuts whoever sends one; the frame is gone, and the sender may come again."""
    one = mesh()
    bad, good = keys_of(one, "bad", "good")
    one.wait_for_keys(2)
    (child,) = children(one.processes["aggregator"].pid)
    with Peer(one, good) as neighbour, Peer(one, bad) as peer:
        assert neighbour.hello()[0] == WELCOME and peer.hello()[0] == WELCOME
        peer.batch(batches[0], 1)
        assert peer.await_type(ACK)
        monitor = peer.socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        peer.batch(batches[0], 2, body=bytes((1 << 20) + 4096), raw_len=1 << 20)
        assert monitor.poll(20000), "cut"
        peer.socket.disable_monitor()
        neighbour.batch(batches[0], 1)
        assert neighbour.await_type(ACK)
        assert peer.hello()[0] == WELCOME
        peer.batch(batches[1], 2)
        assert peer.await_type(ACK)[1][:2] == [1, 2]
    assert children(one.processes["aggregator"].pid) == [child] and one.table("select count(*) from ingest_mark") == [(3,)]


RESUME_S = 5  # the promise


@pytest.mark.parametrize("how", ["kill", "limit"])
def test_the_others_resume_after_the_child_is_dead(mesh, batches, how):
    """At worst a peer takes the ingest child down: killed at once, or by a message that grows past its memory. A real sensor that was at work then goes on."""
    one = mesh()
    one.add_sensor("hq", "bad")
    one.add_sensor("hq", "good")
    one.wait_for_keys(2)
    aggregator = one.processes["aggregator"].pid
    (child,) = children(aggregator)
    config = one.sensor_config("good", "hq", [CAPTURES / "hq.pcap"])
    with Peer(one, read_key(one.folder / "bad.key")) as peer:
        assert peer.hello()[0] == WELCOME
        # No batch of the sensor is committed before the child is dead: it is at work all the time.
        blocker = one.postgres.connect(one.database)
        blocker.execute("begin")
        blocker.execute("lock table ingest_mark in exclusive mode")
        process = one.start("good", "picket-sensor", "--config", config)
        wait_until(lambda: one.table("select 1 from pg_locks where not granted and relation = 'ingest_mark'::regclass"), 30, "a commit under way")
        if how == "limit":
            subprocess.run(["prlimit", f"--data={writable_bytes(child) + (8 << 20)}", "--pid", str(child)], check=True)  # below where a connection that is ahead is cut
            for _ in range(60000):
                peer.socket.send(b"x" * 1000, flags=2)  # SNDMORE
            peer.socket.send(b"x")
        else:
            os.kill(child, signal.SIGKILL)
        before = one.log("good").count(" connected endpoint")
        started = wait_until(lambda: time.monotonic() if is_dead(child) else None, 30, "its death")
    blocker.execute("rollback")
    blocker.close()
    wait_until(lambda: one.log("good").count(" connected endpoint") > before, 10 * RESUME_S, "the sensor again")
    resumed = time.monotonic() - started
    assert process.wait(10 * RESUME_S) == 0
    print(f"{how}: connected again {resumed:.2f} s after the child's death, all of it stored after {time.monotonic() - started:.2f} s")
    wait_until(lambda: metrics(one)["picket_ingest_restarts_total"] == 1, 20, "the count")
    assert one.table("select count(*) from ingest_mark") == one.table("select count(distinct (sensor_id, epoch, seq)) from ingest_mark") != [(0,)]


class Flood(threading.Thread):
    """Connects again and again and says nothing: as many connections as the other end takes, and a new one for each that it ends."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.port, self.n_begun, self.is_over = port, 0, threading.Event()
        self.start()

    def run(self):
        idle = []
        while not self.is_over.is_set():
            s = socket.socket()
            s.setblocking(False)
            s.connect_ex(("127.0.0.1", self.port))
            idle.append(s)
            self.n_begun += 1
            if len(idle) >= 400:
                idle.pop(0).close()
                self.is_over.wait(0.002)  # five hundred a second
        for s in idle:
            s.close()

    def end(self):
        self.is_over.set()
        self.join()


def cpu_s(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_handshake_flood_at_a_low_descriptor_limit(mesh, batches):
    """Without an end, while it is looked at: connections that say nothing take all descriptors. Who is in stays in and is served, and who is not comes in when it is over."""
    one = mesh()
    (key,) = keys_of(one, "good")
    late = read_key(one.folder / "good.key")
    one.wait_for_keys(1)
    (child,) = children(one.processes["aggregator"].pid)
    subprocess.run(["prlimit", "--nofile=64:64", "--pid", str(child)], check=True)
    with Peer(one, key) as peer:
        assert peer.hello()[0] == WELCOME
        before, spent, started = peak_mib(child), cpu_s(child), time.monotonic()
        flood = Flood(one.port)
        slowest, seq = 0, 0
        try:
            wait_until(lambda: len(os.listdir(f"/proc/{child}/fd")) >= 63, 60, "the last descriptor")
            while time.monotonic() - started < size(3, 300) or seq < 20:
                seq, asked = seq + 1, time.monotonic()
                peer.batch(batches[0], seq)
                assert peer.await_type(ACK), "who is connected is not disturbed"
                slowest = max(slowest, time.monotonic() - asked)
        finally:
            flood.end()
        lasted, spent, grew = time.monotonic() - started, cpu_s(child) - spent, peak_mib(child) - before
        # A sanitizer keeps the latest 256 MiB of what was freed: there it says nothing of what is held.
        assert grew < 32 or "libasan" in pathlib.Path(f"/proc/{child}/maps").read_text()
    ended = time.monotonic()
    with Peer(one, late) as peer:
        assert peer.hello(timeout=30)[0] == WELCOME
    keep(6, test="flood", seconds=round(lasted), connections=flood.n_begun, descriptors=64, acks=seq, slowest_ack_s=round(slowest, 3), child_cpu_share=round(spent / lasted, 2),
         child_grew_mib=round(grew), back_in_s=round(time.monotonic() - ended, 1))
    assert children(one.processes["aggregator"].pid) == [child]


def backends_of(mesh, postgres):
    with postgres.connect() as connection:
        pids = [row[0] for row in connection.execute("select pid from pg_stat_activity where datname = %s and application_name like 'picket-aggregator%%'", (mesh.database,))]
    assert pids
    return pids


AWAY_S = size(0, 600)


@pytest.fixture(scope="module")
def large_batch(sensor, batches, tmp_path_factory):
    """At full size a quarter of a MiB: what is held at the same time is some part of the budget then."""
    if not RESULTS:
        return max(batches, key=lambda r: r[6])
    folder = tmp_path_factory.mktemp("large")
    subprocess.run(["/usr/bin/python3", ROOT / "tests/bench/make_capture.py", folder / "large.pcap", "30000"], check=True)
    (folder / "scope.yaml").write_text(json.dumps({"tenants": [{"name": "acme", "sites": ["hq"], "zones": ["com", "net", "org"]}]}))
    return max(records(sensor, folder, scope=folder / "scope.yaml", capture=folder / "large.pcap"), key=lambda r: r[6])


@pytest.mark.parametrize("how", ["stopped", "gone"])
def test_a_database_that_is_away_pauses_the_sensors_and_fills_no_memory(mesh, postgres, large_batch, how):
    """Peers send all their credit allows, for ever. The sum of what is held stays below the budget, a CREDIT of zero says why, and all goes on afterwards."""
    one = mesh()
    keys = keys_of(one, *[f"s{i}" for i in range(6)], "late")[:6]
    one.wait_for_keys(7)
    record = large_batch
    aggregator = one.processes["aggregator"].pid
    (child,) = children(aggregator)
    peers = [Peer(one, key) for key in keys]
    sent, acked, paused = [0] * 6, [0] * 6, [False] * 6

    def begin_anew(i):
        """As a sensor does when a home lost its lease meanwhile."""
        sent[i] = acked[i]
        wait_until(lambda: (peers[i].hello(timeout=5) or [None])[0] == WELCOME, 60, "a session")

    def turn(i):
        peer = peers[i]
        while (got := peer.receive(0)) is not None:
            if got[0] == ACK:
                acked[i] = got[1][1]
                peer.credit = got[1][3]
            elif got[0] == CREDIT:
                peer.credit = got[1][0]
                paused[i] = peer.credit == 0
                assert peer.credit or got[1][2] == 1, "the reason is the store"
            elif got[0] in (ERROR, BYE):
                begin_anew(i)
        while sent[i] - acked[i] < peer.credit:
            sent[i] += 1
            peer.batch(record, sent[i])

    def turns():
        for i in range(6):
            turn(i)
        time.sleep(0.01)
        return True

    def listen(again, ended, spoken):
        """Says that it is there, and sends nothing, as whoever has no credit."""
        for i, peer in enumerate(peers):
            if time.monotonic() - spoken[i] > 5:
                spoken[i] = time.monotonic()
                peer.send(peer.header(HEARTBEAT, time.monotonic_ns(), int(time.time() * 1e6), 0, 1))
            while (got := peer.receive(0.01)) is not None:
                assert got[0] != CREDIT or got[1][0] == 0, "nobody is told to go on while it is away"
                again[i] += got[0] == CREDIT
                acked[i] = got[1][1] if got[0] == ACK else acked[i]
                if got[0] in (ERROR, BYE):
                    ended.add(i)
        return True
    for peer in peers:
        assert peer.hello()[0] == WELCOME
    wait_until(lambda: turns() and min(acked) >= 5, 60, "five batches each")
    before = peak_mib(aggregator), peak_mib(child)
    backends = backends_of(one, postgres)
    if how == "stopped":
        for backend in backends:
            os.kill(backend, signal.SIGSTOP)
    else:
        postgres.kill()
    try:
        wait_until(lambda: turns() and all(paused), 60, "the pause")
        held = sum(sent) - sum(acked)
        assert held <= 6 * 8
        # A real sensor comes meanwhile, and keeps what it has.
        late = one.start("late", "picket-sensor", "--config", one.sensor_config("late", "hq", [CAPTURES / "hq.pcap"]))
        # Paused for longer than any of them would wait in silence: still there, and told again.
        again, ended, spoken = [0] * 6, set(), [time.monotonic()] * 6
        since = time.monotonic()
        wait_until(lambda: listen(again, ended, spoken) and (how == "gone" or all(again)) and time.monotonic() - since >= AWAY_S, AWAY_S + 60, "the end of the pause")
        grew = peak_mib(aggregator) - before[0], peak_mib(child) - before[1]
        away = time.monotonic() - since
        assert sum(grew) < 64
    finally:
        if how == "stopped":
            for backend in backends:
                os.kill(backend, signal.SIGCONT)
        else:
            postgres.restart_after_kill()
    back = time.monotonic()
    for i in range(6):
        paused[i] = False
        if i in ended:
            begin_anew(i)
    target = [s + 5 for s in sent]
    wait_until(lambda: turns() and all(a >= t for a, t in zip(acked, target)), 90, "the rest")
    drained = time.monotonic() - back
    for peer in peers:
        peer.close()
    assert late.wait(120) == 0, one.log("late")[-2000:]
    marks = one.table("select count(*), count(distinct (sensor_id, seq)) from ingest_mark where sensor_id <= 6")
    assert marks[0][0] == marks[0][1] >= sum(acked)
    # In order of age: each sensor's batches as it numbered them, its windows as they passed.
    for table, age in (("ingest_mark", "epoch, seq"), ("health", "window_start_us")):
        rows = one.table(f"select sensor_id, ingest_seq, {age} from {table} where ingest_seq > 0")
        assert len(rows) > 3 and [row[:1] + row[2:] for row in sorted(rows)] == sorted(row[:1] + row[2:] for row in rows), table
    keep(2, test=f"database {how}", away_s=round(away), batches_held=held, of_bytes=record[6], told_to_wait=min(again), core_grew_mib=round(grew[0]), child_grew_mib=round(grew[1]), core_peak_mib=round(before[0] + grew[0]),
         child_peak_mib=round(before[1] + grew[1]),
         sessions_ended=len(ended), going_on_s=round(drained, 1), batches=marks[0][0])
