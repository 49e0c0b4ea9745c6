"""A private PostgreSQL for the session, a fresh database and a whole mesh for a test. Works as root too, where PostgreSQL refuses to run."""
import json
import os
import pathlib
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import psycopg
import pytest

CAPTURES = pathlib.Path(__file__).resolve().parents[1] / "data/captures"


def wait_until(condition, seconds=60, what="the condition"):
    """Waits for a condition with a deadline ten times what it ever takes; returns its value."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"{what} did not come within {seconds} s"
        time.sleep(0.02)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Postgres:
    """A cluster of its own on a unix socket; can be killed and started again. `around` goes before each of its commands."""

    def __init__(self, folder, around=()):
        self.folder = pathlib.Path(folder)
        found = subprocess.run(["pg_config", "--bindir"], capture_output=True, text=True, check=False).stdout.strip()
        candidates = [pathlib.Path(found)] + sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
        self.bin = next((c for c in candidates if (c / "initdb").exists()), None)
        if self.bin is None:
            pytest.skip("no PostgreSQL server programs on this machine")
        self.prefix = [*around]
        if os.geteuid() == 0:
            owner = "postgres" if any(p.pw_name == "postgres" for p in pwd.getpwall()) else "nobody"
            entry = pwd.getpwnam(owner)
            self.prefix += ["setpriv", f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", "--clear-groups"]
            os.chown(self.folder, entry.pw_uid, entry.pw_gid)
        self.data = self.folder / "data"
        self.make_room()
        self.run(self.bin / "initdb", "-D", self.data, "-U", "picket", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync")
        self.start()

    def make_room(self):
        """Before the cluster is made, for those who want its folder to be something else."""

    def run(self, *command):
        done = subprocess.run([*self.prefix, *map(str, command)], capture_output=True, text=True, cwd="/", check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    def settings(self):
        return f"-c listen_addresses='' -c unix_socket_directories='{self.folder}' -c shared_buffers=32MB"

    def start_command(self):
        return [str(self.bin / "pg_ctl"), "-D", str(self.data), "-w", "-t", "60", "-l", str(self.folder / "log"), "-o", self.settings(), "start"]

    def start(self):
        self.run(*self.start_command())

    def stop(self):
        subprocess.run([*self.prefix, str(self.bin / "pg_ctl"), "-D", str(self.data), "-m", "immediate", "-w", "stop"], capture_output=True, cwd="/", check=False)

    def kill(self):
        """kill -9 of the postmaster; its children notice and end."""
        os.kill(int((self.data / "postmaster.pid").read_text().split()[0]), signal.SIGKILL)

    def restart_after_kill(self):
        wait_until(lambda: subprocess.run([*self.prefix, *self.start_command()], capture_output=True, cwd="/", check=False).returncode == 0, 60, "PostgreSQL")

    def conninfo(self, database):
        return f"host={self.folder} user=picket dbname={database}"

    def connect(self, database="postgres"):
        return psycopg.connect(self.conninfo(database), autocommit=True)


@pytest.fixture(scope="session")
def postgres():
    folder = tempfile.mkdtemp(prefix="picket-pg-", dir="/tmp")  # a socket's path must be short
    os.chmod(folder, 0o755)
    cluster = Postgres(folder)
    yield cluster
    cluster.stop()
    shutil.rmtree(folder, ignore_errors=True)


_numbers = iter(range(1, 10**6))


class Mesh:
    """Database, aggregator, API, and sensors that read recorded captures."""

    def __init__(self, folder, postgres, programs, scope=CAPTURES / "scope.yaml"):
        self.folder, self.postgres, self.programs, self.scope = pathlib.Path(folder), postgres, programs, scope
        self.database = f"picket_{next(_numbers)}"
        with postgres.connect() as connection:
            connection.execute(f"create database {self.database}")
        self.port, self.metrics_port, self.api_port, self.enrol_port = free_port(), free_port(), free_port(), free_port()
        self.processes = {}
        self.config = self.write("aggregator.yaml", {
            "database": postgres.conninfo(self.database), "listen": f"tcp://127.0.0.1:{self.port}", "key_file": str(self.folder / "server.key"),
            "enrol": {"listen": f"tcp://127.0.0.1:{self.enrol_port}"}, "metrics": {"port": self.metrics_port}, "detection": {"state_interval_s": 1}})
        self.server_key = self.call("picket-aggregator", "genkey", self.folder / "server.key").strip()
        self.call("picket-aggregator", "migrate", "--config", self.config)
        self.start_aggregator()
        api = self.write("api.yaml", {"database": postgres.conninfo(self.database), "port": self.api_port})
        self.start("api", "picket-api", "--config", api)
        self.environment = {**os.environ, "PICKET_SERVER": f"http://127.0.0.1:{self.api_port}"}
        self.environment["PICKET_API_KEY"] = wait_until(lambda: self.try_ctl("bootstrap"), 30, "the API").strip()
        self.ctl("apply", "-f", str(scope))

    def write(self, name, value):
        path = self.folder / name
        path.write_text(json.dumps(value))  # JSON is YAML
        return path

    def call(self, program, *arguments):
        done = subprocess.run([self.programs[program], *map(str, arguments)], capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, f"{program} {arguments}: {done.stderr}"
        return done.stdout

    def start(self, name, program, *arguments, environment=None):
        log = open(self.folder / f"{name}.log", "ab")
        self.processes[name] = subprocess.Popen([self.programs[program], *map(str, arguments)], stdout=log, stderr=log, cwd=self.folder,
                                                env={**os.environ, **(environment or {})})
        log.close()
        return self.processes[name]

    def start_aggregator(self):
        """Comes up also when PostgreSQL is not there yet: a supervisor would try again, and so do we."""
        def up():
            process = self.processes.get("aggregator")
            if process is None or process.poll() is not None:
                self.start("aggregator", "picket-aggregator", "--config", self.config)
            return self.log("aggregator").count("listening") > self.listened
        self.listened = self.log("aggregator").count("listening")
        wait_until(up, 60, "the aggregator")

    def log(self, name):
        path = self.folder / f"{name}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def try_ctl(self, *arguments):
        done = subprocess.run([self.programs["picketctl"], *arguments], capture_output=True, text=True, check=False, env=self.environment, timeout=60)
        return done.stdout if done.returncode == 0 else None

    def ctl(self, *arguments):
        done = subprocess.run([self.programs["picketctl"], *arguments], capture_output=True, text=True, check=False, env=self.environment, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def add_sensor(self, site, name=None):
        """Keys and configuration of a sensor at acme/<site>; returns the configuration's path."""
        name = name or f"{site}-1"
        public = self.call("picket-sensor", "genkey", self.folder / f"{name}.key").strip()
        self.ctl("sensor", "add", "--site", f"acme/{site}", "--name", name, "--pubkey", public)
        return name

    def sensor_config(self, name, site, captures):
        return self.write(f"{name}.yaml", {
            "sensor": name, "site": f"acme/{site}", "scope": str(self.scope), "key_file": str(self.folder / f"{name}.key"), "window_s": 1,
            "capture": {"read": [str(c) for c in captures]}, "spool": {"folder": str(self.folder / f"spool-{name}")},
            "aggregator": {"endpoints": [f"tcp://127.0.0.1:{self.port}"], "server_key": self.server_key}})

    def wait_for_keys(self, n):
        wait_until(lambda: f"sensors={n}" in self.log("aggregator"), 30, "the sensors' keys")

    def findings(self):
        return [json.loads(line) for line in self.ctl("findings", "--tenant", "acme", "--json").splitlines()]

    def table(self, query):
        with self.postgres.connect(self.database) as connection:
            return sorted(connection.execute(query).fetchall(), key=repr)

    def close(self):
        for process in self.processes.values():
            if process.poll() is None:
                process.terminate()
        for process in self.processes.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.fixture
def mesh(tmp_path, postgres, sensor, aggregator, api, ctl):
    programs = {"picket-sensor": sensor, "picket-aggregator": aggregator, "picket-api": api, "picketctl": ctl}
    made = []

    def make(**options):
        folder = tmp_path / f"mesh{len(made)}"
        folder.mkdir()
        made.append(Mesh(folder, postgres, programs, **options))
        return made[-1]
    yield make
    for one in made:
        one.close()
