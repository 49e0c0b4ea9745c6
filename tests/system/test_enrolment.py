"""A token lets a machine in, once and where it may; revocation cuts it; the port is shut while no token is open."""
import base64
import json
import os
import socket
import stat
import subprocess
import time

import msgpack
import zmq

from peer_support import ACK, BYE, ERROR, MAGIC, WELCOME, Peer, is_let_in, read_key, records
from pg_support import CAPTURES, wait_until

ENROL, NOT_ENROLLED, REVOKED = 20, 13, 4


def is_listening(port):
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


def token(mesh, *options, site="acme/hq"):
    text = mesh.ctl("enroll", "--site", site, *options).strip()
    assert text.startswith("picket1.") and "\n" not in text
    wait_until(lambda: is_listening(mesh.enrol_port), 20, "the enrolment port")
    return text


def enroll(mesh, text, folder, name=None):
    environment = {**os.environ, **({"PICKET_SENSOR": name} if name else {})}
    return subprocess.run([mesh.programs["picket-sensor"], "enroll", text, "--config", str(folder)], capture_output=True, text=True, check=False, timeout=60, env=environment)


def run_enrolled(mesh, folder, site="hq"):
    """The configuration that enroll wrote, with a recorded capture in place of an interface and a spool of its own."""
    config = folder / "sensor.yaml"
    text = config.read_text()
    text = text.replace("  interface: any", f"  read: [{CAPTURES / f'{site}.pcap'}]\n  #").replace("/var/lib/picket/spool", str(folder / "spool"))
    config.write_text(text)
    return subprocess.run([mesh.programs["picket-sensor"], "--config", str(config)], capture_output=True, text=True, check=False, timeout=120)


def test_a_token_makes_a_sensor_that_works(mesh, tmp_path):
    one = mesh()
    assert not is_listening(one.enrol_port), "no token, no port"
    client_key = tmp_path / "client.key"
    client_key.write_text("picket-client-key-1 " + "ab" * 32 + "\n")
    client_key.chmod(0o600)
    text = token(one, "--client-key", str(client_key))
    folder = tmp_path / "etc"
    wrong = enroll(one, text[:-6] + "".join("A" if c != "A" else "B" for c in text[-6:]), folder, "edge-1")
    assert wrong.returncode != 0 and "copy it again" in wrong.stderr and not folder.exists()
    done = subprocess.run([one.programs["picket-sensor"], "enroll", "-", "--config", "etc"], input=text + "\n", capture_output=True, text=True, check=False, timeout=60, cwd=tmp_path, env={**os.environ, "PICKET_SENSOR": "edge-1"})
    assert done.returncode == 0, done.stderr + one.log("aggregator")[-2000:]
    assert "edge-1 at acme/hq is enrolled" in done.stdout
    for name in ("sensor.key", "client.key"):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600
    assert (folder / "client.key").read_text() == client_key.read_text()
    assert f"key_file: {folder}/sensor.key" in (folder / "sensor.yaml").read_text(), "paths are whole"
    again = subprocess.run([one.programs["picket-sensor"], "enroll", "--config", str(folder)], capture_output=True, text=True, check=False, timeout=60, env={**os.environ, "PICKET_TOKEN": text, "PICKET_SENSOR": "edge-1"})
    assert again.returncode == 0, "the same key again is the same sensor: " + again.stderr
    ran = run_enrolled(one, folder)
    assert ran.returncode == 0, ran.stderr
    assert one.table("select s.name, t.name from activity a join sensor s using (tenant_id, sensor_id) join site t using (tenant_id, site_id) group by 1, 2") == [("edge-1", "hq")]
    # A second machine is one too many, and a wrong secret looks the same.
    other = enroll(one, text, tmp_path / "other", "edge-2")
    assert other.returncode != 0 and "refuses" in other.stderr + "refuses" * (not is_listening(one.enrol_port))
    assert one.table("select count(*) from sensor") == [(1,)]
    # The secrets are in no log and not in the database; the client key is nowhere but with the sensor.
    secret = msgpack.unpackb(base64.urlsafe_b64decode(text[8:] + "=" * (-len(text[8:]) % 4)), strict_map_key=False)
    dump = subprocess.run([one.postgres.bin / "pg_dump", "-h", str(one.postgres.folder), "-U", "picket", one.database], capture_output=True, check=True).stdout.decode()
    logs = one.log("aggregator") + one.log("api") + done.stdout + done.stderr + ran.stderr
    key_text = read_key(folder / "sensor.key")[1].decode()
    for what in (secret[4].hex(), "ab" * 32, key_text, text[8:40]):
        assert what not in logs and what not in dump


