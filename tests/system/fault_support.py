"""What the fault matrix stands on: links that are cut, lose and delay, disks that are full, clocks that are stepped, and captures with what another parser counts in them.

Every process has a network namespace of its own on one switch, so that a link is one process's. Loss and cuts are done on the switch, where the ends do not notice them; delay by a
relay of frames (tests/support/delay_frames.py), because not every kernel has sch_netem. A clock is a library that is preloaded (tests/support/clock_step.c says why)."""
import concurrent.futures
import errno
import hashlib
import inspect
import json
import os
import pathlib
import struct
import subprocess
import sys

import dns.name
import psycopg
import pytest
from conftest import ROOT, program
from model import packets, rrsets
from pg_support import Postgres, wait_until

ZONES = ["z0.com", "z1.net", "z2.org", "z5.com", "z10.com"]
SPACING_US = 600  # a hundred thousand transactions are a minute


def run(*command):
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, (command, done.stderr)
    return done.stdout


# --- links ---


class Switch:
    """One port a name; 10.77.0.1 and on, in the order of the names."""

    def __init__(self, names):
        self.prefix, self.names, self.relays = f"pf{os.getpid()}", list(names), {}
        done = subprocess.run(["ip", "netns", "add", f"{self.prefix}-core"], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"network namespaces are not permitted here: {done.stderr.strip()}")
        self.core("ip", "link", "add", "sw", "type", "bridge", "stp_state", "0", "forward_delay", "0", "mcast_snooping", "0")
        self.core("ip", "link", "set", "sw", "up")
        for name in self.names:
            run("ip", "netns", "add", f"{self.prefix}-{name}")
            self.core("ip", "link", "add", f"p-{name}", "type", "veth", "peer", "name", "eth0", "netns", f"{self.prefix}-{name}")
            self.core("ip", "link", "set", f"p-{name}", "master", "sw", "up")
            inside = ("ip", "-n", f"{self.prefix}-{name}")
            run(*inside, "addr", "add", f"{self.address(name)}/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                run(*inside, "link", "set", device, "up")
        self.core("nft", "add table bridge f")
        self.core("nft", "add chain bridge f pass { type filter hook forward priority 0; }")

    def address(self, name):
        return f"10.77.0.{1 + self.names.index(name)}"

    def inside(self, name):
        return ["ip", "netns", "exec", f"{self.prefix}-{name}"]

    def core(self, *command):
        run(*self.inside("core"), *command)

    def lose(self, name, percent):
        share = f"numgen random mod 100 < {percent} " if percent < 100 else ""
        for side in ("iifname", "oifname"):
            self.core("nft", f'add rule bridge f pass {side} "p-{name}" {share}drop')

    def cut(self, name):
        self.lose(name, 100)

    def delay(self, name, ms):
        """Each frame to and from it is held so long: the port leaves the switch, and the relay stands between."""
        self.core("ip", "link", "add", f"d-{name}", "type", "veth", "peer", "name", f"e-{name}")
        self.core("ip", "link", "set", f"e-{name}", "master", "sw", "up")
        self.core("ip", "link", "set", f"d-{name}", "up", "promisc", "on")
        self.core("ip", "link", "set", f"p-{name}", "nomaster", "promisc", "on")
        relay = subprocess.Popen([*self.inside("core"), "/usr/bin/python3", ROOT / "tests/support/delay_frames.py", f"p-{name}", f"d-{name}", str(ms)], stdout=subprocess.PIPE)
        self.relays[name] = relay
        assert relay.stdout.readline() == b"carrying\n"

    def heal(self):
        self.core("nft", "flush chain bridge f pass")
        for name, relay in self.relays.items():
            self.core("ip", "link", "set", f"p-{name}", "promisc", "off", "master", "sw")
            relay.kill()
            relay.wait()
            self.core("ip", "link", "del", f"d-{name}")
        self.relays = {}

    def close(self):
        self.heal()
        ends = [subprocess.Popen(["ip", "netns", "del", f"{self.prefix}-{name}"]) for name in ["core", *self.names]]
        for end in ends:
            end.wait()


# --- clocks ---


class Clock:
    """The wall clock of the processes that are started with it."""

    def __init__(self, path):
        self.path = pathlib.Path(path)
        self.path.write_bytes(bytes(8))

    def environment(self):
        # The sanitizer wants to come first, unless told that another does.
        options = ":".join(filter(None, [os.environ.get("ASAN_OPTIONS"), "verify_asan_link_order=0"]))
        return {"LD_PRELOAD": program("clock_step.so"), "PICKET_CLOCK_FILE": str(self.path), "ASAN_OPTIONS": options}

    def set_off(self, seconds):
        """So far from the true time, from now on."""
        with open(self.path, "r+b") as out:
            out.write(struct.pack("=q", seconds * 1_000_000))


# --- disks ---


class SmallDisk:
    """A file system of its own at a folder, that can be filled to the last byte."""

    def __init__(self, folder, size, options="mode=700"):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(mode=0o700, exist_ok=True)
        run("mount", "-t", "tmpfs", "-o", f"size={size},{options}", "tmpfs", self.folder)

    def fill(self):
        with open(self.folder / "balloon", "wb", buffering=0) as out:
            for block in (1 << 20, 1 << 12):
                try:
                    while True:
                        out.write(bytes(block))
                except OSError as error:
                    assert error.errno == errno.ENOSPC

    def free(self):
        (self.folder / "balloon").unlink(missing_ok=True)

    def close(self):
        subprocess.run(["umount", "-l", self.folder], check=False)


# --- PostgreSQL at the end of a link ---


class WiredPostgres(Postgres):
    """Reached by TCP on the switch (and by its unix socket, for the test itself), on a disk and with a clock of its own."""

    def __init__(self, folder, switch, size):
        self.switch, self.size, self.disk = switch, size, None
        self.clock = Clock(pathlib.Path(folder) / "clock")
        stepped = [f"{name}={value}" for name, value in self.clock.environment().items()]
        super().__init__(folder, [*switch.inside("db"), "env", *stepped])

    def make_room(self):
        owner = os.stat(self.folder)
        self.disk = SmallDisk(self.data, self.size, f"mode=700,uid={owner.st_uid},gid={owner.st_gid}")

    def settings(self):
        return (f"-c listen_addresses='{self.switch.address('db')}' -c unix_socket_directories='{self.folder}' -c shared_buffers=128MB -c max_wal_size=192MB"
                " -c max_connections=40")

    def start(self):
        with open(self.data / "pg_hba.conf", "a", encoding="utf-8") as rules:
            rules.write("host all all 10.77.0.0/24 trust\n")
        super().start()

    def wired(self, database):
        return f"host={self.switch.address('db')} user=picket dbname={database}"

    def use_up(self):
        """Its disk is full; it may have some room in files it has. Writes until that is gone and it says so."""
        def is_felt():
            try:
                with self.connect() as connection:
                    connection.execute("select pg_logical_emit_message(true, 'picket', 'x'), pg_switch_wal()")
            except psycopg.Error:
                pass
            return "No space left on device" in (self.folder / "log").read_text(errors="replace")
        wait_until(is_felt, 60, "PostgreSQL's trouble")

    def await_up(self):
        """It may have ended, or be at recovering: whoever supervises it starts it again."""
        def is_up():
            ready = subprocess.run([*self.prefix, self.bin / "pg_isready", "-q", "-h", self.folder, "-U", "picket", "-d", "postgres"], check=False).returncode == 0
            return ready or subprocess.run([*self.prefix, *self.start_command()], capture_output=True, cwd="/", check=False).returncode == 0
        wait_until(is_up, 60, "PostgreSQL")

    def drop(self, database):
        def is_dropped():
            try:
                with self.connect() as connection:
                    connection.execute(f"drop database if exists {database} with (force)")
                return True
            except psycopg.OperationalError:
                return False
        wait_until(is_dropped, 60, "the end of a database")

    def stop(self):
        super().stop()
        self.disk.close()


# --- captures ---


def stepped(source, target):
    """The same packets by a clock that goes an hour ahead after a third of them, and an hour behind after two thirds."""
    raw, starts, at = source.read_bytes(), [], 24
    while at < len(raw):
        starts.append(at)
        at += 16 + struct.unpack_from("<I", raw, at + 8)[0]
    data = bytearray(raw)
    for i, at in enumerate(starts):
        seconds = struct.unpack_from("<I", raw, at)[0]
        struct.pack_into("<I", data, at, seconds + (0, 3600, -3600)[i * 3 // len(starts)])
    target.write_bytes(data)


def counted(path):
    """What the model's own parser and pairing see: messages; answered transactions in scope, out of scope without data; sightings of RRsets."""
    zones = [dns.name.from_text(zone) for zone in ZONES]
    found = {"messages": sum(1 for _ in packets.messages(path)), "activity": 0, "negative": 0, "rrset": 0}
    for question, message, _ in rrsets.transactions(path):
        qname = question[0]
        if any(qname.is_subdomain(zone) for zone in zones):
            found["activity"] += 1
        elif message.rcode == rrsets.NXDOMAIN or not message.section("answer"):
            found["negative"] += 1
        found["rrset"] += len(rrsets.of_response(question, message))
    return found


def one_capture(folder, n_transactions, seed, spacing_us=SPACING_US):
    recipe = [ROOT / "tests/bench/make_capture.py", *sorted((ROOT / "tests/system/model").glob("*.py"))]
    version = hashlib.sha256(b"".join(part.read_bytes() for part in recipe) + inspect.getsource(counted).encode()).hexdigest()[:12]
    spacing = "" if spacing_us == SPACING_US else f"-{spacing_us}us"
    path = folder / f"{n_transactions}-{seed}{spacing}-{version}.pcap"
    numbers = path.with_suffix(".json")
    if not numbers.exists():
        run(sys.executable, ROOT / "tests/bench/make_capture.py", path, n_transactions, seed, spacing_us)
        numbers.write_text(json.dumps(counted(path)))
    return path, json.loads(numbers.read_text())


def captures(folder, n_sensors, n_transactions, spacing_us=SPACING_US):
    """Captures and the sums over all of them; made once in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with concurrent.futures.ProcessPoolExecutor(2) as pool:
        made = list(pool.map(one_capture, [folder] * n_sensors, [n_transactions] * n_sensors, range(1, n_sensors + 1), [spacing_us] * n_sensors))
    return [path for path, _ in made], {key: sum(numbers[key] for _, numbers in made) for key in made[0][1]}
