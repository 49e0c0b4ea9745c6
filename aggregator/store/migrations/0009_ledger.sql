-- The loss and health ledger by sensor and hour, written in the transaction that stores the batches: it outlives the health rows it sums. An hour begins at
-- hour_us by the sensor's clock. counters are those of enum pk_health_key (gauges have no meaning here); stored by kind of batch (enum pk_batch_kind, from 0) the sum
-- of the rows' counts; lost by enum pk_loss_cause, transactions.
create function picket_add(a bigint[], b bigint[]) returns bigint[] immutable strict parallel safe language sql as $$
    select array_agg(coalesce(x, 0) + coalesce(y, 0) order by i) from unnest(a, b) with ordinality u(x, y, i)
$$;

create table ledger (
    tenant_id integer not null,
    sensor_id integer not null,
    hour_us bigint not null,
    batches bigint not null,
    row_count bigint not null,
    counters bigint[] not null,
    stored bigint[] not null,
    lost bigint[] not null,
    last_received_us bigint not null,
    primary key (tenant_id, sensor_id, hour_us)
) with (fillfactor = 70);
alter table ledger enable row level security;
create policy tenant_only on ledger to picket_reader using (tenant_id = nullif(current_setting('picket.tenant_id', true), '')::int);
create policy control_all on ledger to picket_control using (true) with check (true);
grant select on ledger to picket_reader;

do $$
begin
    if exists (select from pg_extension where extname = 'citus') then
        perform create_distributed_function('picket_add(bigint[], bigint[])');
        perform create_distributed_table('ledger', 'tenant_id');
    end if;
end
$$;
