"""Containers come and go: who of a fleet is silent too long gives its place back, and is the same sensor again when it returns."""
import datetime
import json
import subprocess
import time

from peer_support import HEARTBEAT, WELCOME, Peer, is_let_in, read_key
from pg_support import wait_until
from test_enrolment import enroll, token


def state(mesh, name):
    rows = [json.loads(line) for line in mesh.ctl("sensors", "--tenant", "acme", "--json").splitlines()]
    return next(row["state"] for row in rows if row["sensor"] == name)


def uses_left(mesh):
    return mesh.table("select uses_left from enrol_token where is_fleet")[0][0]


def await_refused(mesh, path):
    wait_until(lambda: not is_let_in(mesh, read_key(path)), 30, f"the end of {path}")


def seconds(line):
    """Since 1970, of a line of the log."""
    return datetime.datetime.fromisoformat(line.split("ts=")[1].split()[0].replace("Z", "+00:00")).timestamp()


def expire_by_hand(mesh, name):
    mesh.table("update enrol_token set uses_left = uses_left + 1 where is_fleet returning 1")
    mesh.table(f"update sensor set is_active = false, stale_us = 1 where name = '{name}' returning 1")
    await_version(mesh)


def await_version(mesh):
    version = mesh.table("update control_version set version = version + 1 returning version")[0][0]
    wait_until(lambda: f"control_version={version}" in mesh.log("aggregator"), 30, "the registry")


def test_a_silent_container_gives_its_place_back(mesh, tmp_path):
    one = mesh()
    for wrong in (("--stale-after", "7d"), ("--fleet", "--stale-after", "5m"), ("--fleet", "--stale-after", "soon")):
        done = subprocess.run([one.programs["picketctl"], "enroll", "--site", "acme/hq", *wrong], capture_output=True, text=True, check=False, env=one.environment)
        assert done.returncode in (64, 65), done.stderr
    text = token(one, "--fleet", "--uses", "2", "--stale-after", "7d")
    assert "168h" in one.ctl("tokens")
    for name in ("node-1", "node-2"):
        done = enroll(one, text, tmp_path / name, name)
        assert done.returncode == 0, done.stderr
    assert uses_left(one) == 0 and enroll(one, text, tmp_path / "node-3", "node-3").returncode != 0
    ids = dict(one.table("select name, sensor_id from sensor"))
    wait_until(lambda: is_let_in(one, read_key(tmp_path / "node-1/sensor.key")), 30, "the first key")
    # A week is long: the token says eight seconds now, and node-2 came an hour ago; the aggregator starts anew.
    restarted = one.log("aggregator").count("\n")
    one.processes["aggregator"].terminate()
    one.processes["aggregator"].wait(30)
    one.table("update enrol_token set stale_after_s = 8 where is_fleet returning 1")
    one.table("update sensor set added_us = added_us - 3600000000 where name = 'node-2' returning 1")
    one.table(f"update sensor_key set added_us = added_us - 3600000000 where sensor_id = {ids['node-2']} returning 1")
    one.start_aggregator()
    with Peer(one, read_key(tmp_path / "node-1/sensor.key")) as alive:
        assert alive.hello()[0] == WELCOME
        started = time.monotonic()

        def gone():
            # What it says changes, so that each is written down at once.
            alive.send(alive.header(HEARTBEAT, time.monotonic_ns(), int(time.time() * 1e6), 0, time.monotonic_ns() % 1000000))
            return "stale sensor=node-2" in one.log("aggregator")
        wait_until(gone, 90, "the expiry")
        print(f"expired {time.monotonic() - started:.1f} s after")
        # Never before those who are there had the chance to be heard: as long after the start as the token says, here.
        lines = one.log("aggregator").splitlines()[restarted:]
        listening, expired = (next(line for line in lines if what in line) for what in ("listening endpoint", "stale sensor=node-2"))
        assert seconds(expired) - seconds(listening) >= 8
        assert (state(one, "node-1"), state(one, "node-2")) == ("active", "stale")
        assert "stale sensor=node-1" not in one.log("aggregator") and uses_left(one) == 1
        one.table("update enrol_token set stale_after_s = 0 where is_fleet returning 1")
    await_refused(one, tmp_path / "node-2/sensor.key")
    # The node comes back without its volume: another key, the same sensor; and asking again is asking once.
    for _ in range(2):
        assert enroll(one, text, tmp_path / "again", "node-2").returncode == 0
        assert dict(one.table("select name, sensor_id from sensor")) == ids and uses_left(one) == 0
    assert state(one, "node-2") == "active"
    await_refused(one, tmp_path / "node-2/sensor.key")
    wait_until(lambda: is_let_in(one, read_key(tmp_path / "again/sensor.key")), 30, "the new key")
    # With its volume: the same key. Without a use that is left it stays out.
    expire_by_hand(one, "node-2")
    await_refused(one, tmp_path / "again/sensor.key")
    one.table("update enrol_token set uses_left = 0 where is_fleet returning 1")
    assert enroll(one, text, tmp_path / "again", "node-2").returncode != 0 and state(one, "node-2") == "stale"
    one.table("update enrol_token set uses_left = 1 where is_fleet returning 1")
    assert enroll(one, text, tmp_path / "again", "node-2").returncode == 0
    assert state(one, "node-2") == "active" and uses_left(one) == 0
    assert one.table(f"select count(*) from sensor_key where sensor_id = {ids['node-2']}") == [(2,)]
    # Revoked is not stale: no token brings it back.
    expire_by_hand(one, "node-2")
    one.ctl("sensor", "revoke", "node-2", "--tenant", "acme")
    assert enroll(one, text, tmp_path / "again", "node-2").returncode != 0
    assert state(one, "node-2") == "revoked"
