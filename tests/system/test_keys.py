"""Sensor and server change their keys under traffic: nothing lost, nothing twice, and from the first use of the new key the old one is worth nothing."""
import json
import os
import signal
import subprocess
import urllib.request

import msgpack
import pytest
import zmq
import zmq.utils.z85
from pg_support import CAPTURES, free_port, wait_until
from peer_support import ERROR, WELCOME, Peer, is_let_in, read_key
from test_delivery import TABLES

HEARTBEAT, CONFIG, CONFIG_ACK, ROTATE, UNSUPPORTED = 6, 7, 8, 11, 3


def contents(mesh):
    return {name: mesh.table(query) for name, query in TABLES.items() if name != "finding"}


def start(mesh, name="hq-1"):
    config = mesh.sensor_config(name, "hq", [CAPTURES / "hq.pcap"])
    return mesh.start(name, "picket-sensor", "--config", config)


def new_key(mesh, name="hq-1"):
    config = mesh.sensor_config(name, "hq", [CAPTURES / "hq.pcap"])
    return mesh.call("picket-sensor", "rotate-key", "--config", config).strip()


def keys(mesh):
    return mesh.table("select is_active, replaces is not null from sensor_key")


def ready(mesh):
    one = mesh()
    one.add_sensor("hq")
    one.wait_for_keys(1)
    return one


def test_a_sensor_changes_its_key_while_it_ships(mesh):
    calm = ready(mesh)
    assert start(calm).wait(120) == 0
    wanted = contents(calm)
    calm.close()
    one = ready(mesh)
    old = read_key(one.folder / "hq-1.key")
    public = new_key(one)
    again = subprocess.run([one.programs["picket-sensor"], "rotate-key", "--config", str(one.folder / "hq-1.yaml")], capture_output=True, text=True, check=False)
    assert again.returncode != 0 and "exists already" in again.stderr
    process = start(one)
    assert process.wait(120) == 0, one.log("hq-1")
    assert "the new key is in use" in one.log("hq-1")
    have = contents(one)
    assert wanted["activity"] and {k: len(v) for k, v in have.items()} == {k: len(v) for k, v in wanted.items()}
    assert have == wanted
    assert keys(one) == [(False, False), (True, True)]
    assert not (one.folder / "hq-1.key.next").exists()
    assert read_key(one.folder / "hq-1.key")[0].decode() == public
    assert not is_let_in(one, old) and is_let_in(one, read_key(one.folder / "hq-1.key"))
    secret = read_key(one.folder / "hq-1.key")[1].decode()
    assert secret not in one.log("hq-1") + one.log("aggregator")


def test_whichever_key_is_known_the_sensor_finds_it(mesh):
    """As after a crash at each point: the aggregator has the new key beside the old; only the new one; or the sensor's file was not changed in time."""
    one = ready(mesh)
    old_text = (one.folder / "hq-1.key").read_bytes()
    new_key(one)
    new_text = (one.folder / "hq-1.key.next").read_bytes()
    with Peer(one, read_key(one.folder / "hq-1.key")) as peer:
        assert peer.hello()[0] == WELCOME
        peer.send(peer.header(ROTATE), msgpack.packb({1: zmq.utils.z85.decode(read_key(one.folder / "hq-1.key.next")[0])}))
        assert peer.await_type(ROTATE)
    assert keys(one) == [(True, False), (True, True)]
    assert start(one).wait(120) == 0, one.log("hq-1")
    assert keys(one) == [(False, False), (True, True)]
    rows = contents(one)
    # The old key is retired, and the files say otherwise.
    for name, text in (("hq-1.key", old_text), ("hq-1.key.next", new_text)):
        (one.folder / name).write_bytes(text)
        os.chmod(one.folder / name, 0o600)
    assert start(one).wait(120) == 0, one.log("hq-1")
    assert (one.folder / "hq-1.key").read_bytes() == new_text and not (one.folder / "hq-1.key.next").exists()
    assert len(contents(one)["rrset"]) == len(rows["rrset"])


