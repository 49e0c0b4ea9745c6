"""Enrolled but hostile: peers that hold a key and break every rule. They are answered, struck and cut; everybody else's rows arrive."""
import json
import os
import pathlib
import signal
import socket
import subprocess
import time
import urllib.request

import msgpack
import pytest

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
        frame, n = b"x" * 1000, 250000
        for _ in range(n):
            peer.socket.send(frame, flags=2)  # SNDMORE
        peer.socket.send(frame)  # only now does it leave
        wait_until(lambda: metrics(one)["picket_overgrown_total"] >= 1, 20, "the cut")
        assert children(aggregator) == [child], "the child lived"
        assert peak_mib(child) - before < 150
        started = time.monotonic()
        neighbour.batch(batches[0], 1)
        assert neighbour.await_type(ACK)
        print(f"frames sent {n}, child grew by {peak_mib(child) - before:.0f} MiB, neighbour's ACK after {time.monotonic() - started:.3f} s")
    assert "a message that does not end" in one.log("aggregator")


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


def test_handshake_flood_at_a_low_descriptor_limit(mesh, batches):
    """Connections that say nothing take all descriptors: who is in stays in, and who is not comes in when they time out."""
    one = mesh()
    (key,) = keys_of(one, "good")
    late = read_key(one.folder / "good.key")
    one.wait_for_keys(1)
    (child,) = children(one.processes["aggregator"].pid)
    subprocess.run(["prlimit", "--nofile=64:64", "--pid", str(child)], check=True)
    with Peer(one, key) as peer:
        assert peer.hello()[0] == WELCOME
        idle = []
        for _ in range(200):
            s = socket.socket()
            s.setblocking(False)
            s.connect_ex(("127.0.0.1", one.port))
            idle.append(s)
        peer.batch(batches[0], 1)
        assert peer.await_type(ACK), "who is connected is not disturbed"
        for s in idle:
            s.close()
    with Peer(one, late) as peer:
        assert peer.hello(timeout=30)[0] == WELCOME
    assert children(one.processes["aggregator"].pid) == [child]


def backends_of(mesh, postgres):
    with postgres.connect() as connection:
        pids = [row[0] for row in connection.execute("select pid from pg_stat_activity where datname = %s and application_name like 'picket-aggregator%%'", (mesh.database,))]
    assert pids
    return pids


@pytest.mark.parametrize("how", ["stopped", "gone"])
def test_a_database_that_is_away_pauses_the_sensors_and_fills_no_memory(mesh, postgres, batches, how):
    """Peers send all their credit allows, for ever. The sum of what is held stays below the budget, a CREDIT of zero says why, and all goes on afterwards."""
    one = mesh()
    keys = keys_of(one, *[f"s{i}" for i in range(6)])
    one.wait_for_keys(6)
    record = max(batches, key=lambda r: r[6])
    aggregator = one.processes["aggregator"].pid
    (child,) = children(aggregator)
    peers = [Peer(one, key) for key in keys]
    sent, acked, paused = [0] * 6, [0] * 6, [False] * 6

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
            elif got[0] in (ERROR, BYE):  # a home that lost its lease meanwhile begins anew, and so does the sensor
                sent[i] = acked[i]
                assert peer.hello()[0] == WELCOME
        while sent[i] - acked[i] < peer.credit:
            sent[i] += 1
            peer.batch(record, sent[i])

    def turns():
        for i in range(6):
            turn(i)
        time.sleep(0.01)
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
        # Paused for longer than any of them would wait in silence: still there, and told again.
        again = [False] * 6
        deadline = time.monotonic() + 60
        while how == "stopped" and not all(again) and time.monotonic() < deadline:
            for i, peer in enumerate(peers):
                while (got := peer.receive(0.01)) is not None:
                    again[i] = again[i] or (got[0] == CREDIT and got[1][0] == 0)
        assert how == "gone" or all(again)
        grew = peak_mib(aggregator) - before[0], peak_mib(child) - before[1]
        print(f"{how}: held {held} batches of {record[6]} bytes, the core grew by {grew[0]:.0f} MiB, the child by {grew[1]:.0f} MiB")
        assert sum(grew) < 64
    finally:
        if how == "stopped":
            for backend in backends:
                os.kill(backend, signal.SIGCONT)
        else:
            postgres.restart_after_kill()
    for i in range(6):
        paused[i] = False
    target = [s + 5 for s in sent]
    wait_until(lambda: turns() and all(a >= t for a, t in zip(acked, target)), 90, "the rest")
    for peer in peers:
        peer.close()
    marks = one.table("select count(*), count(distinct (sensor_id, seq)) from ingest_mark")
    assert marks[0][0] == marks[0][1] >= sum(acked)
