-- What is wrong with a sensor, opened once and closed once: silent, unbalanced, tap. Closed ones stay, as history.
create table alarm (
    tenant_id integer not null,
    sensor_id integer not null,
    kind text not null,
    opened_us bigint not null,
    closed_us bigint, -- null: still
    detail text not null,
    primary key (tenant_id, sensor_id, kind, opened_us)
);
alter table alarm enable row level security;
create policy tenant_only on alarm to picket_reader using (tenant_id = nullif(current_setting('picket.tenant_id', true), '')::int);
create policy control_all on alarm to picket_control using (true) with check (true);
grant select on alarm to picket_reader;

do $$
begin
    if exists (select from pg_extension where extname = 'citus') then
        perform create_distributed_table('alarm', 'tenant_id');
    end if;
end
$$;
