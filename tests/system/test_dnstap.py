"""dnstap of real, unmodified servers against what was asked of them: every question asked is one transaction, and nothing else is."""
import collections
import gzip
import json
import lzma
import os
import pathlib
import re
import shutil
import socket
import struct
import subprocess
import time

import pytest
from pg_support import free_port

ZONE = """$ORIGIN example.com.
$TTL 300
@ IN SOA ns hostmaster 1 2 3 4 60
@ NS ns
ns A 127.0.0.1
* A 192.0.2.80
"""
DEADLINE_S = 30
SERVERS = ("nsd", "knotd", "named", "unbound", "dnsdist")


def program(name):
    path = shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin:/usr/bin")
    if not path:
        if os.environ.get("PICKET_REQUIRE"):
            pytest.fail(f"{name} is not installed (tests/support/packages.sh)")
        pytest.skip(f"{name} is not installed")
    return path


def wait_for(what, is_there, deadline_s=DEADLINE_S):
    end = time.monotonic() + deadline_s
    while not is_there():
        assert time.monotonic() < end, f"waited too long: {what}"
        time.sleep(0.02)


def low_ports():
    """53, 853 and 443 on addresses of their own, where that is allowed."""
    try:
        for port in (53, 853, 443):
            with socket.create_server(("127.0.97.3", port)):
                pass
        return True
    except OSError:
        return False


class Sensor:
    """picket-sensor listening on a unix socket and on TCP; its lines as they come."""

    def __init__(self, program_path, folder, *more):
        self.path, self.tcp = folder / "tap.sock", free_port()
        self.out, self.err = folder / "out.json", folder / "err.txt"
        command = [program_path, "--dnstap", f"unix:{self.path}", "--dnstap-mode", "0666", "--dnstap", f"tcp:{self.tcp}", "--output", "transactions", *more]
        # Under Landlock the sanitizer cannot look for leaks: it may not read /proc.
        environment = {**os.environ, "ASAN_OPTIONS": "handle_segv=2:detect_leaks=0"}
        self.process = subprocess.Popen(command, stdout=open(self.out, "wb"), stderr=open(self.err, "wb"), env=environment)
        wait_for("the sensor's sockets", self.is_listening)

    def is_listening(self):
        assert self.process.poll() is None, self.err.read_text()
        try:
            socket.create_connection(("127.0.0.1", self.tcp)).close()
            return self.path.is_socket()
        except OSError:
            return False

    def lines(self):
        text = self.out.read_text()
        return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]

    def stop(self):
        self.process.terminate()
        assert self.process.wait(DEADLINE_S) == 0, self.err.read_text()
        return json.loads(self.err.read_text().splitlines()[-1])


class Server:
    def __init__(self, folder, name, address, ports, text, command):
        self.name, self.address, self.ports = name, address, ports
        (folder / f"{name}.conf").write_text(text)
        self.log = folder / f"{name}.log"
        self.process = subprocess.Popen(command, stdout=open(self.log, "wb"), stderr=subprocess.STDOUT, cwd=folder)

    def wait(self):
        for port in self.ports.values():
            wait_for(f"{self.name} on {port}", lambda port=port: self.is_up(port))

    def is_up(self, port):
        assert self.process.poll() is None, f"{self.name} ended: {self.log.read_text(errors='replace')[-2000:]}"
        try:
            socket.create_connection((self.address, port)).close()
            return True
        except OSError:
            return False

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise


