"""No program leaves its secrets in a core file, and no other process of its user reads them."""
import base64
import contextlib
import os
import pathlib
import pwd
import resource
import shutil
import socket
import subprocess
import tempfile

import msgpack
import pytest
import zmq
import zmq.utils.z85
from pg_support import free_port, wait_until

UNPRIVILEGED = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"] if os.geteuid() == 0 else []


def is_sanitized(program):
    return b"__asan_init" in pathlib.Path(program).read_bytes()


@pytest.fixture
def folder():
    """One that the user nobody may use; pytest's own are root's."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="picket-secrets-", dir="/tmp"))
    if os.geteuid() == 0:
        os.chown(path, pwd.getpwnam("nobody").pw_uid, -1)
    yield path
    shutil.rmtree(path)


@contextlib.contextmanager
def silent_server():
    """Takes connections and says nothing: whoever asks waits."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen(8)
        yield s.getsockname()[1]


@contextlib.contextmanager
def running(*command, **options):
    """With core files allowed, as far as its parent is concerned."""
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    process = subprocess.Popen([*UNPRIVILEGED, "prlimit", f"--core={hard if hard != resource.RLIM_INFINITY else 'unlimited'}", *map(str, command)],
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def core_limit(pid):
    line = next(line for line in pathlib.Path(f"/proc/{pid}/limits").read_text().splitlines() if line.startswith("Max core file size"))
    return line.split()[4:6]


def check_hidden(process, program):
    """/proc of a process that may not be dumped is root's, whoever runs it."""
    wait_until(lambda: pathlib.Path(f"/proc/{process.pid}/exe").resolve() == pathlib.Path(program).resolve() and core_limit(process.pid) == ["0", "0"], 20, "no core files")
    if not is_sanitized(program):
        wait_until(lambda: os.stat(f"/proc/{process.pid}/mem").st_uid == 0, 20, "no reading of its memory")
    assert process.poll() is None, "it was at work meanwhile"


def test_the_sensor_while_it_enrolls(sensor, folder):
    public, _ = zmq.curve_keypair()
    with silent_server() as port:
        fields = {1: f"tcp://127.0.0.1:{port}", 2: zmq.utils.z85.decode(public), 3: bytes(16), 4: bytes(32)}
        token = "picket1." + base64.urlsafe_b64encode(msgpack.packb(fields, use_bin_type=True)).decode().rstrip("=")
        with running(sensor, "enroll", "--config", folder / "etc", env={**os.environ, "PICKET_TOKEN": token}) as process:
            check_hidden(process, sensor)


def test_picketctl_with_its_key(ctl, folder):
    with silent_server() as port, running(ctl, "enroll", "--site", "acme/hq", cwd=folder, env={**os.environ, "PICKET_SERVER": f"http://127.0.0.1:{port}", "PICKET_API_KEY": "secret"}) as process:
        check_hidden(process, ctl)


def test_the_api_with_its_database(api, folder):
    with silent_server() as port:
        (folder / "api.yaml").write_text(f"database: host=127.0.0.1 port={port} user=picket password=secret dbname=x\nport: {free_port()}\n")
        with running(api, "--config", folder / "api.yaml") as process:
            check_hidden(process, api)


def test_the_aggregator_with_the_servers_key(aggregator, folder):
    subprocess.run([*UNPRIVILEGED, aggregator, "genkey", folder / "server.key"], check=True, capture_output=True, env={**os.environ, "ASAN_OPTIONS": "detect_leaks=0"})
    with silent_server() as port:
        (folder / "aggregator.yaml").write_text(f"database: host=127.0.0.1 port={port} user=picket dbname=x\nlisten: tcp://127.0.0.1:{free_port()}\nkey_file: {folder}/server.key\nmetrics: {{port: 0}}\n")
        with running(aggregator, "--config", folder / "aggregator.yaml") as process:
            check_hidden(process, aggregator)
