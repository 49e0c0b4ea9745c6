"""A sensor changes its key under traffic: nothing lost, nothing twice, and from the first use of the new key the old one is worth nothing."""
import json
import os
import subprocess

import msgpack
import zmq
import zmq.utils.z85
from pg_support import CAPTURES, wait_until
from peer_support import ERROR, WELCOME, Peer, read_key
from test_delivery import TABLES

ROTATE, UNSUPPORTED = 11, 3


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


def is_let_in(mesh, key):
    with Peer(mesh, key) as peer:
        try:
            return peer.hello(timeout=2)[0] == WELCOME
        except zmq.Again:
            return False


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