def test_what_is_not_ones_own_cannot_be_the_next_key(mesh):
    one = ready(mesh)
    one.add_sensor("branch")
    one.wait_for_keys(2)
    with Peer(one, read_key(one.folder / "hq-1.key")) as peer:
        assert peer.hello()[0] == WELCOME
        peer.send(peer.header(ROTATE), msgpack.packb({1: zmq.utils.z85.decode(read_key(one.folder / "branch-1.key")[0])}))
        refused = peer.await_type(ERROR, ROTATE)
        assert refused[0] == ERROR and refused[1][0] == UNSUPPORTED
        assert one.table("select count(*) from sensor_key") == [(2,)]
    with Peer(one, read_key(one.folder / "hq-1.key")) as peer:
        assert peer.hello()[0] == WELCOME
        peer.send(peer.header(ROTATE), b"\x81\x01\xc4\x01x")
        assert peer.await_type(ERROR)[1][0] == 1
    json.loads(one.ctl("sensors", "--tenant", "acme", "--json").splitlines()[0])


def test_the_first_use_of_the_new_key_cuts_whoever_holds_the_old(mesh):
    one = ready(mesh)
    public, secret = zmq.curve_keypair()
    with Peer(one, read_key(one.folder / "hq-1.key")) as holder:
        monitor = holder.socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        assert holder.hello()[0] == WELCOME
        holder.send(holder.header(ROTATE), msgpack.packb({1: zmq.utils.z85.decode(public)}))
        assert holder.await_type(ROTATE)
        with Peer(one, (public, secret), boot=holder.boot) as successor:
            assert successor.hello()[0] == WELCOME
            assert monitor.poll(10000), "the old connection is cut"
        holder.socket.disable_monitor()
    wait_until(lambda: not is_let_in(one, read_key(one.folder / "hq-1.key")), 20, "the old key's end")


def metric(mesh, name):
    with urllib.request.urlopen(f"http://127.0.0.1:{mesh.metrics_port}/metrics", timeout=30) as answer:
        lines = answer.read().decode().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(name + " ")))


def restart(mesh, **changes):
    """The aggregator with other settings, in place of the one that runs."""
    process = mesh.processes["aggregator"]
    process.terminate()
    process.wait(60)
    mesh.config.write_text(json.dumps({**json.loads(mesh.config.read_text()), **changes}))
    mesh.start_aggregator()


def test_the_server_changes_its_key_while_a_sensor_ships(mesh):
    """Two keys on two ports; then the first key is gone and its port has a third; the sensor that knew the first alone follows by itself, and again after it was started anew."""
    calm = ready(mesh)
    assert start(calm).wait(120) == 0
    wanted = contents(calm)
    calm.close()
    one = ready(mesh)
    next_port = free_port()
    next_key = one.call("picket-aggregator", "genkey", one.folder / "next.key").strip()
    restart(one, name="a", next={"listen": f"tcp://127.0.0.1:{next_port}", "key_file": str(one.folder / "next.key")})
    with Peer(one, read_key(one.folder / "hq-1.key"), server_key=next_key, port=next_port) as peer:
        assert peer.hello()[0] == WELCOME, "the second port has the second key"
    connection = one.postgres.connect(one.database)
    connection.execute("begin")
    connection.execute("lock table ingest_mark in exclusive mode")  # what it sends waits until the old port is gone
    process = start(one)
    wait_until(lambda: "learned endpoint" in one.log("hq-1"), 60, "CONFIG")
    one.processes["aggregator"].send_signal(signal.SIGKILL)
    connection.execute("rollback")
    connection.close()
    third_key = one.call("picket-aggregator", "genkey", one.folder / "third.key").strip()
    restart(one, listen=f"tcp://127.0.0.1:{next_port}", key_file=str(one.folder / "next.key"),
            next={"listen": f"tcp://127.0.0.1:{one.port}", "key_file": str(one.folder / "third.key")})
    assert process.wait(120) == 0, one.log("hq-1")
    assert f"connected endpoint=tcp://127.0.0.1:{next_port}" in one.log("hq-1")
    assert contents(one) == wanted
    # What was learned outlives the process: the configuration still has the old key alone.
    learned = (one.folder / "spool-hq-1/learned").read_bytes()
    known = [entry[:2] for entry in msgpack.unpackb(learned[:-4], strict_map_key=False)[1]]
    assert known == [[f"tcp://127.0.0.1:{next_port}", zmq.utils.z85.decode(next_key)], [f"tcp://127.0.0.1:{one.port}", zmq.utils.z85.decode(third_key)]]
    before = one.log("hq-1").count(f"connected endpoint=tcp://127.0.0.1:{next_port}")
    again = start(one)
    wait_until(lambda: one.log("hq-1").count(f"connected endpoint=tcp://127.0.0.1:{next_port}") > before, 60, "the learned endpoint")
    assert again.wait(120) == 0
    # A damaged file is no file.
    (one.folder / "spool-hq-1/learned").write_bytes(learned[:-1] + bytes([learned[-1] ^ 1]))
    lost = start(one)
    wait_until(lambda: one.log("hq-1").count("handshake refused without a reason") > 3, 60, "two refusals of the old key")
    lost.terminate()
    lost.wait(60)
    assert one.log("hq-1").count(f"connected endpoint=tcp://127.0.0.1:{next_port}") == before + 1


