-- A sensor changes its key: the new one stands beside the one it replaces until it is first used.
alter table sensor_key add column replaces bytea;
