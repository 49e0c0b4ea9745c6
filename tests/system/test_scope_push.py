"""The scope goes to the sensors by itself: in seconds, kept over restarts, refused with a reason when it cannot be used, and never below the floor that the site set."""
import hashlib
import json
import os
import signal
import socket
import struct
import subprocess
import time
import urllib.request
import zlib

import msgpack
import pytest
from peer_support import CONFIG, CONFIG_ACK, HEARTBEAT, HELLO, WELCOME, FakeAggregator, Peer, read_key
from pg_support import wait_until

CAPABILITIES = 1 | 8 | 16
KEPT, REFUSED, NOT_DURABLE = 0, 1, 2
SCOPE = """
tenants:
  - name: acme
    sites: [hq, {name: branch, clients: [10.2.0.0/16]}]
    zones: [acme.example%s]
    canaries: [{name: "vpn-9.acme.example", channel: axfr, planted: 2026-11-20T10:00:00Z}]
    pseudonym_days: 30
"""


@pytest.fixture(autouse=True)
def needs_root():
    if os.geteuid() != 0:
        pytest.skip("capturing live needs root here")


def question(name, number):
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split(".")) + b"\0"
    return struct.pack(">6H", number, 0x0100, 1, 0, 0, 0) + labels + struct.pack(">2H", 1, 1)


class Traffic:
    """Asks a name over loopback and answers that it is not there; each name once."""

    def __init__(self, client="127.0.0.1"):
        self.server, self.client = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
        self.server.bind(("127.0.0.1", 0))
        self.client.bind((client, 0))
        self.port, self.number = self.server.getsockname()[1], 0

    def ask(self, name):
        self.number += 1
        query = question(name, self.number)
        self.client.sendto(query, ("127.0.0.1", self.port))
        data, where = self.server.recvfrom(512)
        self.server.sendto(data[:2] + b"\x81\x83" + data[4:], where)
        self.client.recv(512)


class Live:
    """A sensor that captures on the loopback interface."""

    def __init__(self, mesh, port, name="hq-1", **changes):
        self.mesh, self.name = mesh, name
        path = mesh.sensor_config(name, "hq", [])
        config = json.loads(path.read_text())
        config["capture"] = {"interfaces": ["lo"], "user": "root", "ports": [port]}
        config.update(changes)
        self.config = {key: value for key, value in config.items() if value is not None}
        self.path = mesh.write(f"{name}.yaml", self.config)
        self.process = None
        self.start()

    def start(self):
        started = self.mesh.log(self.name).count("module=privileges")
        self.process = self.mesh.start(self.name, "picket-sensor", "--config", self.path, environment={"ASAN_OPTIONS": "handle_segv=2:detect_leaks=0"})
        wait_until(lambda: self.mesh.log(self.name).count("module=privileges") > started or self.process.poll() is not None, 60, "the sensor")
        assert self.process.poll() is None, self.mesh.log(self.name)

    def stop(self):
        self.process.terminate()
        assert self.process.wait(60) == 0, self.mesh.log(self.name)


def apply(mesh, text):
    path = mesh.folder / "applied.yaml"
    path.write_text(text)
    return int(mesh.ctl("apply", "-f", str(path)).split()[2].rstrip(":"))


def standing(mesh, name="hq-1"):
    return {row["sensor"]: row for row in map(json.loads, mesh.ctl("sensors", "--tenant", "acme", "--json").splitlines())}[name]["scope"]


def await_standing(mesh, serial, status, name="hq-1"):
    wait_until(lambda: (standing(mesh, name)["acknowledged"], standing(mesh, name)["status"]) == (serial, status), 60, f"{status} of scope {serial}: {standing(mesh, name)}")
    return standing(mesh, name)


def metric(mesh, name):
    with urllib.request.urlopen(f"http://127.0.0.1:{mesh.metrics_port}/metrics", timeout=20) as answer:
        return next(float(line.split()[1]) for line in answer.read().decode().splitlines() if line.startswith(name + " "))


def names_in(mesh, table):
    return {bytes(row[0]) for row in mesh.table(f"select name from {table}")}


def wire(name):
    return b"".join(bytes([len(part)]) + part.encode() for part in name.split(".")) + b"\0"


def ready(mesh, **options):
    one = mesh(**options)
    one.add_sensor("hq")
    one.wait_for_keys(1)
    return one