def raw_request(mesh, body, keys=None, frames=None, wait=20000):
    """ENROL by hand; returns the answer's type and code, or None."""
    context = Peer.context = Peer.context or zmq.Context()
    with context.socket(zmq.DEALER) as s:
        s.linger = 0
        s.immediate = 1
        s.sndtimeo = s.rcvtimeo = wait
        s.curve_publickey, s.curve_secretkey = keys or zmq.curve_keypair()
        s.curve_serverkey = mesh.server_key.encode()
        s.connect(f"tcp://127.0.0.1:{mesh.enrol_port}")
        s.send_multipart(frames or [msgpack.packb([MAGIC, ENROL, 0]), msgpack.packb(body, use_bin_type=True)])
        header = msgpack.unpackb(s.recv_multipart()[0])
        return header[1], header[3] if header[1] == ERROR else None


def test_refusals_look_alike_and_nothing_is_let_in(mesh, tmp_path):
    one = mesh()
    text = token(one)
    made = msgpack.unpackb(base64.urlsafe_b64decode(text[8:] + "=" * (-len(text[8:]) % 4)), strict_map_key=False)
    away = token(one, "--from", "192.0.2.0/24")
    far = msgpack.unpackb(base64.urlsafe_b64decode(away[8:] + "=" * (-len(away[8:]) % 4)), strict_map_key=False)
    times = []
    for body in ({1: made[3], 2: os.urandom(32), 3: "x"}, {1: os.urandom(16), 2: made[4], 3: "x"}, {1: far[3], 2: far[4], 3: "x"}, {1: b"short"}, {}):
        started = time.monotonic()
        assert raw_request(one, body) == (ERROR, NOT_ENROLLED)
        times.append(time.monotonic() - started)
    assert min(times) >= 0.9, "not before the fixed delay"
    assert raw_request(one, None, frames=[b"\xc1", b"x"]) == (ERROR, NOT_ENROLLED)
    assert one.table("select count(*) from sensor_key") == [(0,)]
    assert one.table("select max(failures) from enrol_token") == [(1,)]
    # A name is tamed before it is anybody's.
    assert raw_request(one, {1: made[3], 2: made[4], 3: "a b\n\u00e9'; drop"}) == (21, None)
    assert one.table("select name from sensor") == [("a-b----;-drop".replace(";", "-"),)]
    # Closed tokens: the port follows when the last one is.
    listed = [json.loads(line) for line in one.ctl("tokens", "--json").splitlines()]
    assert [(t["site"], t["uses_left"]) for t in listed] == [("acme/hq", 1)] and listed[0]["id"] == far[3].hex()
    one.ctl("token", "close", far[3].hex())
    assert one.ctl("tokens").strip().endswith("no token is open")
    assert raw_request(one, {1: made[3], 2: made[4], 3: "late"}) == (ERROR, NOT_ENROLLED)
    one.ctl("enroll", "--site", "acme/hq")
    # A key of the enrolment port is no key of the data port.
    stranger = zmq.curve_keypair()
    assert raw_request(one, {1: os.urandom(16), 2: bytes(32), 3: ""}, keys=stranger) == (ERROR, NOT_ENROLLED)
    assert not is_let_in(one, stranger)


def test_approval_fleet_and_move(mesh, tmp_path):
    one = mesh()
    text = token(one, "--approve")
    done = enroll(one, text, tmp_path / "a", "waits")
    assert done.returncode == 0 and "waits for picketctl sensor approve" in done.stdout
    key = read_key(tmp_path / "a/sensor.key")
    assert not is_let_in(one, key), "not before it is approved"
    one.ctl("sensor", "approve", "waits", "--tenant", "acme")
    wait_until(lambda: is_let_in(one, key), 30, "the approval")
    # A fleet: containers without a volume come back with a new key and are the same node.
    text = token(one, "--fleet", "--uses", "2")
    for n in range(3):
        done = enroll(one, text, tmp_path / f"node{n}", "node-7")
        assert done.returncode == 0, done.stderr
    assert one.table("select count(*) from sensor where name like 'node-7%'") == [(1,)]
    assert one.table("select count(*) filter (where k.is_active), count(*) from sensor_key k join sensor s using (tenant_id, sensor_id) where s.name = 'node-7'") == [(1, 3)]
    assert one.table("select uses_left from enrol_token where is_fleet") == [(1,)]
    # Moved: the past stays where it was.
    one.ctl("sensor", "move", "node-7", "--tenant", "acme", "--to", "branch")
    rows = one.table("select i.name, a.to_us < 9223372036854775807 from site_assignment a join sensor s using (tenant_id, sensor_id) join site i using (tenant_id, site_id) where s.name = 'node-7'")
    assert rows == [("branch", False), ("hq", True)]


