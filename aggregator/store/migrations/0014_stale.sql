-- Expands. Identities of a fleet's containers end when they were silent for so long; who comes back by the token is the same again.
alter table enrol_token add column stale_after_s integer not null default 0; -- 0: never
alter table sensor add column stale_us bigint; -- when it was taken for gone; null: it was not
