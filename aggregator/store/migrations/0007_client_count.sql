-- What clients did without names (kind 7): out of scope, above a window's rows, and the aliases that link the pseudonyms of two periods (reason: enum pk_client_reason). sketch: as on
-- the wire, docs/PROTOCOL.md 4.1; null when there is none.
create table client_count (
    tenant_id integer not null,
    day date not null,
    ingest_seq bigint not null,
    row_no integer not null,
    site_id integer not null,
    sensor_id integer not null,
    client_kind smallint not null,
    client inet,
    pseudonym bytea,
    client_prefix cidr,
    former bytea,
    key_period bigint not null,
    zone bytea not null,
    reason smallint not null,
    count bigint not null,
    negative bigint not null,
    unanswered bigint not null,
    ptr bigint not null,
    first_us bigint not null,
    span_us bigint not null,
    sketch bytea,
    primary key (tenant_id, day, ingest_seq, row_no)
) partition by range (day);

create or replace function picket_ensure_day(wanted date) returns void language plpgsql as $$
declare
    parent text;
begin
    perform pg_advisory_xact_lock(7353, 1);
    foreach parent in array array['activity', 'negative', 'client_count'] loop
        execute format('create table if not exists %I partition of %I for values from (%L) to (%L)',
            parent || '_' || to_char(wanted, 'YYYYMMDD'), parent, wanted, wanted + 1);
    end loop;
end
$$;

alter table client_count enable row level security;
create policy tenant_only on client_count to picket_reader using (tenant_id = nullif(current_setting('picket.tenant_id', true), '')::int);
create policy control_all on client_count to picket_control using (true) with check (true);
grant select on client_count to picket_reader;

do $$
begin
    if exists (select from pg_extension where extname = 'citus') then
        execute format('select create_distributed_table(%L, ''tenant_id'')', 'client_count');
    end if;
end
$$;
