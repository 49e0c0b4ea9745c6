"""Sensors to store, with real processes and a real PostgreSQL: nothing lost, nothing twice, whoever is killed."""
import os
import random
import re
import subprocess

from pg_support import CAPTURES, wait_until
from test_clock import restamp

SITES = ("hq", "branch", "cloud")

TABLES = {
    "rrset": "select owner, type, class, rdata, bailiwick, trust, count, first_us, last_us, ttl_min_s, ttl_max_s from rrset join rrset_stat using (tenant_id, rrset_key)",
    "rrset_site": "select s.name, r.owner, r.type, r.rdata, rs.count, rs.first_us, rs.last_us from rrset_site rs join rrset r using (tenant_id, rrset_key) join site s using (tenant_id, site_id)",
    "negative": "select s.name, n.name, type, class, rcode, count, first_us, last_us from negative n join site s using (tenant_id, site_id)",
    "activity": "select s.name, host(client), encode(pseudonym, 'hex'), a.name, qtype, host(server), transport, answer, rcode, flags, first_us, span_us, count, answer_digest,"
                " transfer_records from activity a join site s using (tenant_id, site_id)",
    "health": "select se.name, window_start_us, counters[2:32] from health h join sensor se using (tenant_id, sensor_id)",
    "finding": "select id, detector, severity, (finding::json->>'score'), json_array_length(finding::json->'sites') from finding",
}


def ship(mesh, sites=SITES):
    """All sensors at once; returns their processes."""
    started = []
    for site in sites:
        mesh.add_sensor(site)
    mesh.wait_for_keys(len(sites))
    for site in sites:
        config = mesh.sensor_config(f"{site}-1", site, [CAPTURES / f"{site}.pcap"])
        started.append(mesh.start(f"{site}-1", "picket-sensor", "--config", config))
    return started


def finish(mesh, sensors):
    for process in sensors:
        assert process.wait(180) == 0, mesh.log("hq-1")[-2000:]
    wait_until(lambda: len(mesh.findings()) >= 3, 60, "the findings")


def contents(mesh):
    return {name: mesh.table(query) for name, query in TABLES.items()}


def test_undisturbed_and_killed_runs_leave_equal_tables(mesh, postgres):
    """kill -9 of the aggregator, of its ingest child and of PostgreSQL, at random moments of a run."""
    calm = mesh()
    finish(calm, ship(calm))
    wanted = contents(calm)
    n_batches = batches(calm, postgres)
    assert wanted["rrset"] and wanted["activity"] and wanted["negative"] and len(wanted["finding"]) == 3
    calm.close()
    seed = int(os.environ.get("PICKET_SEED", random.SystemRandom().randrange(10**6)))
    print("PICKET_SEED =", seed)
    dice = random.Random(seed)
    for round_number, victim in enumerate(("aggregator", "child", "postgres", "aggregator")):
        while True:
            stormy = mesh()
            sensors = ship(stormy)
            n_struck = 0
            for hits in sorted(dice.sample(range(n_batches), 2)):
                wait_until(lambda: all(s.poll() is not None for s in sensors) or batches(stormy, postgres) >= hits, 60, "progress")
                n_struck += any(s.poll() is None for s in sensors)
                strike(stormy, postgres, victim)
            finish(stormy, sensors)
            if n_struck:
                break
            stormy.close()  # nobody was there to be disturbed: again
        have = contents(stormy)
        for name, rows in wanted.items():
            assert have[name] == rows, f"round {round_number} ({victim}): table {name} differs"
        stormy.close()


def batches(mesh, postgres):
    with postgres.connect(mesh.database) as connection:
        return connection.execute("select count(*) from ingest_mark").fetchone()[0]


def strike(mesh, postgres, victim):
    process = mesh.processes["aggregator"]
    if victim == "aggregator":
        process.kill()
        process.wait()
        mesh.start_aggregator()
    elif victim == "child":
        subprocess.run(["pkill", "-KILL", "-P", str(process.pid)], check=False)
    else:
        postgres.kill()
        postgres.restart_after_kill()


def test_the_ledger_by_hour_sums_what_was_stored_and_outlives_health(mesh):
    import json
    one = mesh()
    finish(one, ship(one))
    whole = {row["sensor"]: row for row in map(json.loads, one.ctl("sensors", "--tenant", "acme", "--json").splitlines())}
    with one.postgres.connect(one.database) as connection:
        connection.execute("delete from health")
    hours = [json.loads(line) for line in one.ctl("sensors", "--tenant", "acme", "--hours", "10000000", "--json").splitlines()]
    assert {row["sensor"] for row in hours} == set(whole)
    for name, row in whole.items():
        mine = [h for h in hours if h["sensor"] == name]
        for key in ("messages", "transactions", "packets"):
            assert sum(h[key] for h in mine) == row["counters"][key] > 0
        for key in ("stored_activity", "stored_negative", "stored_rrset", "batches"):
            assert sum(h[key] for h in mine) == row[key], key
    one.ctl("sensors", "--tenant", "acme", "--hours", "24")