def start_servers(folder, tap, tcp, is_low):
    """All that Debian builds with dnstap; those that can serve DoT and DoH do."""
    key, cert = folder / "key.pem", folder / "cert.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-out", cert, "-days", "2",
                    "-subj", "/CN=localhost"], check=True, capture_output=True)
    (folder / "example.com.zone").write_text(ZONE)
    (folder / "hints").write_text(". 3600 NS a.hint.\na.hint. 3600 A 127.0.97.9\n")  # nobody asks the Internet
    address = {name: f"127.0.97.{i + 1}" if is_low else "127.0.0.1" for i, name in enumerate(SERVERS)}
    address["named"] = "127.0.0.1"  # it listens on no address that no interface has

    def ports(*transports, is_well_known=is_low):
        well_known = {"udp": 53, "tls": 853, "https": 443}
        return {transport: well_known[transport] if is_well_known else free_port() for transport in transports}

    servers = []

    def start(name, used, text, command):
        servers.append(Server(folder, name, address[name], used, text, command))

    nsd = ports("udp", "tls")
    start("nsd", nsd, f"""
server:
  ip-address: {address["nsd"]}@{nsd["udp"]}
  ip-address: {address["nsd"]}@{nsd["tls"]}
  tls-port: {nsd["tls"]}
  tls-service-key: {key}
  tls-service-pem: {cert}
  username: ""
  chroot: ""
  zonesdir: {folder}
  pidfile: {folder}/nsd.pid
  xfrdfile: {folder}/xfrd.state
  zonelistfile: {folder}/zone.list
  database: ""
  server-count: 1
remote-control:
  control-enable: no
dnstap:
  dnstap-enable: yes
  dnstap-socket-path: {tap}
  dnstap-log-auth-query-messages: yes
  dnstap-log-auth-response-messages: yes
  dnstap-send-identity: yes
  dnstap-send-version: yes
zone:
  name: example.com
  zonefile: example.com.zone
""", [program("nsd"), "-d", "-c", "nsd.conf"])
    knot = ports("udp")
    start("knotd", knot, f"""
server:
  listen: [{address["knotd"]}@{knot["udp"]}]
  rundir: {folder}
database:
  storage: {folder}/knot-db
log:
  - target: stderr
    any: info
mod-dnstap:
  - id: live
    sink: "unix:{tap}"
    log-queries: off
    log-responses: on
  - id: file
    sink: "{folder}/knot.fstrm"
    log-queries: on
    log-responses: on
template:
  - id: default
    global-module: [mod-dnstap/live, mod-dnstap/file]
    storage: "{folder}"
zone:
  - domain: example.com
    file: example.com.zone
""", [program("knotd"), "-c", "knotd.conf"])
    named = ports("udp", "tls", "https", is_well_known=False)
    start("named", named, f"""
tls own {{ cert-file "{cert}"; key-file "{key}"; }};
options {{
  directory "{folder}";
  listen-on port {named["udp"]} {{ {address["named"]}; }};
  listen-on port {named["tls"]} tls own {{ {address["named"]}; }};
  listen-on port {named["https"]} tls own http default {{ {address["named"]}; }};
  listen-on-v6 {{ none; }};
  pid-file none; session-keyfile none; recursion no; notify no; dnssec-validation no;
  dnstap {{ client; auth; resolver; forwarder; update; }};
  dnstap-output unix "{tap}";
  dnstap-identity "named-under-test";
}};
controls {{ }};
zone "." {{ type hint; file "hints"; }};
zone "example.com" {{ type primary; file "example.com.zone"; }};
""", [program("named"), "-g", "-c", "named.conf"])
    unbound = ports("udp", "tls", "https")
    start("unbound", unbound, f"""
server:
  interface: {address["unbound"]}@{unbound["udp"]}
  interface: {address["unbound"]}@{unbound["tls"]}
  interface: {address["unbound"]}@{unbound["https"]}
  tls-port: {unbound["tls"]}
  https-port: {unbound["https"]}
  tls-service-key: {key}
  tls-service-pem: {cert}
  username: ""
  chroot: ""
  directory: {folder}
  pidfile: ""
  use-syslog: no
  module-config: "iterator"
  do-not-query-localhost: no
  access-control: 127.0.0.0/8 allow
  num-threads: 1
  local-zone: "org." static
remote-control:
  control-enable: no
stub-zone:
  name: "."
  stub-addr: {address["nsd"]}@{nsd["udp"]}
stub-zone:
  name: example.com
  stub-addr: {address["nsd"]}@{nsd["udp"]}
dnstap:
  dnstap-enable: yes
  dnstap-ip: "127.0.0.1@{tcp}"
  dnstap-tls: no
  dnstap-log-client-query-messages: yes
  dnstap-log-client-response-messages: yes
  dnstap-log-resolver-query-messages: yes
  dnstap-log-resolver-response-messages: yes
""", [program("unbound"), "-d", "-c", "unbound.conf"])
    dnsdist = ports("udp", "tls", "https")
    start("dnsdist", dnsdist, f"""
setACL("127.0.0.0/8")
setLocal("{address["dnsdist"]}:{dnsdist["udp"]}")
addTLSLocal("{address["dnsdist"]}:{dnsdist["tls"]}", "{cert}", "{key}")
addDOHLocal("{address["dnsdist"]}:{dnsdist["https"]}", "{cert}", "{key}", "/dns-query")
newServer{{address="{address["nsd"]}:{nsd["udp"]}"}}:setUp()
setSecurityPollSuffix("")
tap = newFrameStreamUnixLogger("{tap}")
addResponseAction(AllRule(), DnstapLogResponseAction("dnsdist-under-test", tap))
""", [program("dnsdist"), "--supervised", "--disable-syslog", "-C", "dnsdist.conf"])
    return servers