def test_beside_an_encrypted_spool_it_is_sealed(mesh):
    """What was kept in clear before there was a key is sealed at the start; a reload needs the key no more."""
    one, traffic = ready(mesh), Traffic()
    sensor = Live(one, traffic.port)
    serial = apply(one, SCOPE % ", fresh.example")
    await_standing(one, serial, "kept")
    kept = one.folder / "spool-hq-1/scope"
    assert b"fresh.example" in kept.read_bytes()
    sensor.stop()
    key, clear = one.folder / "spool.key", kept.read_bytes()
    key.write_text("picket-spool-key-1 " + os.urandom(32).hex() + "\n")
    key.chmod(0o600)
    sensor.config["spool"]["key_file"] = str(key)
    sensor.path = one.write("hq-1.yaml", sensor.config)
    one.processes["aggregator"].terminate()
    one.processes["aggregator"].wait(30)
    in_use = f"in use from=aggregator serial={serial}"
    before = one.log("hq-1").count(in_use)
    sensor.start()
    assert one.log("hq-1").count(in_use) == before + 1
    sealed = kept.read_bytes()
    assert sealed.startswith(b"PKSCOPE1") and b"example" not in sealed and not (kept.parent / "scope.new").exists()
    key.rename(one.folder / "elsewhere.key")
    reloads = one.log("hq-1").count("module=reload done")
    sensor.process.send_signal(signal.SIGHUP)
    wait_until(lambda: one.log("hq-1").count("module=reload done") > reloads, 30, "the reload")
    assert one.log("hq-1").count(in_use) == before + 2
    # The next one that comes is sealed, too.
    one.start_aggregator()
    serial = apply(one, SCOPE % ", fresher.example")
    await_standing(one, serial, "kept")
    assert kept.read_bytes().startswith(b"PKSCOPE1") and kept.read_bytes() != sealed and b"example" not in kept.read_bytes()
    sensor.stop()
    (one.folder / "elsewhere.key").rename(key)
    sensor.start()
    assert f"in use from=aggregator serial={serial}" in one.log("hq-1").split("module=reload done")[-1]
    # Under another key it is none: what the file says holds, and why is said.
    sensor.stop()
    key.write_text("picket-spool-key-1 " + os.urandom(32).hex() + "\n")
    for segment in kept.parent.glob("seg-*"):
        segment.unlink()  # these a sensor refuses to leave behind
    sensor.start()
    assert 'reason="it is sealed, and spool.key_file is not there or another"' in one.log("hq-1")
    assert len(clear) < len(sealed)
    sensor.stop()


def test_a_scope_reaches_a_running_sensor_and_outlives_it(mesh):
    one, traffic = ready(mesh), Traffic()
    sensor = Live(one, traffic.port)
    first = await_standing(one, one.table("select max(version) from scope_version")[0][0], "kept")
    traffic.ask("a.acme.example")
    traffic.ask("a.fresh.example")
    wait_until(lambda: wire("a.acme.example") in names_in(one, "activity") and wire("a.fresh.example") in names_in(one, "negative"), 60, "both names")
    started = time.monotonic()
    serial = apply(one, SCOPE % ", fresh.example")
    assert serial > first["wanted"]
    await_standing(one, serial, "kept")
    print(f"in use {time.monotonic() - started:.2f} s after apply began")
    traffic.ask("b.fresh.example")
    wait_until(lambda: wire("b.fresh.example") in names_in(one, "activity"), 60, "the new zone's name with its source")
    assert wire("a.fresh.example") not in names_in(one, "activity")
    wait_until(lambda: metric(one, "picket_scoped_sessions") == 1, 30, "the gauge")
    # One that has no place for the sensor changes nothing, and everybody can see why.
    bad = apply(one, "tenants: [{name: acme, sites: [elsewhere], zones: [other.example]}]")
    told = await_standing(one, bad, "refused")
    assert 'no site "acme/hq"' in told["reason"] and "REASON" in one.ctl("sensors", "--tenant", "acme")
    assert metric(one, "picket_scope_refusals_total") == 1
    traffic.ask("c.fresh.example")
    wait_until(lambda: wire("c.fresh.example") in names_in(one, "activity"), 60, "the old scope at work")
    # Without an aggregator it is there still, whatever the file says; SIGHUP does not forget it either.
    one.processes["aggregator"].send_signal(signal.SIGKILL)
    one.processes["aggregator"].wait()
    sensor.stop()
    sensor.start()
    assert one.log("hq-1").count(f"in use from=aggregator serial={serial}") == 2
    sensor.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "module=reload done" in one.log("hq-1"), 30, "the reload")
    traffic.ask("d.fresh.example")
    sensor.stop()
    one.start_aggregator()
    good = apply(one, SCOPE % ", fresh.example")
    sensor.start()
    await_standing(one, good, "kept")
    wait_until(lambda: wire("d.fresh.example") in names_in(one, "activity"), 60, "what was seen meanwhile")
    # A file that is damaged is no file: the configuration's scope holds until the next word.
    sensor.stop()
    kept = one.folder / "spool-hq-1/scope"
    raw = kept.read_bytes()
    assert msgpack.unpackb(raw[:-4], strict_map_key=False)[3] == serial, "its text was the same, so it was not sent again"
    kept.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
    before = one.log("hq-1").count("module=scope in use")
    one.processes["aggregator"].terminate()
    one.processes["aggregator"].wait(30)
    sensor.start()
    assert one.log("hq-1").count("module=scope in use") == before
    sensor.stop()


