"""picketctl resolve: who holds the client key finds out who a pseudonym is, where the key is, and asks nobody."""
import hashlib
import ipaddress
import json
import os
import struct
import subprocess
import time

import msgpack
import pytest
from test_privacy import INSIDE, SCOPE, bodies, capture  # noqa: F401: a fixture
from test_vectors import Cursor

MASTER = bytes(range(100, 132))
DAY = 20700  # 2026-09-04, the first of a period of 90 days


def pseudonym(address, period, master=MASTER):
    key = hashlib.blake2b(key=master, salt=struct.pack("<QQ", period, 0), person=b"pkclient" + bytes(8), digest_size=32).digest()
    packed = ipaddress.ip_address(address).packed
    family = b"\4" if len(packed) == 4 else b"\6"
    return hashlib.blake2b(family + packed.ljust(16, b"\0"), key=key, person=b"pk-client".ljust(16, b"\0"), digest_size=16).digest()[:8].hex()


def pseudonyms_in(body):
    """Of a batch's clients, whatever else is among them (docs/PROTOCOL.md 4.1)."""
    n, data = body[18]
    cursor, out = Cursor(data), set()
    for _ in range(n):
        kind = cursor.take(1)[0]
        if kind == 3:
            out.add(cursor.take(8).hex())
            cursor.take((cursor.take(2)[1] + 7) // 8)
        elif kind:
            cursor.address()
    return out


@pytest.fixture
def key_file(tmp_path):
    path = tmp_path / "client.key"
    path.write_text(f"picket-client-key-1 {MASTER.hex()}\n")
    path.chmod(0o600)
    return path


def resolve(ctl, key, *arguments, **options):
    environment = {**os.environ, "PICKET_SERVER": "http://192.0.2.1:9"}  # nobody is asked
    return subprocess.run([ctl, "resolve", "--client-key", str(key), *map(str, arguments)], capture_output=True, text=True, check=False, timeout=300, env=environment, **options)


def test_what_python_hides_is_found(ctl, key_file, tmp_path):
    wanted = {f"client:{pseudonym(a, DAY)}": a for a in ("10.2.0.9", "10.2.255.255", "10.3.0.0")}
    done = resolve(ctl, key_file, "--day", "2026-11-24", "--in", "10.2.0.0/16,10.3.0.0/32,10.2.4.0/24", *wanted, pseudonym("10.2.0.9", DAY))
    assert done.returncode == 0, done.stderr
    assert {tuple(line.split()[:2]) for line in done.stdout.splitlines()} == set(wanted.items())
    assert all(line.endswith("since 2026-09-04") for line in done.stdout.splitlines())
    assert "tried 65537 addresses" in done.stderr, "each once, and until all are found"
    # Another day's period, another length of periods, another key: not found, and the status says so.
    name = pseudonym("10.2.0.9", DAY)
    for arguments in (("--day", "2026-09-03"), ("--day", "2026-11-24", "--pseudonym-days", "30")):
        done = resolve(ctl, key_file, *arguments, "--in", "10.2.0.0/24", name)
        assert done.returncode == 1 and done.stdout == "" and f"client:{name} not found" in done.stderr
    # The present period and the one before, without a day.
    today = int(time.time() // 86400)
    present = today - today % 90
    for period in (present, present - 90):
        done = resolve(ctl, key_file, "--in", "192.168.7.0/24", "--json", pseudonym("192.168.7.77", period))
        assert json.loads(done.stdout) == {"pseudonym": f"client:{pseudonym('192.168.7.77', period)}", "address": "192.168.7.77", "since": time.strftime("%Y-%m-%d", time.gmtime(period * 86400))}
    # The private ranges where nothing is said.
    assert "10.0.0.7 " in resolve(ctl, key_file, "--day", "2026-11-24", pseudonym("10.0.0.7", DAY)).stdout


def test_ipv6_is_found_in_lists(ctl, key_file, tmp_path):
    address = "2001:db8:1::5:77"
    neighbours = f"fe80::1%eth0 dev eth0 lladdr 02:00:00:00:00:01 REACHABLE\n{address} dev eth0 lladdr 02:00:00:00:00:02 STALE\n? (10.9.9.9) at 02:00:00:00:00:03 [ether] on eth0\n"
    wanted = [pseudonym(a, DAY) for a in (address, "10.9.9.9", "fe80::1")]
    done = resolve(ctl, key_file, "--day", "2026-09-04", "--candidates", "-", *wanted, input=neighbours)
    assert done.returncode == 0 and {line.split()[1] for line in done.stdout.splitlines()} == {address, "10.9.9.9", "fe80::1"}
    done = resolve(ctl, key_file, "--day", "2026-09-04", "--in", "2001:db8:1::5:0/120", wanted[0])
    assert done.returncode == 0 and address in done.stdout
    done = resolve(ctl, key_file, "--in", "2001:db8::/64", wanted[0])
    assert done.returncode == 64 and "--candidates" in done.stderr
    assert resolve(ctl, key_file, "--in", "10.0.0.0/8,11.0.0.0/8,12.0.0.0/8,13.0.0.0/8,14.0.0.0/32", wanted[0]).returncode == 64


def test_the_scope_says_where_to_look(ctl, key_file, tmp_path):
    scope = tmp_path / "scope.yaml"
    scope.write_text("tenants: [{name: acme, pseudonym_days: 7, sites: [{name: hq, clients: [10.44.0.0/24, 'fd00::/8']}, {name: b, clients: [10.45.0.0/24]}]}, {name: other, sites: [x]}]")
    period = 20780 - 20780 % 7
    done = resolve(ctl, key_file, "-f", scope, "--tenant", "acme", "--day", "2026-11-23", pseudonym("10.45.0.200", period))
    assert done.returncode == 0 and "10.45.0.200" in done.stdout and "fd00::/8 is too wide" in done.stderr
    assert resolve(ctl, key_file, "-f", scope, pseudonym("10.45.0.200", period)).returncode == 78


@pytest.mark.parametrize("words", [["xyz"], ["client:0011"], ["00112233445566778899"], []])
def test_what_is_no_pseudonym_is_refused(ctl, key_file, words):
    assert resolve(ctl, key_file, "--in", "10.0.0.0/30", *words).returncode in (64, 65)


def test_a_key_file_that_others_can_read_is_refused(ctl, key_file):
    key_file.chmod(0o644)
    done = resolve(ctl, key_file, "--in", "10.0.0.0/30", "0011223344556677")
    assert done.returncode == 77 and str(key_file) in done.stderr


def test_what_a_sensor_hid_is_found(ctl, sensor, key_file, tmp_path, capture):
    """From the capture through the sensor's own pseudonyms back to the addresses in the capture."""
    scope, psp = tmp_path / "scope.yaml", tmp_path / "hq.psp"
    scope.write_text(json.dumps(SCOPE))
    subprocess.run([sensor, "--read", str(capture), "--site", "acme/hq", "--scope", str(scope), "--client-key", str(key_file), "--write", str(psp)], check=True, capture_output=True)
    hidden = set()
    for kind, body in bodies(psp):
        hidden |= pseudonyms_in(msgpack.unpackb(body, strict_map_key=False)) if kind in (2, 7) else set()
    assert len(hidden) == len(INSIDE)
    lease = tmp_path / "leases"
    lease.write_text(f"lease {INSIDE[2]} {{ starts 2026; }}\nlease fd12::9 {{ }}\n")
    done = resolve(ctl, key_file, "--day", "2026-11-18", "--in", "10.20.0.0/16,172.16.0.0/16", "--candidates", lease, "-", input="\n".join(sorted(hidden)))
    assert done.returncode == 0, done.stderr
    assert {line.split()[1] for line in done.stdout.splitlines()} == set(INSIDE)
