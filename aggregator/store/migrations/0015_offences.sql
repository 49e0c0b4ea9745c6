-- Expands. How often a sensor broke the protocol, by kind (enum pk_offence_kind), and how often it was cut off for it. Added to by any aggregator that it spoke to.
create table sensor_offence (
    tenant_id integer not null,
    sensor_id integer not null,
    kind smallint not null,
    n bigint not null,
    cuts bigint not null,
    first_us bigint not null,
    last_us bigint not null,
    address text not null, -- of the last
    primary key (tenant_id, sensor_id, kind)
) with (fillfactor = 70);
alter table sensor_offence enable row level security;
create policy tenant_only on sensor_offence to picket_reader using (tenant_id = nullif(current_setting('picket.tenant_id', true), '')::int);
create policy control_all on sensor_offence to picket_control using (true) with check (true);
grant select on sensor_offence to picket_reader;

do $$
begin
    if exists (select from pg_extension where extname = 'citus') then
        perform create_distributed_table('sensor_offence', 'tenant_id');
    end if;
end
$$;