def test_the_floor_is_the_sites_own(mesh):
    """The aggregator names the Internet as zones and nobody as inside: what leaves is what the site allows."""
    one, traffic = ready(mesh), Traffic("127.0.0.77")
    floor = {"zones": ["acme.example"], "clients": ["127.0.0.0/8"], "pseudonym_days": 7}
    sensor = Live(one, traffic.port, scope=None, privacy_floor=floor)
    assert "nothing but what is built in" in one.log("hq-1"), "no scope file, and none came yet"
    serial = apply(one, "tenants: [{name: acme, sites: [{name: hq, clients: [203.0.113.0/24]}], zones: [acme.example, example, secret.test], watch: [clinic.test], networks: [0.0.0.0/0]}]")
    told = await_standing(one, serial, "kept")
    assert told["reason"] == "the site's privacy_floor leaves out 4 names and networks"
    for name in ("x.acme.example", "y.secret.test", "z.clinic.test", "8.8.8.8.in-addr.arpa"):
        traffic.ask(name)
    wait_until(lambda: {wire("x.acme.example")} <= names_in(one, "activity") and len(names_in(one, "negative")) >= 3, 60, "all of them")
    assert names_in(one, "activity") == {wire("x.acme.example")}
    assert one.table("select distinct client_kind from activity") == [(0,)], "inside, and no key: nobody"
    assert one.table("select count(*) from activity where host(client) like '127.%'") == [(0,)]
    sensor.stop()
    # A site that keeps its own scope says so.
    own = Live(one, traffic.port, scope=str(one.scope), scope_from="file")
    serial = apply(one, SCOPE % "")
    assert await_standing(one, serial, "refused")["reason"] == "this site keeps its own scope (scope_from: file)"
    traffic.ask("x.secret.test")
    own.stop()


def scope_of(body):
    fields = msgpack.unpackb(body, strict_map_key=False)
    return json.loads(fields[2]), fields[3]


def test_what_a_sensor_is_sent_and_what_it_says_is_bounded(mesh):
    """The aggregator's side, spoken to by hand."""
    one = ready(mesh)
    serial = apply(one, SCOPE % "")
    key = read_key(one.folder / "hq-1.key")
    with Peer(one, key) as old:
        assert old.hello(capabilities=9)[0] == WELCOME
        old.send(old.header(HEARTBEAT, 1, 2, 0, 0))
        assert old.receive()[0] == HEARTBEAT and old.receive(2) is None, "who does not understand a scope is sent none"
    with Peer(one, key) as peer:
        assert peer.hello(capabilities=CAPABILITIES)[0] == WELCOME
        version = peer.welcome[9]
        kind, fields, body = peer.await_type(CONFIG)
        assert fields[0] == version and struct.unpack("<I", hashlib.blake2b(msgpack.unpackb(body, strict_map_key=False)[2], digest_size=16).digest()[:4])[0] == version
        text, number = scope_of(body)
        tenant = text["tenants"][0]
        assert number == serial and tenant["pseudonym_days"] == 30
        assert tenant["canaries"] == [{"name": "vpn-9.acme.example.", "channel": "axfr", "planted": "2026-11-20T10:00:00.000000Z"}]
        # An answer to another version is none; a reason is tamed; a flood of answers ends in one row.
        peer.send(peer.header(CONFIG_ACK, version ^ 1, KEPT))
        for i in range(500):
            peer.send(peer.header(CONFIG_ACK, version, REFUSED if i % 2 else NOT_DURABLE), msgpack.packb({1: f"no\n\u00e9{i}"}))
        told = await_standing(one, serial, "refused")
        assert told["reason"].startswith("no???")
        peer.send(peer.header(CONFIG_ACK, version, KEPT), b"\xc1 no map")
        assert await_standing(one, serial, "kept")["reason"] == ""
    with Peer(one, key) as again:
        assert again.hello(capabilities=CAPABILITIES)[0] == WELCOME
        again.send(again.header(CONFIG_ACK, again.welcome[9], KEPT))
        assert again.await_type(CONFIG, timeout=2) is None, "it has it"
        newer = apply(one, SCOPE % ", more.example")
        got = again.await_type(CONFIG)
        assert scope_of(got[2])[1] == newer
        # Answers to this one, which come while another is on its way, do not keep it from coming.
        path = one.folder / "newest.yaml"
        path.write_text(SCOPE % ", newest.example")
        applying = subprocess.Popen([one.programs["picketctl"], "apply", "-f", str(path)], stdout=subprocess.DEVNULL, env=one.environment)
        deadline, answered, got = time.monotonic() + 20, got[1][0], None
        while not got and time.monotonic() < deadline:
            again.send(again.header(CONFIG_ACK, answered, KEPT))
            got = again.await_type(CONFIG, timeout=0.002)
        assert applying.wait(30) == 0 and got
        newer = scope_of(got[2])[1]
        # The same under another number, or another tenant's, is no news for this one; it counts as up to date.
        again.send(again.header(CONFIG_ACK, got[1][0], NOT_DURABLE), msgpack.packb({1: "some left out"}))
        await_standing(one, newer, "not on disk")
        for other in ("", "  - {name: umbra, sites: [hq], zones: [umbra.example]}\n", "  - {name: umbra, sites: [hq], zones: [umbra.test]}\n"):
            newer = apply(one, SCOPE % ", newest.example" + other)
            assert await_standing(one, newer, "not on disk")["reason"] == "some left out"
        assert again.await_type(CONFIG, timeout=1) is None
    # One that no sensor would take is not taken here.
    huge = json.dumps({"tenants": [{"name": "acme", "sites": ["hq"], "zones": [f"zone-{i:05}.{'x' * 60}.example" for i in range(9000)]}]})
    path = one.folder / "huge.yaml"
    path.write_text(huge)
    done = subprocess.run([one.programs["picketctl"], "apply", "-f", str(path)], capture_output=True, text=True, check=False, env=one.environment)
    assert done.returncode == 65 and "larger than 524288 bytes" in done.stderr
    assert one.table("select max(version) from scope_version") == [(newer,)]


