"""The sensor's spool under a real sensor, aggregator and PostgreSQL: what a full disk costs is in the ledger to the last transaction, and a restored copy loses nothing."""
import json
import os
import shutil
import subprocess

import pytest

from pg_support import CAPTURES, wait_until


def set_spool(config, **spool):
    value = json.loads(config.read_text())
    value["spool"].update(spool)
    config.write_text(json.dumps(value))


def stored(one):
    return one.table("select (select coalesce(sum(count), 0) from activity) + (select coalesce(sum(count), 0) from negative)")[0][0]


def lost(one):
    return one.table("select coalesce(sum(transactions), 0) from loss where kind in (2, 4)")[0][0]


def counters(one, name):
    """What the sensor counted, printed at its end."""
    return [json.loads(line) for line in one.log(name).splitlines() if line.startswith("{")]


def test_what_a_full_disk_costs_is_in_the_ledger(mesh):
    """The aggregator is away and the spool's file system holds less than the capture gives."""
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a small file system")
    one = mesh()
    one.add_sensor("hq")
    one.wait_for_keys(1)
    folder = one.folder / "spool-hq-1"
    folder.mkdir(mode=0o700)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32k,mode=700", "tmpfs", folder], capture_output=True, check=False).returncode != 0:
        pytest.skip("no file system can be mounted here")
    try:
        config = one.sensor_config("hq-1", "hq", [CAPTURES / "hq.pcap"] * 64)
        set_spool(config, max_mb=1, memory_mb=0, min_free_percent=20)
        process = one.start("hq-1", "picket-sensor", "--config", config)
        assert process.wait(180) == 0, one.log("hq-1")[-2000:]
    finally:
        subprocess.run(["umount", "-l", folder], check=False)
    counted = counters(one, "hq-1")[-1]
    told = counted["in_scope"] + counted["negative"]
    assert "the disk refuses" in one.log("hq-1") and 0 < lost(one) < told
    assert stored(one) + lost(one) == told
    (row,) = map(json.loads, one.ctl("sensors", "--tenant", "acme", "--json").splitlines())
    assert row["lost"] >= sum(cause["rows"] for cause in row["lost_by_cause"].values()) > 0
    if not row["balanced"]:  # health batches are among the lost: then nobody here can know, and it says so
        assert row["alarm"] == "lost an amount that is not known"


def test_a_restored_copy_of_the_spool_loses_nothing(mesh):
    """A virtual machine is set back: the spool of before meets new content under numbers that are taken."""
    one = mesh()
    one.add_sensor("hq")
    one.wait_for_keys(1)
    total = 0
    folder, copy = one.folder / "spool-hq-1", one.folder / "snapshot"
    for turn, capture in enumerate(("hq", "branch", "cloud")):
        if turn == 2:  # back to after the first run
            shutil.rmtree(folder)
            shutil.copytree(copy, folder)
        config = one.sensor_config("hq-1", "hq", [CAPTURES / f"{capture}.pcap"])
        process = one.start("hq-1", "picket-sensor", "--config", config)
        assert process.wait(120) == 0, one.log("hq-1")[-2000:]
        counted = counters(one, "hq-1")[-1]
        total += counted["in_scope"] + counted["negative"]
        if turn == 0:
            shutil.copytree(folder, copy)
    wait_until(lambda: stored(one) == total, 60, "all transactions")
    assert lost(one) == 0
    assert len(one.table("select distinct epoch from ingest_mark")) == 2, "what met taken numbers got a new epoch"
    assert "epoch conflict" in one.log("hq-1") or "code=9" in one.log("hq-1")
