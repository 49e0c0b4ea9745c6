"""The schema's rules, read from the catalog of a migrated database: what Citus needs, and that row-level security keeps the indexes in use."""
import re
import subprocess

import pytest
from conftest import ROOT

# Small tables that are the same for all tenants: replicated, not spread.
REFERENCE = {"tenant", "scope_version", "control_version", "sensor_key", "api_key", "schema_version", "schema_expansion", "aggregator", "aggregator_node", "enrol_token"}


@pytest.fixture
def database(mesh):
    one = mesh()
    with one.postgres.connect(one.database) as connection:
        yield one, connection


def test_every_key_of_a_tenants_table_holds_the_tenant(database):
    _, connection = database
    tables = {row[0] for row in connection.execute("select relname from pg_class where relkind in ('r', 'p') and relnamespace = 'public'::regnamespace and not relispartition")}
    assert tables > REFERENCE and len(tables - REFERENCE) >= 14
    unique = connection.execute(
        "select c.relname, i.relname, array_agg(a.attname::text) from pg_index x join pg_class c on c.oid = x.indrelid join pg_class i on i.oid = x.indexrelid"
        " join pg_attribute a on a.attrelid = c.oid and a.attnum = any(x.indkey) where x.indisunique and c.relnamespace = 'public'::regnamespace and not c.relispartition group by 1, 2").fetchall()
    for table, index, columns in unique:
        assert table in REFERENCE or "tenant_id" in columns, f"{index} on {table} has only {columns}"
    keyed = {table for table, _, _ in unique}
    assert tables - keyed == set()
    triggers = connection.execute("select tgname from pg_trigger where not tgisinternal").fetchall()
    assert triggers == []


def test_every_tenants_table_has_row_level_security(database):
    _, connection = database
    open_tables = {row[0] for row in connection.execute(
        "select relname from pg_class where relkind in ('r', 'p') and relnamespace = 'public'::regnamespace and not relispartition and not relrowsecurity")}
    assert open_tables <= REFERENCE


def test_suffix_lookups_use_the_index_under_row_level_security(database):
    _, connection = database
    connection.execute("insert into rrset select 1, decode(md5(i::text), 'hex'), convert_to('com' || chr(1) || 'n' || i, 'UTF8'), '\\x00', 1, 1, '\\x00', '\\x00', 0 from generate_series(1, 20000) i")
    connection.execute("analyze rrset")
    connection.execute("set role picket_reader")
    connection.execute("begin")
    connection.execute("set local picket.tenant_id = 1")
    plan = "\n".join(row[0] for row in connection.execute("explain select * from rrset where tenant_id = 1 and owner_key >= '\\x636f6d016e313233'::bytea and owner_key < '\\x636f6d016e313234'::bytea limit 10"))
    connection.execute("rollback")
    assert "rrset_owner" in plan, plan


def tables_of_versions(connection):
    return connection.execute("select version, name from schema_version union all select version, name from schema_expansion order by 1").fetchall()


def test_migrating_again_changes_nothing(database):
    one, connection = database
    before = tables_of_versions(connection)
    one.call("picket-aggregator", "migrate", "--config", one.config)
    assert tables_of_versions(connection) == before and [version for version, _ in before] == list(range(1, len(before) + 1))


def test_a_schema_that_needs_a_newer_program_is_refused_and_one_that_was_only_expanded_is_not(database):
    one, connection = database
    one.processes["aggregator"].terminate()
    assert one.processes["aggregator"].wait(60) == 0
    connection.execute("insert into schema_expansion (version, name) values (9998, 'more')")
    one.call("picket-aggregator", "migrate", "--config", one.config)
    one.start_aggregator()
    connection.execute("insert into schema_version (version, name) values (9999, 'future')")
    done = subprocess.run([one.programs["picket-aggregator"], "--config", str(one.config)], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode != 0 and "use a newer program" in done.stderr
    done = subprocess.run([one.programs["picket-aggregator"], "migrate", "--config", str(one.config)], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode != 0 and "use a newer one" in done.stderr


# 0.1.0 ends with this migration, and writes these tables by COPY without naming their columns: one column more and all its batches are refused.
OLDEST_BACK, FIXED = 11, {"activity", "client_count", "health", "loss"}


def test_a_migration_that_is_said_to_expand_only_adds():
    """Programs of before insert without knowing it: so nothing goes, nothing is renamed, and a new column has a default or may be null."""
    for path in sorted((ROOT / "aggregator/store/migrations").glob("*.sql")):
        text = path.read_text().lower()
        assert text.startswith("-- expands") or int(path.name[:4]) <= OLDEST_BACK, f"{path.name}: after it 0.1.0 does not start again (docs/decisions/0014)"
        if text.startswith("-- expands"):
            body = re.sub(r"--.*", "", text)
            body = re.sub(r"create (or replace )?function.*?\$\$.*?\$\$", "", body, flags=re.DOTALL)  # what it does when somebody calls it
            assert not re.search(r"\b(drop|rename|revoke|truncate|update|delete|set not null|alter column|add constraint|create unique index)\b", body), path
            for column in re.findall(r"add column[^;]*?(?=,\s*add column|;)", body):
                assert "default" in column or "not null" not in column, (path, column)
            for table in re.findall(r"alter table (?:if exists |only )*(\w+)[^;]*?\badd (?!constraint)", body):
                assert table not in FIXED, f"{path.name}: a column more in {table}, which 0.1.0 writes by COPY without naming columns"


def test_every_copy_names_its_columns():
    """So that of the tables that may not have a column more there are none but those of 0.1.0."""
    tables = [found for path in sorted((ROOT / "aggregator").rglob("*.c")) for found in re.findall(r'"copy (\w+)( \(\w+)?', path.read_text())]
    assert FIXED <= {table for table, _ in tables}
    assert [table for table, columns in tables if not columns] == []
