"""What is old goes: so many days after it came, never sooner; what another tenant keeps stays, and the ledger's sums stay what they were."""
import json
import time

from fault_support import Clock
from pg_support import CAPTURES, wait_until
from test_clock import restamp

DAY_S = 86400


def ship(mesh, name, capture):
    config = mesh.sensor_config(name, "hq", [capture])
    process = mesh.start(name, "picket-sensor", "--config", config)
    assert process.wait(120) == 0, mesh.log(name)[-2000:]


def count(mesh, table, where="true"):
    return mesh.table(f"select count(*) from {table} where {where}")[0][0]


def days(mesh, parent="activity"):
    return {row[0][-8:] for row in mesh.table(f"select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid where i.inhparent = '{parent}'::regclass")}


def stamp(offset_days):
    return time.strftime("%Y%m%d", time.gmtime(time.time() - offset_days * DAY_S))


def execute(mesh, *statements):
    with mesh.postgres.connect(mesh.database) as connection:
        for statement in statements:
            connection.execute(statement)


def passes(mesh):
    """A new aggregator makes a pass when it has its homes, and more while there is something."""
    before = mesh.log("aggregator").count("tenant=acme open")
    mesh.processes["aggregator"].terminate()
    assert mesh.processes["aggregator"].wait(60) == 0
    mesh.start_aggregator()
    wait_until(lambda: mesh.log("aggregator").count("tenant=acme open") > before, 60, "the home")


def sums(mesh):
    (row,) = [json.loads(line) for line in mesh.ctl("sensors", "--tenant", "acme", "--json").splitlines()]
    return {key: row[key] for key in ("counters", "batches", "stored_activity", "stored_negative", "stored_rrset")}


def a_past(mesh, tmp_path):
    """One sensor whose captures are of sixty days ago and of today."""
    mesh.add_sensor("hq")
    mesh.wait_for_keys(1)
    for name, offset in (("old", -60 * DAY_S), ("new", 0)):
        restamp(CAPTURES / "hq.pcap", tmp_path / f"{name}.pcap", (offset,))
        ship(mesh, "hq-1", tmp_path / f"{name}.pcap")
    assert {stamp(60), stamp(0)} <= days(mesh)
    # Many days and statistics of the catalogue, as of any database that is some weeks old: plans begin with other tables than on a new one.
    execute(mesh, "select picket_ensure_day(current_date - g) from generate_series(1, 33) g", "create table activity_of_somebody partition of activity for values from ('2001-01-01') to ('2001-01-02')",
            "analyze")
    return count(mesh, "activity", "day < current_date - 30"), count(mesh, "activity", "day >= current_date - 30")


def test_a_day_goes_when_its_rows_have_been_there_long_enough(mesh, tmp_path):
    one = mesh()
    n_old, n_new = a_past(one, tmp_path)
    assert n_old and n_new
    wanted = sums(one)
    hours = count(one, "ledger", "hour_us % 86400000000 <> 0")
    passes(one)
    # They came today, however old they are; hours of the ledger need no waiting.
    wait_until(lambda: count(one, "ledger", f"hour_us < {int((time.time() - 14 * DAY_S) * 1e6)} and hour_us % 86400000000 <> 0") == 0, 30, "old hours put together")
    assert hours and sums(one) == wanted
    assert (count(one, "activity", "day < current_date - 30"), count(one, "activity", "day >= current_date - 30")) == (n_old, n_new)
    # As if all of it had come forty days ago; and a hundred days ago.
    execute(one, "insert into arrival select tenant_id, current_date - 40, last_seq from ingest_seq")
    n_health, n_negative = count(one, "health"), count(one, "negative")
    passes(one)
    wait_until(lambda: stamp(60) not in days(one) | days(one, "client_count"), 30, "the day's end")
    assert count(one, "activity") == n_new and stamp(60) in days(one, "negative")
    assert (count(one, "health"), count(one, "negative")) == (n_health, n_negative)
    execute(one, "insert into arrival select tenant_id, current_date - 100, last_seq from ingest_seq",
            "insert into quarantine values (1, 1, 1, 1, 1, 'old', null), (1, 1, 1, 2, extract(epoch from now()) * 1000000, 'new', null)")
    passes(one)
    wait_until(lambda: count(one, "health") == 0, 30, "the end of health")
    wait_until(lambda: one.table("select reason from quarantine") == [("new",)], 30, "the end of what was refused long ago")
    assert sums(one) == wanted, "the ledger outlives it"
    # What came late is kept its time, and finds its day again.
    ship(one, "hq-1", tmp_path / "old.pcap")
    passes(one)
    assert count(one, "activity", "day < current_date - 30") == n_old and count(one, "quarantine") == 1
    text = one.log("aggregator")
    assert "module=retention tenant=acme" in text and "failed=" not in text