class Asker:
    """kdig: asks, and reads from kdig what was answered, and from where."""

    def __init__(self):
        self.kdig, self.asked, self.number = program("kdig"), [], 0

    def ask(self, server, transport, qtype="A"):
        self.number += 1
        qname = f"q{self.number}.{server.name}.example.com." if qtype != "SOA" else "example.org."
        option = {"udp": "+notcp", "tcp": "+tcp", "tls": "+tls", "https": "+https"}[transport]
        port = server.ports["udp" if transport == "tcp" else transport]
        done = subprocess.run([self.kdig, f"@{server.address}", "-p", str(port), option, "+retry=0", "+time=5", qname, qtype], capture_output=True, text=True, check=False)
        status = re.search(r"opcode: \w+; status: (\w+)", done.stdout)
        assert status, f"{server.name} over {transport}: {done.stdout}{done.stderr}{server.log.read_text(errors='replace')[-1500:]}"
        answer = done.stdout.partition(";; ANSWER SECTION:\n")[2].partition("\n\n")[0]
        data = sorted(re.findall(r"\sA\s+([0-9.]+)$", answer, re.MULTILINE))
        self.asked.append({"server": server, "transport": transport, "key": (server.address, port, qname, qtype, status[1], tuple(data))})


def key_of(line):
    data = sorted(record["rdata"] for record in line["answers"] if record["type"] == "A")
    return (line["server"], line["server_port"], line["qname"].lower(), line["qtype"], line["rcode"], tuple(data))


@pytest.fixture(scope="module")
def run(sensor, tmp_path_factory):
    """Asks every server over every transport it has, then ends all; (asked, lines, counters, folder)."""
    folder = tmp_path_factory.mktemp("tap", numbered=True)
    folder.chmod(0o755)
    listener = Sensor(sensor, folder)
    is_low = low_ports()
    servers = start_servers(folder, listener.path, listener.tcp, is_low)
    asker = Asker()
    try:
        for server in servers:
            server.wait()
            for transport in ["udp", "tcp", *(t for t in server.ports if t != "udp")]:
                asker.ask(server, transport)
            asker.ask(server, "udp", "SOA")  # of a zone that is not there
        wanted = {one["key"] for one in asker.asked}  # servers deliver within a second or so
        wait_for("all transactions", lambda: wanted <= {key_of(line) for line in listener.lines()})
        for server in reversed(servers):
            server.stop()
    finally:
        for server in servers:
            server.process.kill()
    counters = listener.stop()
    return asker.asked, listener.lines(), counters, folder, is_low


def own_lines(lines, server):
    return [line for line in lines if line["via"] != "dnstap:resolver" and line["server"] == server.address and line["server_port"] in server.ports.values()]


@pytest.mark.parametrize("name", SERVERS)
def test_what_was_asked_is_what_is_told(run, name):
    asked, lines, _, _, _ = run
    mine = [one for one in asked if one["server"].name == name]
    told = collections.Counter(key_of(line) for line in own_lines(lines, mine[0]["server"]))
    wanted = collections.Counter(one["key"] for one in mine)
    if name == "nsd":  # unbound and dnsdist ask it too: more may be told, in other names
        told = collections.Counter({key: n for key, n in told.items() if ".nsd." in key[2] or key in wanted})
        told = collections.Counter({key: min(n, wanted[key]) if key[2] == "example.org." else n for key, n in told.items()})
    assert told == wanted
    assert len(mine) >= 3


def test_all_are_answered_and_none_unsolicited(run):
    _, lines, counters, _, _ = run
    assert counters["balanced"] is True
    assert {line["outcome"] for line in lines if line["via"] != "dnstap:resolver"} == {"answered"}
    assert counters["unsolicited"] == 0
    fates = counters["dnstap"]["fates"]
    assert fates["used"] == counters["dnstap"]["frames"] and counters["dnstap"]["frames"] > 30
    assert counters["dnstap"]["connections"] >= len(SERVERS)
    assert counters["dnstap"]["broken"] == 0 and counters["dnstap"]["refused"] == 0
    assert counters["dnstap"]["synthesised"] >= 3  # knotd and dnsdist log responses alone