def test_a_list_that_cannot_be_kept_or_read_changes_nothing(mesh):
    """The aggregator side: only who says that it has the list on disk counts, and who does not understand CONFIG is not told."""
    one = ready(mesh)
    next_port = free_port()
    next_key = one.call("picket-aggregator", "genkey", one.folder / "next.key").strip()
    restart(one, next={"listen": f"tcp://127.0.0.1:{next_port}", "key_file": str(one.folder / "next.key"), "announce": "tcp://sensors.example:7355"})
    key = read_key(one.folder / "hq-1.key")
    with Peer(one, key) as old:
        assert old.hello()[0] == WELCOME
        old.send(old.header(HEARTBEAT, 1, 2, 0, 0))
        assert old.receive()[0] == HEARTBEAT, "nothing in between"
    with Peer(one, key) as peer:
        assert peer.hello(capabilities=9)[0] == WELCOME
        kind, fields, body = peer.receive()
        assert kind == CONFIG
        assert msgpack.unpackb(body, strict_map_key=False) == {1: [["tcp://sensors.example:7355", zmq.utils.z85.decode(next_key), 0]]}
        for version, status, known in ((fields[0] ^ 1, 0, 0), (fields[0], 2, 0), (fields[0], 0, 1)):
            peer.send(peer.header(CONFIG_ACK, version, status))
            peer.send(peer.header(HEARTBEAT, 1, 2, 0, 0))
            assert peer.await_type(HEARTBEAT)
            if known:
                wait_until(lambda: metric(one, "picket_configured_sessions") == 1, 30, "the gauge")


def test_a_running_sensor_takes_the_key_at_sighup(mesh):
    """Live and in its sandbox, which was closed before there was a second file: the key changes at once, the file at the next start."""
    if os.geteuid() != 0:
        pytest.skip("capturing live needs root here")
    one = ready(mesh)
    path = one.sensor_config("hq-1", "hq", [])
    config = json.loads(path.read_text())
    config["capture"] = {"interfaces": ["lo"], "user": "root"}
    path.write_text(json.dumps(config))

    def run():
        connected = one.log("hq-1").count("connected endpoint")
        # What looks for leaks at the end may not look at threads from within Landlock.
        process = one.start("hq-1", "picket-sensor", "--config", path, environment={"ASAN_OPTIONS": "handle_segv=2:detect_leaks=0"})
        wait_until(lambda: one.log("hq-1").count("connected endpoint") > connected or process.poll() is not None, 60, "the session")
        assert process.poll() is None, one.log("hq-1")
        return process
    process = run()
    public = one.call("picket-sensor", "rotate-key", "--config", path).strip()
    process.send_signal(signal.SIGHUP)
    wait_until(lambda: "the new key is in use" in one.log("hq-1"), 60, "the change")
    wait_until(lambda: keys(one) == [(False, False), (True, True)], 30, "the old key's end")
    process.terminate()
    assert process.wait(60) == 0, one.log("hq-1")
    process = run()
    wait_until(lambda: not (one.folder / "hq-1.key.next").exists(), 60, "the file in its place")
    assert read_key(one.folder / "hq-1.key")[0].decode() == public
    process.terminate()
    assert process.wait(60) == 0
