"""What a person gets for a mistake: a sentence that says what would be right, and the exit status of its kind."""
import re
import subprocess
import urllib.request

import pytest

from pg_support import CAPTURES

USAGE, NOT_ALLOWED = 64, 77


def run(*command, **options):
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, timeout=60, **options)


@pytest.mark.parametrize("site", ["", "/", "acme/", "/hq", "acme/hq/", "acme/hq/rack"])
def test_a_site_that_is_none_is_refused(sensor, tmp_path, site):
    done = run(sensor, "--read", CAPTURES / "hq.pcap", "--site", site, "--write", tmp_path / "out.psp")
    assert done.returncode == USAGE and "TENANT/SITE" in done.stderr
    assert not (tmp_path / "out.psp").exists()


def test_a_tenants_key_does_not_answer_for_another_tenant(mesh, ctl):
    one = mesh()
    key = one.ctl("key", "add", "--name", "reader", "--tenant", "acme").strip()
    environment = {**one.environment, "PICKET_API_KEY": key}
    for command in (["findings"], ["sensors"], ["lookup", "www.acme.example"]):
        assert run(ctl, *command, env=environment).returncode == 0
        assert run(ctl, *command, "--tenant", "acme", env=environment).returncode == 0
        done = run(ctl, *command, "--tenant", "other", env=environment)
        assert done.returncode == NOT_ALLOWED and "not for that tenant" in done.stderr and done.stdout == ""


def test_metrics_are_named_as_prometheus_wants(mesh):
    one = mesh()
    for port in (one.metrics_port, one.api_port):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
            text = answer.read().decode()
        samples = re.findall(r"^([a-z_]+)(?:\{[^}]*\})? (\S+)$", text, re.M)
        assert samples and len(samples) == sum(not line.startswith("#") for line in text.splitlines())
        for name, value in samples:
            float(value)
            kind = re.search(rf"^# TYPE {name} (\w+)$", text, re.M)
            assert re.search(rf"^# HELP {name} \S+", text, re.M) and kind, name
            assert name.startswith("picket_") and name.endswith("_total") == (kind[1] == "counter"), name
            assert not re.search("micro|milli|_us|_ms|_mb|_kb", name), f"{name}: base units only"


@pytest.mark.parametrize("line, key", [("lissen: tcp://127.0.0.1:1", "lissen"), ("metrics: {port: many}", "port"), ("metrics: {port: 70000}", "port")])
def test_a_configuration_names_file_line_and_key(aggregator, tmp_path, line, key):
    path = tmp_path / "wrong.yaml"
    path.write_text(f"database: 'host=/nowhere'\nkey_file: {tmp_path}/server.key\n{line}\n")
    done = run(aggregator, "--config", path)
    assert done.returncode == 78 and f"{path}:3: " in done.stderr and key in done.stderr
