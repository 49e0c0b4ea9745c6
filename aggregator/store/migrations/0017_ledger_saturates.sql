-- Expands. A sensor may tell any number: the ledger's sums stop at 2^59, far above any true one, so that no sum of them (eight causes, hours of years) leaves bigint.
create or replace function picket_add(a bigint[], b bigint[]) returns bigint[] immutable strict parallel safe language sql as $$
    select array_agg(least(least(coalesce(x, 0), 576460752303423488) + least(coalesce(y, 0), 576460752303423488), 576460752303423488) order by i)
    from unnest(a, b) with ordinality u(x, y, i)
$$;