def test_encrypted_transports_are_told(run):
    asked, lines, _, _, is_low = run
    words = {"udp": "udp", "tcp": "tcp", "tls": "dot", "https": "doh"}
    for one in asked:
        if one["key"][3] == "SOA":
            continue
        line = next(line for line in lines if key_of(line) == one["key"])
        assert line["client"].startswith("127.0.")
        # Debian's nsd, unbound and named log DoT as TCP and DoH as TCP or UDP: then the port tells. dnsdist says it.
        if one["server"].name == "dnsdist" or one["transport"] in ("udp", "tcp") or (is_low and one["server"].name != "named"):
            assert line["proto"] == words[one["transport"]], one


def test_the_resolvers_own_questions_are_upstream(run):
    _, lines, counters, _, _ = run
    behind = [line for line in lines if line["via"] == "dnstap:resolver" and ".unbound." in line["qname"].lower()]
    assert behind and all(line["client"] is None or line["client"].startswith("127.") for line in behind)
    assert counters["upstream"] >= len(behind)


@pytest.mark.parametrize("pack", [None, ("gz", gzip.compress), ("xz", lzma.compress), ("zst", None)])
def test_recorded_files_tell_the_same(run, sensor, pack):
    asked, _, _, folder, _ = run
    path = folder / "knot.fstrm"
    if pack and pack[0] == "zst":
        subprocess.run([program("zstd"), "-qf", path], check=True)
        path = folder / "knot.fstrm.zst"
    elif pack:
        packed = folder / f"knot.fstrm.{pack[0]}"
        packed.write_bytes(pack[1](path.read_bytes()))
        path = packed
    done = subprocess.run([sensor, "--read", path, "--output", "transactions"], capture_output=True, text=True, check=True)
    told = collections.Counter(key_of(json.loads(line)) for line in done.stdout.splitlines())
    assert told == collections.Counter(one["key"] for one in asked if one["server"].name == "knotd")
    damaged = folder / "damaged.fstrm"
    damaged.write_bytes((folder / "knot.fstrm").read_bytes()[:-40])
    cut = subprocess.run([sensor, "--read", damaged, "--output", "transactions"], capture_output=True, text=True, check=False)
    assert cut.returncode == 65 and "ends within a frame" in cut.stderr


# --- peers that do not behave ---


def control(kind, content=b"protobuf:dnstap.Dnstap"):
    body = struct.pack("!I", kind) + (struct.pack("!II", 1, len(content)) + content if content else b"")
    return struct.pack("!II", 0, len(body)) + body


ACCEPT, START, STOP, READY, FINISH = 1, 2, 3, 4, 5


def connect(listener):
    peer = socket.socket(socket.AF_UNIX)
    peer.connect(str(listener.path))  # blocking: waits while the backlog is full
    peer.settimeout(DEADLINE_S)
    return peer


def is_closed(peer):
    try:
        return peer.recv(4096) == b""
    except ConnectionResetError:
        return True


def test_peers_that_do_not_behave_cost_themselves_only(sensor, tmp_path):
    listener = Sensor(sensor, tmp_path)
    silent = connect(listener)  # never shakes hands
    bad = {
        "no Frame Stream": b"GET / HTTP/1.1\r\n\r\n",
        "other content": control(READY, b"protobuf:other"),
        "out of turn": control(STOP, b""),
        "huge control frame": struct.pack("!II", 0, 0xFFFFFFFF),
        "huge frame": control(START) + struct.pack("!I", 0x7FFFFFFF),
        "partial, then gone": control(START) + struct.pack("!I", 1000) + bytes(10),
    }
    for why, sent in bad.items():
        peer = connect(listener)
        peer.sendall(sent)
        if why == "partial, then gone":
            peer.shutdown(socket.SHUT_WR)
        assert is_closed(peer), why
    good = connect(listener)
    good.sendall(control(READY))
    assert good.recv(4096) == control(ACCEPT)
    good.sendall(control(START) + struct.pack("!I", 5) + b"\xff" * 5)  # not a protocol buffer: the stream goes on
    good.sendall(control(STOP, b""))
    assert good.recv(4096) == control(FINISH, b"")
    crowd = [connect(listener) for _ in range(40)]
    for peer in crowd[34:]:
        assert is_closed(peer)
    assert is_closed(silent)  # in its time
    counters = listener.stop()
    assert counters["balanced"] is True
    assert counters["dnstap"]["broken"] == len(bad)
    assert counters["dnstap"]["refused"] >= 8
    assert counters["dnstap"]["idle"] >= 1
    assert counters["dnstap"]["fates"]["malformed"] == 1 and counters["dnstap"]["fates"]["oversize"] == 1
    assert not listener.path.exists() or pathlib.Path("/sys/kernel/security").exists()


