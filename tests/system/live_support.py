"""A network namespace with pairs of veth, a raw sender and the sensor in it. Needs root, or is skipped with the reason."""
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile

import pytest
from conftest import program
from pg_support import wait_until


def ip(*arguments):
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, (arguments, done.stderr)


class Run:
    """A sensor that runs; its standard error goes to a file that tests wait on."""

    def __init__(self, lab, command, environment=None):
        self.log_path = lab.folder / f"log-{len(lab.runs)}"
        self.output_path = lab.folder / f"out-{len(lab.runs)}"
        # A process that may not be traced cannot be searched for leaks by the sanitizer's runtime.
        environment = {**os.environ, "ASAN_OPTIONS": "handle_segv=2:detect_leaks=0", **(environment or {})}
        with open(self.log_path, "wb") as log, open(self.output_path, "wb") as output:
            self.process = subprocess.Popen(["ip", "netns", "exec", lab.name, *map(str, command)], stderr=log, stdout=output, env=environment)
        lab.runs.append(self)

    def log(self):
        return self.log_path.read_text()

    def wait_for(self, text, times=1):
        def there():
            assert self.process.poll() is None or self.log().count(text) >= times, self.log()
            return self.log().count(text) >= times
        wait_until(there, 30, text)

    def status(self):
        lines = pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}

    def stop(self, expected=0):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(60) == expected, self.log()
        return self.counters()

    def counters(self):
        return json.loads(self.log().splitlines()[-1])


class Lab:
    def __init__(self):
        self.name = f"picket-live-{os.getpid()}"
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="picket-live-"))
        self.folder.chmod(0o755)  # the sensor's own user comes through here
        self.runs = []
        self.next_pair = 0
        done = subprocess.run(["ip", "netns", "add", self.name], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            shutil.rmtree(self.folder)
            pytest.skip(f"network namespaces are not permitted here: {done.stderr.strip()}")
        self.exec("sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1")  # no frames but ours
        ip("-n", self.name, "link", "set", "lo", "up")

    def exec(self, *command):
        done = subprocess.run(["ip", "netns", "exec", self.name, *map(str, command)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, (command, done.stderr)
        return done.stdout

    def pair(self, one, other):
        ip("-n", self.name, "link", "add", one, "type", "veth", "peer", "name", other)
        for name in (one, other):
            self.set(name, "up")

    def set(self, name, *what):
        ip("-n", self.name, "link", "set", name, *what)

    def remove(self, name):
        ip("-n", self.name, "link", "del", name)

    def send(self, interface, pairs, rate=20000):
        """Frames that have left: two a pair."""
        words = self.exec(program("send_dns"), interface, rate, 60, pairs, self.next_pair).split()
        self.next_pair += pairs  # none is a copy of an earlier one
        return int(words[1])

    def sensor(self, *arguments):
        return Run(self, [program("picket-sensor"), *arguments])

    def config(self, interfaces, **changes):
        """sensor.yaml with an aggregator that is away; keys of `capture` by capture_NAME."""
        folder = self.folder
        scope = folder / "scope.yaml"
        if not scope.exists():
            scope.write_text("tenants:\n  - {name: acme, sites: [hq], zones: [acme.example]}\n")
        key = folder / "sensor.key"
        if not key.exists():
            subprocess.run([program("picket-sensor"), "genkey", key], check=True, capture_output=True)
        server_key = subprocess.run([program("picket-sensor"), "genkey", folder / f"scrap-{os.urandom(4).hex()}"], check=True, capture_output=True, text=True).stdout.strip()
        content = {
            "sensor": "hq-1", "site": "acme/hq", "scope": str(scope), "key_file": str(key), "window_s": 1,
            "capture": {"interfaces": interfaces, "user": "nobody"}, "spool": {"folder": str(folder / "spool")},
            "aggregator": {"endpoints": ["tcp://127.0.0.1:9"], "server_key": server_key}}
        for name, value in changes.items():
            if name.startswith("capture_"):
                content["capture"][name.removeprefix("capture_")] = value
            else:
                content[name] = value
        path = folder / "sensor.yaml"
        path.write_text(json.dumps(content, indent=1))  # JSON is YAML
        return path

    def daemon(self, config):
        return Run(self, [program("picket-sensor"), "--config", config])

    def close(self):
        for run in self.runs:
            if run.process.poll() is None:
                run.process.send_signal(signal.SIGCONT)
                run.process.kill()
            run.process.wait()
        subprocess.run(["ip", "netns", "del", self.name], check=False)
        shutil.rmtree(self.folder, ignore_errors=True)
