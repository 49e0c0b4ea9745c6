"""Detection asks the stored history: live, and again after a restart that knows less and more than it did."""
import calendar
import datetime
import json
import subprocess
import time
import urllib.request

from model import craft
from pg_support import CAPTURES, wait_until

STRANGER, SERVER = "203.0.113.66", "192.0.2.53"
LIVES = {"kestrel": ((2019, 3, 1), (2019, 9, 1)), "osprey7": ((2020, 1, 1), (2020, 8, 1)), "nf-gate": ((2021, 2, 1), (2021, 3, 1)), "merlinx": ((2022, 1, 1), (2023, 1, 1))}


def day_us(day):
    return calendar.timegm((*day, 12, 0, 0)) * 1000000


def exchange(at_us, client, name, number, data=None):
    query = craft.query(name, message_id=number)
    answer = craft.response(query, answer=[data] if data else [], aa=True, rcode="NOERROR" if data else "NXDOMAIN",
                            authority=[] if data else ["acme.example. 300 SOA ns.acme.example. h.acme.example. 1 2 3 4 300"])
    return [(at_us, craft.udp(client, 30000 + number, SERVER, 53, craft.wire(query))), (at_us + 2000, craft.udp(SERVER, 53, client, 30000 + number, craft.wire(answer)))]


def metric(mesh, name):
    text = urllib.request.urlopen(f"http://127.0.0.1:{mesh.metrics_port}/metrics", timeout=30).read().decode()
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith(name + " "))


def ship(mesh, site, frames):
    path = mesh.folder / f"{site}.pcap"
    path.write_bytes(craft.pcap(sorted(frames)))
    name = mesh.add_sensor(site)
    process = mesh.start(name, "picket-sensor", "--config", mesh.sensor_config(name, site, [path]))
    assert process.wait(120) == 0, mesh.log(name)[-2000:]


def of_history(mesh):
    return [f for f in mesh.findings() if f["detector"] == "D11"]


def test_a_name_of_stored_history_is_known_live_and_again(mesh):
    one = mesh()
    moments = [(day_us(day), name) for name, life in LIVES.items() for day in life]
    ship(one, "hq", sum((exchange(at, "198.18.0.9", f"{name}.acme.example.", i, f"{name}.acme.example. 300 A 192.0.2.{i}") for i, (at, name) in enumerate(moments)), []))
    wait_until(lambda: metric(one, "picket_retired_names") == 4, 60, "the walk over history")
    now_us = int(time.time() * 1000000)
    ship(one, "branch", sum((exchange(now_us + i * 1000000, STRANGER, f"{name}.acme.example.", i) for i, name in enumerate(LIVES)), []))
    found = wait_until(lambda: of_history(one), 60, "the finding")
    assert found[0]["actor"]["key"] == STRANGER and found[0]["severity"] == 4, found

    # One of the names comes back. What was known when the stranger asked stays what it was.
    with one.postgres.connect(one.database) as connection:
        connection.execute("update rrset_stat s set last_us = %s from rrset r where r.rrset_key = s.rrset_key and position('kestrel' in encode(r.owner, 'escape')) > 0", (now_us,))
        wait_until(lambda: connection.execute("select count(*) from retired_name where to_seq < 9223372036854775807").fetchone()[0] == 1, 60, "the name's return")
        one.processes["aggregator"].kill()
        one.processes["aggregator"].wait()
        connection.execute("delete from detection_state")
        connection.execute("delete from finding")
    one.start_aggregator()
    assert wait_until(lambda: of_history(one), 60, "the finding again") == found


def hunt(mesh, *arguments):
    done = subprocess.run([mesh.programs["picket-aggregator"], "replay", "--config", mesh.config, "--tenant", "acme", *map(str, arguments)], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return [line["coverage"] for line in lines if "coverage" in line], [line for line in lines if "coverage" not in line], json.loads(done.stderr.splitlines()[-1])


def test_a_hunt_in_the_past_says_what_nobody_watched(mesh, tmp_path):
    one = mesh()
    for site in ("hq", "branch", "cloud"):
        one.add_sensor(site)
        process = one.start(f"{site}-1", "picket-sensor", "--config", one.sensor_config(f"{site}-1", site, [CAPTURES / f"{site}.pcap"]))
        assert process.wait(120) == 0
    live = wait_until(lambda: len(one.findings()) >= 3 and one.findings(), 60, "the findings")
    with one.postgres.connect(one.database) as connection:
        first, last = connection.execute("select min(window_start_us), max(window_start_us) from health").fetchone()
        connection.execute("update scope_version set from_us = %s", (first + 1000000,))

    # The whole time: the same detection, and the zones were watched from their scope on.
    coverage, found, counters = hunt(one, "--from", "2020-01-01", "--to", "2030-01-01")
    assert {f["detector"] for f in found} == {f["detector"] for f in live} and {f["id"] for f in found} == {f["id"] for f in live}
    assert counters["rows"] == one.table("select count(*) from activity")[0][0] > 0
    assert {c["zone"] for c in coverage} == {"acme.example.", "acme-corp.example."}
    for zone in coverage:
        assert us(zone["since"]) == first + 1000000
        assert [(us(p["from"]), us(p["to"])) for p in zone["watched"]] == [(first + 1000000, last)]
        assert [us(p["to"]) for p in zone["not_watched"]] == [first + 1000000, us("2030-01-01T00:00:00Z")]

    # Silence of before is not clean, nor is that of a zone nobody ever watched.
    coverage, found, counters = hunt(one, "--from", "2020-01-01", "--to", "2020-02-01")
    assert found == [] and counters["rows"] == 0
    assert all(c["watched"] == [] and len(c["not_watched"]) == 1 for c in coverage) and len(coverage) == 2
    other = tmp_path / "other.yaml"
    other.write_text(json.dumps({"tenants": [{"name": "acme", "sites": ["hq", "branch", "cloud"], "zones": ["acme.example", "never.example"]}]}))
    coverage, found, _ = hunt(one, "--scope", other, "--from", "2020-01-01", "--to", "2030-01-01")
    assert {c["zone"]: c["since"] is not None for c in coverage} == {"acme.example.": True, "never.example.": False}
    assert found

    done = subprocess.run([one.programs["picket-aggregator"], "replay", "--config", one.config, "--tenant", "nobody", "--from", "2020-01-01", "--to", "2021-01-01"],
                          capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 78 and "no such tenant" in done.stderr


def us(text):
    return round(datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1000000)