def test_shipping_a_psp_file_twice_changes_nothing(mesh, sensor, tmp_path):
    one = mesh()
    one.add_sensor("hq")
    one.wait_for_keys(1)
    config = one.sensor_config("hq-1", "hq", [CAPTURES / "hq.pcap"])
    psp = tmp_path / "hq.psp"
    subprocess.run([sensor, "--read", str(CAPTURES / "hq.pcap"), "--site", "acme/hq", "--scope", str(one.scope), "--write", str(psp)], check=True, capture_output=True)
    one.call("picket-sensor", "--config", config, "--ship", psp)
    first = contents(one)
    assert first["activity"] and first["rrset"]
    one.call("picket-sensor", "--config", config, "--ship", psp)
    assert contents(one) == first


def test_a_transaction_asks_for_a_days_partitions_once(mesh, postgres, tmp_path):
    """However many of its rows lie on that day, and however long ago it was: a site that was away sends old days."""
    one = mesh()
    one.add_sensor("hq")
    one.wait_for_keys(1)
    restamp(CAPTURES / "hq.pcap", tmp_path / "old.pcap", (-5 * 86400,))
    before = (postgres.folder / "log").stat().st_size

    def set_log(to):
        with postgres.connect() as connection:
            connection.execute(f"alter system set log_statement = {to}")
            connection.execute("select pg_reload_conf()")
    set_log("'all'")
    try:
        assert one.start("hq-1", "picket-sensor", "--config", one.sensor_config("hq-1", "hq", [tmp_path / "old.pcap"])).wait(60) == 0, one.log("hq-1")[-2000:]
    finally:
        set_log("default")
    rows = one.table("select (select count(*) from activity) + (select count(*) from negative) + (select count(*) from client_count), (select max(day) < current_date - 2 from activity)")
    assert rows[0][0] > 20 and rows[0][1], "many rows, all of them old"
    asked, doing = [], {}  # of each backend: the days its transaction has asked for
    for line in (postgres.folder / "log").read_bytes()[before:].decode(errors="replace").splitlines():
        backend = re.search(r"\[(\d+)\] (?:LOG:  (?:statement|execute [^:]*): (.*)|DETAIL:  (?:[Pp]arameters: )(.*))", line)
        if not backend:
            continue
        pid, statement, parameters = backend.groups()
        transaction, last = doing.get(pid, (0, ""))
        if statement is not None:
            doing[pid] = (transaction + (statement.strip().lower() == "begin"), statement)
        elif "picket_ensure_day" in last:
            asked.append((pid, transaction, parameters))
    assert asked, "the days were made"
    assert len(asked) == len(set(asked)), sorted(asked)


def test_unknown_key_gets_nothing_in(mesh):
    one = mesh()
    stranger = one.call("picket-sensor", "genkey", one.folder / "hq-1.key")
    assert stranger
    config = one.sensor_config("hq-1", "hq", [CAPTURES / "hq.pcap"])
    process = one.start("hq-1", "picket-sensor", "--config", config)
    wait_until(lambda: "does not know this key" in one.log("hq-1"), 60, "the refusal")
    assert one.table("select * from ingest_mark") == []
    # The administrator adds the key: the sensor comes in by itself.
    one.ctl("sensor", "add", "--site", "acme/hq", "--name", "hq-1", "--pubkey", stranger.strip())
    assert process.wait(120) == 0
    assert one.table("select count(*) > 0 from activity") == [(True,)]


def test_loss_ledger_balances_and_tenants_are_apart(mesh):
    import json
    one = mesh()
    finish(one, ship(one))
    for row in map(json.loads, one.ctl("sensors", "--tenant", "acme", "--json").splitlines()):
        assert row["balanced"] and row["lost"] == 0
        assert row["counters"]["transactions"] == row["counters"]["in_scope"] + row["counters"]["negative"] + row["counters"]["positive"]
    with one.postgres.connect(one.database) as connection:
        connection.execute("insert into tenant (tenant_id, name) values (99, 'other')")
        connection.execute("set role picket_reader")
        assert connection.execute("select count(*) from rrset").fetchone() == (0,)
        connection.execute("begin")
        connection.execute("set local picket.tenant_id = 99")
        assert connection.execute("select count(*) from activity").fetchone() == (0,)
        connection.execute("rollback")
    key = one.ctl("key", "add", "--name", "reader", "--tenant", "acme").strip()
    environment = {**one.environment, "DNSDB_SERVER": one.environment["PICKET_SERVER"], "DNSDB_API_KEY": key}
    done = subprocess.run(["dnsdbq", "-r", "*.acme.example", "-j"], capture_output=True, text=True, env=environment, check=False, timeout=60)
    names = {json.loads(line)["rrname"] for line in done.stdout.splitlines()}
    assert "www.acme.example." in names, done.stderr
