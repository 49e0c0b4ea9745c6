-- Several aggregators on one database: who is there, and which of them is a tenant's home. Times are the database's clock alone. A home's generation grows each
-- time it changes hands; every commit for the tenant locks its row (key share) and names the generation, so that whoever lost it can write nothing more.
create table aggregator_node (
    name text primary key,
    instance text not null, -- random, of the process
    endpoint text not null, -- where sensors reach it; empty: it does not say
    server_key bytea not null check (length(server_key) = 32),
    prefers text not null, -- names of tenants, a line each
    expires_us bigint not null
);

create table home (
    tenant_id integer primary key,
    holder text not null default '', -- name of an aggregator; empty: nobody
    instance text not null default '',
    generation bigint not null default 0,
    expires_us bigint not null default 0,
    pinned text not null default '' -- where an operator wants it; empty: wherever
) with (fillfactor = 50); -- renewed each second: keep the updates on their page

alter table home enable row level security;
create policy tenant_only on home to picket_reader using (tenant_id = nullif(current_setting('picket.tenant_id', true), '')::int);
create policy control_all on home to picket_control using (true) with check (true);
grant select on home, aggregator_node to picket_reader;
grant select, update on home to picket_control;
grant select on aggregator_node to picket_control;

do $$
begin
    if exists (select from pg_extension where extname = 'citus') then
        perform create_reference_table('aggregator_node');
        perform create_distributed_table('home', 'tenant_id');
    end if;
end
$$;
