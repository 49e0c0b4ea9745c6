-- Expands. How a sensor was when it last spoke (HELLO, HEARTBEAT), by the aggregator's clock: one row a sensor, for people and for the alarms skewed and cloned.
create table sensor_state (
    tenant_id integer not null,
    sensor_id integer not null,
    reported_us bigint not null,
    address text not null,
    software text not null,
    offset_us bigint, -- the aggregator's clock minus the sensor's; null: not known
    skewed_since_us bigint, -- null: within the bound
    queued bigint not null, -- batches that wait at the sensor
    queued_bytes bigint not null,
    behind_us bigint not null, -- age of the oldest row in them
    cloned_us bigint, -- when two machines last took turns with its key
    clone_peers text not null,
    primary key (tenant_id, sensor_id)
) with (fillfactor = 50);
alter table sensor_state enable row level security;
create policy tenant_only on sensor_state to picket_reader using (tenant_id = nullif(current_setting('picket.tenant_id', true), '')::int);
create policy control_all on sensor_state to picket_control using (true) with check (true);
grant select on sensor_state to picket_reader;

-- How many batches of a sensor are there, not what is in them.
grant select (tenant_id, sensor_id) on quarantine to picket_reader;

do $$
begin
    if exists (select from pg_extension where extname = 'citus') then
        perform create_distributed_table('sensor_state', 'tenant_id');
    end if;
end
$$;