def test_a_hostile_aggregator_gets_nothing_from_a_scope(mesh):
    one, traffic, hostile = ready(mesh), Traffic(), FakeAggregator()
    sensor = Live(one, traffic.port, aggregator={"endpoints": [f"tcp://127.0.0.1:{hostile.port}"], "server_key": hostile.public.decode()})
    assert hostile.await_type(HELLO) and hostile.capabilities & 16
    hostile.welcome(capabilities=7)

    def with_text(text, serial=1):
        return msgpack.packb({2: text if isinstance(text, bytes) else text.encode(), 3: serial}, use_bin_type=True)
    refused = {
        "no yaml": with_text("tenants: [", 2),
        "another tenant": with_text("tenants: [{name: evil, sites: [hq]}]", 3),
        "the root": with_text("tenants: [{name: acme, sites: [hq], zones: ['.']}]", 4),
        "ten thousand keys": with_text("{" + ",".join(f"k{i}: 1" for i in range(10000)) + "}", 5),
        "aliases": with_text("tenants: &a [*a]", 6),
        "depth": with_text("tenants: " + "[" * 5000, 7),
        "too large": with_text(b"x" * (600 << 10), 8),
        "many empty lists": with_text("tenants: [" + "[]," * 150000 + "]", 9),
        "no map": b"\x93\x01\x02\x03",
        "cut": with_text("tenants: []", 10)[:-3],
    }
    for what, body in refused.items():
        status, reason = hostile.config(body, version=zlib.crc32(what.encode()) | 1)
        assert status == REFUSED, (what, reason)
        print(what, "->", reason)
    usage = int(next(line for line in open(f"/proc/{sensor.process.pid}/status") if line.startswith("VmHWM")).split()[1])
    print(f"greatest resident memory {usage >> 10} MiB")
    # One that can be read is laid over the floor: no top-level domain, not the whole of IPv4, the site's own addresses stay inside.
    wide = "tenants: [{name: acme, sites: [{name: hq, clients: [203.0.113.0/24]}], zones: [example, test, com, in-addr.arpa], networks: [0.0.0.0/0, '::/0']}]"
    status, reason = hostile.config(with_text(wide, 11))
    assert (status, reason) == (KEPT, "the site's privacy_floor leaves out 6 names and networks")
    assert hostile.config(with_text(wide, 11)) == (KEPT, reason), "once more is the same answer"
    traffic.ask("x.anything.com")
    assert hostile.await_type(HEARTBEAT), "it goes on"
    sensor.stop()
    hostile.close()
    assert json.loads(one.log("hq-1").splitlines()[-1])["balanced"] is True
