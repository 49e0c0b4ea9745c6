-- What people did about findings. A finding's state is not stored: it follows from its last action and from whether it has gone on since.
create table finding_action (
    tenant_id integer not null,
    finding_id text not null,
    at_us bigint not null,
    action text not null check (action in ('acknowledge', 'close', 'reopen', 'note')),
    note text not null,
    by_key text not null, -- name of the API key
    revision integer not null, -- the finding's when it was done
    primary key (tenant_id, finding_id, at_us)
);

create sequence suppression_id_seq as integer;

-- What is known and expected, until when, and why. Findings are made all the same; they are marked and not shown by default.
create table suppression (
    tenant_id integer not null,
    suppression_id integer not null,
    detector text not null, -- '': any
    actor text not null, -- key of the actor; '': any
    zone text not null, -- presentation form with its last dot; '': any
    reason text not null,
    by_key text not null,
    from_us bigint not null,
    until_us bigint not null,
    primary key (tenant_id, suppression_id)
);

do $$
declare
    t text;
begin
    foreach t in array array['finding_action', 'suppression'] loop
        execute format('alter table %I enable row level security', t);
        execute format('create policy tenant_only on %I to picket_reader using (tenant_id = nullif(current_setting(''picket.tenant_id'', true), '''')::int)', t);
        execute format('create policy control_all on %I to picket_control using (true) with check (true)', t);
        if exists (select from pg_extension where extname = 'citus') then
            execute format('select create_distributed_table(%L, ''tenant_id'')', t);
        end if;
    end loop;
end
$$;
grant select on finding_action, suppression to picket_reader;
grant select, insert on finding_action to picket_control;
grant select, insert, update on suppression to picket_control;
grant select on finding to picket_control;
grant usage on sequence suppression_id_seq to picket_control;
