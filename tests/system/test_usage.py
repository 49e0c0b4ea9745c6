"""What a person gets for a mistake: a sentence that says what would be right, and the exit status of its kind."""
import re
import subprocess
import urllib.request

import pytest

from pg_support import CAPTURES

USAGE, DATA_ERROR, NO_INPUT, NOT_ALLOWED = 64, 65, 66, 77


def run(*command, **options):
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, timeout=60, **options)


@pytest.mark.parametrize("site", ["", "/", "acme/", "/hq", "acme/hq/", "acme/hq/rack"])
def test_a_site_that_is_none_is_refused(sensor, tmp_path, site):
    done = run(sensor, "--read", CAPTURES / "hq.pcap", "--site", site, "--write", tmp_path / "out.psp")
    assert done.returncode == USAGE and "TENANT/SITE" in done.stderr
    assert not (tmp_path / "out.psp").exists()


def test_a_key_file_that_is_missing_open_to_others_or_damaged_ends_with_its_own_status(sensor, ctl, tmp_path):
    good, text = tmp_path / "client.key", "picket-client-key-1 " + "ab" * 32 + "\n"
    damaged = tmp_path / "damaged.key"
    good.write_text(text)
    damaged.write_text(text[:40])
    damaged.chmod(0o600)
    good.chmod(0o644)
    for key, status in ((tmp_path / "none.key", NO_INPUT), (good, NOT_ALLOWED), (damaged, DATA_ERROR)):
        done = run(sensor, "--read", CAPTURES / "hq.pcap", "--site", "acme/hq", "--scope", CAPTURES / "scope.yaml", "--client-key", key, "--write", tmp_path / "out.psp")
        assert done.returncode == status and str(key) in done.stderr, done
        done = run(ctl, "resolve", "0123456789abcdef", "--client-key", key)
        assert done.returncode == status and str(key) in done.stderr, done
        config = tmp_path / "sensor.yaml"
        config.write_text(f"{{sensor: hq-1, site: acme/hq, key_file: {key}, scope: {CAPTURES / 'scope.yaml'}, capture: {{read: [{CAPTURES / 'hq.pcap'}]}}, spool: {{memory: true}},"
                          " aggregator: {endpoints: ['tcp://127.0.0.1:9'], server_key: 'rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7'}}")
        done = run(sensor, "--config", config)
        assert done.returncode == status and str(key) in done.stderr, done
    done = run(sensor, "--read", CAPTURES / "hq.pcap", "--site", "acme/hq", "--scope", tmp_path / "none.yaml", "--write", tmp_path / "out.psp")
    assert done.returncode == NO_INPUT, done


def test_a_token_of_another_beginning_says_what_to_check(sensor, tmp_path):
    done = run(sensor, "enroll", "picket2.AAAA", "--config", tmp_path / "made")
    assert done.returncode == DATA_ERROR and "copy it again" in done.stderr and "newer kind" in done.stderr
    assert not (tmp_path / "made").exists()


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
