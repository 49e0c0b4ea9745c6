-- Expands. What each sensor said to the scope it was sent (CONFIG_ACK). The newest stands; the scope that is wanted is the newest version there is.
create table sensor_config (
    tenant_id integer not null,
    sensor_id integer not null,
    serial bigint not null, -- of the scope
    status smallint not null, -- enum pk_config_status
    reason text not null,
    at_us bigint not null,
    primary key (tenant_id, sensor_id)
) with (fillfactor = 70);
alter table sensor_config enable row level security;
create policy tenant_only on sensor_config to picket_reader using (tenant_id = nullif(current_setting('picket.tenant_id', true), '')::int);
create policy control_all on sensor_config to picket_control using (true) with check (true);
grant select on sensor_config to picket_reader;
grant select (version) on scope_version to picket_reader; -- its number, not what is in it

do $$
begin
    if exists (select from pg_extension where extname = 'citus') then
        perform create_distributed_table('sensor_config', 'tenant_id');
    end if;
end
$$;