def test_rows_of_one_tenant_go_from_a_day_that_another_keeps(mesh, tmp_path):
    one = mesh()
    n_old, n_new = a_past(one, tmp_path)
    execute(one, "insert into tenant (tenant_id, name) overriding system value values (99, 'other')",
            "insert into activity select 99, day, ingest_seq, row_no, site_id, sensor_id, client_kind, client, pseudonym, client_prefix, name, qtype, qclass, server, server_port, transport, vantage, opcode,"
            " answer, rcode, flags, edns_udp_size, first_us, span_us, count, latency_min_us, latency_max_us, response_bytes_max, answer_digest, min_ttl_s, retransmissions, transfer_records, transfer_soas,"
            " case_mixed from activity where tenant_id = 1",
            "insert into arrival select tenant_id, current_date - 40, last_seq from ingest_seq where tenant_id = 1")
    passes(one)
    wait_until(lambda: count(one, "activity", "tenant_id = 1") == n_new, 30, "the end of the rows of one")
    assert count(one, "activity", "tenant_id = 99") == n_old + n_new and stamp(60) in days(one)


def test_a_tenant_says_how_long(mesh, tmp_path):
    one = mesh()
    n_old, n_new = a_past(one, tmp_path)
    (tmp_path / "scope.yaml").write_text(json.dumps({"tenants": [{"name": "acme", "sites": ["hq", "branch", "cloud"], "zones": ["acme.example"], "retention": {"activity_days": 90, "health_days": 8}}]}))
    one.ctl("apply", "-f", str(tmp_path / "scope.yaml"))
    execute(one, "insert into arrival select tenant_id, current_date - 40, last_seq from ingest_seq")
    passes(one)
    wait_until(lambda: count(one, "health") == 0, 30, "the end of health")
    assert count(one, "activity") == n_old + n_new


def test_days_in_use_are_left_alone_and_days_that_are_kept_hide_none(mesh, tmp_path):
    one = mesh()
    a_past(one, tmp_path)
    # The oldest is nobody's; nine that another tenant keeps come before that of sixty days ago.
    execute(one, "select picket_ensure_day(current_date - g) from generate_series(70, 79) g",
            "insert into tenant (tenant_id, name) overriding system value values (99, 'other')",
            "insert into activity select 99, current_date - g, ingest_seq, row_no, site_id, sensor_id, client_kind, client, pseudonym, client_prefix, name, qtype, qclass, server, server_port, transport, vantage, opcode,"
            " answer, rcode, flags, edns_udp_size, first_us, span_us, count, latency_min_us, latency_max_us, response_bytes_max, answer_digest, min_ttl_s, retransmissions, transfer_records, transfer_soas,"
            " case_mixed from activity, generate_series(70, 78) g where tenant_id = 1 and day = (select min(day) from activity where tenant_id = 1) and row_no = 0",
            "insert into arrival select tenant_id, current_date - 100, last_seq from ingest_seq where tenant_id = 1")
    kept = {stamp(g) for g in range(70, 79)}
    with one.postgres.connect(one.database) as reader:
        with reader.transaction():
            reader.execute("select count(*) from activity")
            before = days(one)
            passes(one)
            wait_until(lambda: count(one, "health") == 0, 30, "the end of health")
            assert days(one) == before and kept | {stamp(79), stamp(60)} <= before
            assert one.log("aggregator").count("module=retention days=0 the next is in use") == 1
    passes(one)
    wait_until(lambda: stamp(60) not in days(one), 30, "the day's end")
    assert stamp(79) not in days(one) and kept <= days(one)


def test_a_clock_that_is_ahead_gives_nothing_up(mesh, tmp_path, monkeypatch):
    one = mesh()
    n_old, n_new = a_past(one, tmp_path)
    execute(one, "insert into arrival select tenant_id, current_date - 20, last_seq from ingest_seq")
    n_health = count(one, "health")
    clock = Clock(tmp_path / "clock")
    clock.set_off(100 * DAY_S)
    with monkeypatch.context() as patch:
        for key, value in clock.environment().items():
            patch.setenv(key, value)
        passes(one)
    wait_until(lambda: "module=retention waits: the clocks of this machine and of the database differ ahead_s=8640000" in one.log("aggregator"), 30, "the refusal")
    assert (count(one, "activity"), count(one, "health")) == (n_old + n_new, n_health)
    assert count(one, "arrival", "day > current_date") == 0
    execute(one, "insert into arrival select tenant_id, current_date - 40, last_seq from ingest_seq")
    passes(one)
    wait_until(lambda: count(one, "activity") == n_new, 30, "the end of the old day")


def test_a_step_that_fails_keeps_no_other_from_its_turn(mesh, tmp_path):
    one = mesh()
    n_old, n_new = a_past(one, tmp_path)
    execute(one, "create or replace function picket_drop_day(parents text[], wanted date, tenants integer[], cutoffs date[]) returns boolean language plpgsql as $$ begin raise exception 'not today'; end $$",
            "insert into arrival select tenant_id, current_date - 100, last_seq from ingest_seq",
            "insert into quarantine values (1, 1, 1, 1, 1, 'old', null)")
    passes(one)
    wait_until(lambda: count(one, "health") == 0, 30, "the end of health")
    wait_until(lambda: count(one, "ledger", f"hour_us < {int((time.time() - 14 * DAY_S) * 1e6)} and hour_us % 86400000000 <> 0") == 0, 30, "old hours put together")
    wait_until(lambda: count(one, "quarantine") == 0, 30, "the end of what was refused")
    assert n_old and count(one, "activity") == n_new
    text = one.log("aggregator")
    assert 'failed="drop days: P0001' in text and 'doing="give up what is old" failed=' not in text, "the store is well"
