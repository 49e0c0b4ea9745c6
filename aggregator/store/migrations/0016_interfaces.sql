-- Expands. Of a health row of a live capture: its interfaces, counted since the row before. A table of its own: 0.1.0 writes health without naming its columns.
create table health_interface (
    tenant_id integer not null,
    sensor_id integer not null,
    ingest_seq bigint not null,
    row_no integer not null,
    name text not null,
    state smallint not null, -- enum pk_iface_state
    packets bigint not null,
    kernel_dropped bigint not null,
    iface_dropped bigint not null, -- by the interface
    primary key (tenant_id, sensor_id, ingest_seq, row_no)
);
alter table health_interface enable row level security;
create policy tenant_only on health_interface to picket_reader using (tenant_id = nullif(current_setting('picket.tenant_id', true), '')::int);
create policy control_all on health_interface to picket_control using (true) with check (true);
grant select on health_interface to picket_reader;

do $$
begin
    if exists (select from pg_extension where extname = 'citus') then
        perform create_distributed_table('health_interface', 'tenant_id');
    end if;
end
$$;