def test_the_port_stays_for_who_asks_again_and_is_shut_then(mesh, tmp_path):
    """A minute after the last use, for an answer of a large scope on a slow line; a fleet's nodes come back by their token, so that one is open while there are any."""
    one = mesh()

    def await_shut():
        """By a last use that is put back in the table, and a sensor added, for the aggregator to look again."""
        assert is_listening(one.enrol_port)
        for seconds, stays in ((40, True), (30, False)):
            with one.postgres.connect(one.database) as connection:
                connection.execute("update enrol_token set used_us = used_us - %s::bigint where used_us > 0", [seconds * 1_000_000])
            known = one.table("select count(*) from sensor_key")[0][0]
            one.add_sensor("hq", f"other-{known}")
            one.wait_for_keys(known + 1)
            wait_until(lambda: is_listening(one.enrol_port) == stays, 20, "the port as it shall be")
    text = token(one)
    assert enroll(one, text, tmp_path / "a", "edge-1").returncode == 0
    await_shut()
    assert one.ctl("tokens").strip().endswith("no token is open")
    # Whoever lost the answer asks by another token of the place, and is who he was; that one is still open.
    again = token(one)
    for name in ("sensor.yaml", "scope.yaml"):
        (tmp_path / "a" / name).unlink()
    assert enroll(one, again, tmp_path / "a", "edge-1").returncode == 0 and (tmp_path / "a/sensor.yaml").exists()
    elsewhere = token(one, site="acme/branch")
    assert enroll(one, elsewhere, tmp_path / "a", "edge-1").returncode != 0, "a key does not move by itself"
    assert one.table("select name from sensor where name not like 'other-%'") == [("edge-1",)] and one.table("select sum(uses_left) from enrol_token") == [(2,)]
    for listed in map(json.loads, one.ctl("tokens", "--json").splitlines()):
        one.ctl("token", "close", listed["id"])
    fleet = token(one, "--fleet", "--uses", "1")
    for n in range(2):
        assert enroll(one, fleet, tmp_path / f"node{n}", "node-1").returncode == 0
    used_up = json.loads(one.ctl("tokens", "--json"))
    assert used_up["uses_left"] == 0
    one.ctl("sensor", "revoke", "node-1", "--tenant", "acme")
    assert one.ctl("tokens").strip().endswith("no token is open")
    await_shut()


def test_revocation_cuts_a_live_connection_at_once(mesh, sensor, tmp_path):
    one = mesh()
    for name in ("gone", "stays"):
        one.add_sensor("hq", name)
    one.wait_for_keys(2)
    batch = records(sensor, tmp_path)[0]
    with Peer(one, read_key(one.folder / "gone.key")) as gone, Peer(one, read_key(one.folder / "stays.key")) as stays:
        monitor = gone.socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        assert gone.hello()[0] == WELCOME and stays.hello()[0] == WELCOME
        started = time.monotonic()
        one.ctl("sensor", "revoke", "gone", "--tenant", "acme")
        told = gone.await_type(BYE)
        assert told and told[1][0] == REVOKED
        assert monitor.poll(10000), "the connection is cut, not only told"
        print(f"cut {time.monotonic() - started:.3f} s after the command began")
        gone.socket.disable_monitor()
        stays.batch(batch, 1)
        assert stays.await_type(ACK)
    assert not is_let_in(one, read_key(one.folder / "gone.key"))


def test_a_sensor_may_be_bound_to_addresses(mesh):
    one = mesh()
    for name in ("here", "elsewhere"):
        one.add_sensor("hq", name)
    one.ctl("sensor", "limit", "here", "--tenant", "acme", "--from", "127.0.0.0/8,2001:db8::/32")
    one.ctl("sensor", "limit", "elsewhere", "--tenant", "acme", "--from", "192.0.2.1")
    version = one.table("select version from control_version")[0][0]
    wait_until(lambda: f"control_version={version}" in one.log("aggregator"), 20, "the limits")
    with Peer(one, read_key(one.folder / "here.key")) as here:
        assert here.hello()[0] == WELCOME
    assert not is_let_in(one, read_key(one.folder / "elsewhere.key"))
