-- What sensors had sealed and could not keep, as they tell it (kind 6): with it, captured = stored + lost by cause. cause is enum pk_loss_cause, kind the kind of the lost
-- batches (0: not known), transactions the sum of the lost rows' counts.
create table loss (
    tenant_id integer not null,
    sensor_id integer not null,
    ingest_seq bigint not null,
    row_no integer not null,
    received_us bigint not null,
    cause smallint not null,
    kind smallint not null,
    batches bigint not null,
    row_count bigint not null,
    transactions bigint not null,
    first_us bigint not null,
    last_us bigint not null,
    epoch bigint not null,
    from_seq bigint not null,
    to_seq bigint not null,
    primary key (tenant_id, sensor_id, ingest_seq, row_no)
);
alter table loss enable row level security;
create policy tenant_only on loss to picket_reader using (tenant_id = nullif(current_setting('picket.tenant_id', true), '')::int);
create policy control_all on loss to picket_control using (true) with check (true);
grant select on loss to picket_reader;

do $$
begin
    if exists (select from pg_extension where extname = 'citus') then
        execute format('select create_distributed_table(%L, ''tenant_id'')', 'loss');
    end if;
end
$$;
