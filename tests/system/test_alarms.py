"""Alarms about sensors: each opens once, stays while it holds, and closes once."""
import json

from pg_support import CAPTURES, wait_until


def test_silent_and_unbalanced_open_once_and_close_once(mesh):
    one = mesh()
    one.add_sensor("hq")
    one.wait_for_keys(1)
    assert one.start("hq-1", "picket-sensor", "--config", one.sensor_config("hq-1", "hq", [CAPTURES / "hq.pcap"])).wait(120) == 0

    def change(statement):
        with one.postgres.connect(one.database) as connection:
            connection.execute(statement)

    def alarms(*more):
        return sorted((row["kind"], row["closed"] is None) for row in map(json.loads, one.ctl("alarms", "--tenant", "acme", "--json", *more).splitlines()))


    assert [kind for kind, _ in alarms() if kind != "tap"] == []
    # The capture is from long ago; hours of the last week are judged.
    change("update ledger set hour_us = (extract(epoch from now()) * 1000000)::bigint - 10800000000 + hour_us % 1000")
    change("update health set received_us = received_us - 3600000000")
    change("update ledger set stored[3] = stored[3] + 1")  # as if a row were there twice
    wait_until(lambda: {("silent", True), ("unbalanced", True)} <= set(alarms()), 100, "the alarms")
    change("update health set received_us = (extract(epoch from now()) * 1000000)::bigint + 600000000")
    change("update ledger set stored[3] = stored[3] - 1")
    wait_until(lambda: not {"silent", "unbalanced"} & {kind for kind, _ in alarms()}, 100, "their end")
    assert [a for a in alarms("--all") if a[0] != "tap"] == [("silent", False), ("unbalanced", False)]
    log = one.log("aggregator")
    for kind in ("silent", "unbalanced"):
        assert log.count(f"opened sensor=hq-1 kind={kind}") == log.count(f"closed sensor=hq-1 kind={kind}") == 1
