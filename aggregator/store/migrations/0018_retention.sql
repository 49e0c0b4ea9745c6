-- Expands. What was stored by the end of a day: rows are kept for so many days after they came, not after they happened, so that an old capture or a spool that waited is not gone at once.
create table arrival (
    tenant_id integer not null,
    day date not null,
    last_seq bigint not null, -- the tenant's ingest sequence, as it was last seen that day
    primary key (tenant_id, day)
);
alter table arrival enable row level security;
create policy tenant_only on arrival to picket_reader using (tenant_id = nullif(current_setting('picket.tenant_id', true), '')::int);
create policy control_all on arrival to picket_control using (true) with check (true);

-- A day's partitions of these tables, when no tenant keeps a row in them: cutoffs are the first day that a tenant keeps. False: somebody does, or they are in use at the moment.
create function picket_drop_day(parents text[], wanted date, tenants integer[], cutoffs date[]) returns boolean language plpgsql as $$
declare
    parent text;
    part text;
    one integer;
    cutoff date;
    seq bigint;
    is_kept boolean;
begin
    perform set_config('lock_timeout', '200ms', true);
    perform pg_advisory_xact_lock(7353, 1);
    foreach parent in array parents loop
        part := parent || '_' || to_char(wanted, 'YYYYMMDD');
        continue when to_regclass(part) is null;
        execute format('lock table %I in access exclusive mode', part);
        for one in select tenant_id from tenant loop
            cutoff := cutoffs[array_position(tenants, one)];
            seq := (select max(last_seq) from arrival where tenant_id = one and day < cutoff);
            if parent = 'negative' then
                execute format('select exists (select from %I where tenant_id = $1)', part) into is_kept using one;
                is_kept := is_kept and not coalesce(wanted < cutoff and seq is not null, false);
            else
                execute format('select exists (select from %I where tenant_id = $1 and ingest_seq > $2)', part) into is_kept
                    using one, case when wanted < cutoff then coalesce(seq, -1) else -1 end;
            end if;
            if is_kept then
                return false;
            end if;
        end loop;
        execute format('drop table %I', part);
    end loop;
    return true;
exception
    when lock_not_available then
        return false;
end
$$;

do $$
begin
    if exists (select from pg_extension where extname = 'citus') then
        perform create_distributed_table('arrival', 'tenant_id');
    end if;
end
$$;
