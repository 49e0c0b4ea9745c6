-- Numbers within an epoch may have holes (what a sensor shed has none), so no point below which everything is durable can be known. What is kept instead: the greatest
-- number seen, and the bound below which marks are forgotten. A batch from below that bound cannot be a resend (a sensor has at most 64 under way): it is the
-- work of a restored copy, and refused so that it gets a number of a new epoch.
alter table ingest_epoch rename column contiguous_seq to newest_seq;
alter table ingest_epoch add column forgotten_seq bigint not null default 0;
update ingest_epoch set newest_seq = greatest(newest_seq, coalesce(
    (select max(seq) from ingest_mark m where m.tenant_id = ingest_epoch.tenant_id and m.sensor_id = ingest_epoch.sensor_id and m.epoch = ingest_epoch.epoch), 0));
update ingest_epoch set forgotten_seq = greatest(coalesce(
    (select min(seq) - 1 from ingest_mark m where m.tenant_id = ingest_epoch.tenant_id and m.sensor_id = ingest_epoch.sensor_id and m.epoch = ingest_epoch.epoch),
    newest_seq), 0);