class Told:
    """A server that tells of its clients over an open stream, by a clock of its own."""

    def __init__(self, listener, identity, skew_s):
        self.peer, self.identity, self.skew_s, self.n_frames = connect(listener), identity, skew_s, 0
        self.peer.sendall(control(READY))
        assert self.peer.recv(4096) == control(ACCEPT)
        self.peer.sendall(control(START))

    def tell(self, number, is_response):
        label = f"q{number}".encode()
        question = bytes([len(label)]) + label + self.identity.encode().join((bytes([len(self.identity)]), b"\x03com\0\0\1\0\1"))
        message = struct.pack("!HHHHHH", number, 0x8180 if is_response else 0x0100, 1, 0, 0, 0) + question
        now_us = time.time_ns() // 1000 + self.skew_s * 1_000_000
        body = field(1, 5 + is_response) + field(2, 1) + field(3, 3) + field(4, socket.inet_aton("203.0.113.9")) + field(5, socket.inet_aton("10.0.0.53")) + field(6, 4000) + field(7, 853)
        first = 12 if is_response else 8  # seconds, nanoseconds, message
        body += field(first, now_us // 1_000_000) + varint(first + 1 << 3 | 5) + struct.pack("<I", now_us % 1_000_000 * 1000) + field(first + 2, message)
        frame = field(1, self.identity.encode()) + field(14, body) + field(15, 1)
        self.peer.sendall(struct.pack("!I", len(frame)) + frame)
        self.n_frames += 1

    def name(self, number):
        return f"q{number}.{self.identity}.com."

    def ask_and_answer(self, number, listener):
        self.tell(number, False)
        self.tell(number, True)
        wait_for("the exchange", lambda: self.name(number) in {line["qname"] for line in listener.lines()})


@pytest.mark.parametrize("skew_s", [7200, -7200])
def test_a_server_with_another_clock_ends_no_query_of_another(sensor, tmp_path, skew_s):
    start = time.time()
    listener = Sensor(sensor, tmp_path)
    right, wrong = Told(listener, "right", 0), Told(listener, "wrong", skew_s)
    for number in range(1, 10, 3):
        right.tell(number, False)
        right.ask_and_answer(number + 1, listener)  # so the question before it was taken
        wrong.ask_and_answer(number, listener)
        wrong.ask_and_answer(number + 1, listener)
        right.ask_and_answer(number + 2, listener)
        right.tell(number, True)
        wait_for("the answer", lambda number=number: right.name(number) in {line["qname"] for line in listener.lines()})
    counters = listener.stop()
    lines = listener.lines()
    assert len(lines) == 15 and {line["outcome"] for line in lines} == {"answered"}
    assert (counters["answered"], counters["unanswered"], counters["unsolicited"], counters["balanced"]) == (15, 0, 0, True)
    assert counters["dnstap"]["shifted"] >= wrong.n_frames
    assert all(start - 2 <= float(line[key]) <= time.time() for line in lines for key in ("query_ts", "response_ts"))
    said = [line for line in listener.err.read_text().splitlines() if 'identity=\\"wrong\\" its times are' in line or 'identity="wrong" its times are' in line]
    assert len(said) == 1 and re.search(rf"(7199|7200|7201) s {'ahead of' if skew_s > 0 else 'behind'} this machine's clock", said[0]), said


def test_wrong_endpoints_are_refused(sensor, tmp_path):
    for endpoint in ("unix:relative", "udp:1", "tcp:localhost:99", "tcp:127.0.0.1:70000", "tcp:", "unix:/" + "x" * 120):
        assert subprocess.run([sensor, "--dnstap", endpoint], capture_output=True, check=False).returncode == 64, endpoint
    taken = Sensor(sensor, tmp_path)
    again = subprocess.run([sensor, "--dnstap", f"unix:{taken.path}"], capture_output=True, text=True, check=False)
    assert again.returncode == 66 and "cannot listen there" in again.stderr
    taken.process.kill()  # leaves its socket behind
    taken.process.wait()
    anew = Sensor(sensor, tmp_path)
    anew.stop()


# --- the daemon ---


def varint(value):
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def field(number, value):
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def tap(kind, message, client, server, protocol):
    now = int(time.time())
    body = field(1, kind) + field(2, 1) + field(3, protocol) + field(4, socket.inet_aton(client)) + field(5, socket.inet_aton(server)) + field(6, 4000) + field(7, 853)
    body += field(8, now) + (field(10, message) if kind % 2 else field(12, now) + field(14, message))
    frame = field(14, body) + field(15, 1)
    return struct.pack("!I", len(frame)) + frame


def test_the_daemon_stores_what_servers_deliver(sensor, tmp_path):
    made = subprocess.run([sensor, "genkey", tmp_path / "sensor.key"], capture_output=True, text=True, check=True)
    server_key = made.stdout.strip().replace("'", "''")
    (tmp_path / "scope.yaml").write_text("tenants:\n  - {name: acme, sites: [hq], zones: [example.com]}\n")
    config = tmp_path / "sensor.yaml"
    path = tmp_path / "tap.sock"

    def write(dnstap):
        config.write_text(f"""
sensor: hq-1
site: acme/hq
scope: {tmp_path}/scope.yaml
key_file: {tmp_path}/sensor.key
dnstap: {dnstap}
capture: {{user: root}}
spool: {{folder: {tmp_path}/spool}}
aggregator: {{endpoints: ["tcp://127.0.0.1:1"], server_key: '{server_key}'}}
""")

    for wrong, key in (("{mode: 0660}", "dnstap"), ("{unix: relative}", "unix"), (f"{{unix: {path}, mode: 999}}", "mode"), (f"{{unix: {path}, use: clients}}", "use"),
                       ("{tcp: 'localhost:1'}", "tcp"), (f"{{unix: {path}, colour: red}}", "colour")):
        write(wrong)
        done = subprocess.run([sensor, "check-config", config], capture_output=True, text=True, check=False)
        assert done.returncode == 78 and key in done.stderr and "sensor.yaml:6" in done.stderr, wrong
    write(f"{{unix: {path}, mode: '0600', tcp: {free_port()}}}")
    err = tmp_path / "err.txt"
    daemon = subprocess.Popen([sensor, "--config", config], stderr=open(err, "wb"), env={**os.environ, "ASAN_OPTIONS": "handle_segv=2:detect_leaks=0"})
    wait_for("the socket", lambda: daemon.poll() is not None or path.is_socket())
    assert daemon.poll() is None, err.read_text()
    peer = socket.socket(socket.AF_UNIX)
    wait_for("the daemon listens", lambda: peer.connect_ex(str(path)) == 0)
    assert path.stat().st_mode & 0o777 == 0o600
    question = b"\x03www\x07example\x03com\0\0\1\0\1"
    query = struct.pack("!HHHHHH", 7, 0x0100, 1, 0, 0, 0) + question
    response = struct.pack("!HHHHHH", 7, 0x8180, 1, 1, 0, 0) + question + b"\xc0\x0c\0\1\0\1\0\0\1\x2c\0\4\xc0\0\2\x01"
    client = tap(5, query, "203.0.113.9", "10.0.0.53", 3) + tap(6, response, "203.0.113.9", "10.0.0.53", 3)
    behind = tap(3, query, "10.0.0.53", "192.0.2.53", 1) + tap(4, response, "10.0.0.53", "192.0.2.53", 1)
    peer.sendall(control(READY) + control(START) + client + behind + tap(11, query, "203.0.113.9", "10.0.0.53", 1) + control(STOP, b""))
    heard = b""
    while not heard.endswith(control(FINISH, b"")):
        heard += peer.recv(4096)
    daemon.terminate()
    assert daemon.wait(DEADLINE_S) == 0, err.read_text()
    counters = json.loads(err.read_text().splitlines()[-1])
    assert counters["balanced"] is True
    assert counters["dnstap"]["fates"]["used"] == 4 and counters["dnstap"]["fates"]["unused"] == 1
    assert (counters["answered"], counters["in_scope"], counters["upstream"]) == (2, 1, 1)  # one resolution is one trial
    assert counters["rrsets"] == 2 and counters["rows"] >= 2
