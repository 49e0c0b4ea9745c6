-- Names of history that had their last answer a month ago or more, as detection was told of them. What detection knew when a row of activity came must be known again when the row is read
-- again, while history goes on: so each fact is written down with the ingest sequence from which it was known, and that at which it ended (the name came back). It holds for rows of activity
-- with from_seq < ingest_seq <= to_seq.
create table retired_name (
    tenant_id integer not null,
    owner_key bytea not null,
    from_seq bigint not null,
    to_seq bigint not null default 9223372036854775807,
    owner bytea not null,
    first_us bigint not null,
    last_us bigint not null,
    sites integer not null,
    is_authoritative boolean not null,
    primary key (tenant_id, owner_key, from_seq)
);
create unique index retired_name_now on retired_name (tenant_id, owner_key) where to_seq = 9223372036854775807;
alter table retired_name enable row level security;
create policy tenant_only on retired_name to picket_reader using (tenant_id = nullif(current_setting('picket.tenant_id', true), '')::int);
create policy control_all on retired_name to picket_control using (true) with check (true);
grant select on retired_name to picket_reader;

do $$
begin
    if exists (select from pg_extension where extname = 'citus') then
        execute format('select create_distributed_table(%L, ''tenant_id'')', 'retired_name');
    end if;
end
$$;
