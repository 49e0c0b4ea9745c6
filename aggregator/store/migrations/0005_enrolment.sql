-- Enrolment, and what an administrator says about a sensor.
alter table sensor add column is_pending boolean not null default false; -- enrolled, not let in yet
alter table sensor add column allowed_from text not null default ''; -- prefixes with commas between; '': from anywhere
alter table sensor add column fleet_token bytea; -- of whom a newcomer with the same node name is the same sensor
alter table sensor_key add column token_id bytea; -- by which it came

-- Where this mesh is reached: written by the aggregator at its start, read by whoever makes a token.
create table aggregator (
    pubkey bytea primary key check (length(pubkey) = 32),
    endpoints text not null, -- one a line
    enrol_endpoint text not null,
    at_us bigint not null
);

-- Of a secret only its BLAKE2b-256 is here; the tenant's client key never is.
create table enrol_token (
    token_id bytea primary key check (length(token_id) = 16),
    secret_hash bytea not null check (length(secret_hash) = 32),
    tenant_id integer not null references tenant,
    site_id integer not null,
    uses_left integer not null,
    until_us bigint not null,
    allowed_from text not null default '',
    needs_approval boolean not null default false,
    is_fleet boolean not null default false,
    failures integer not null default 0,
    used_us bigint not null default 0,
    added_us bigint not null
);
grant select, insert, update on aggregator, enrol_token to picket_control;
grant select on aggregator to picket_reader;

do $$
begin
    if exists (select from pg_extension where extname = 'citus') then
        execute format('select create_reference_table(%L)', 'aggregator');
        execute format('select create_reference_table(%L)', 'enrol_token');
    end if;
end
$$;
