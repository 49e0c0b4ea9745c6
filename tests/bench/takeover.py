#!/usr/bin/python3
"""How long a tenant is without a home after kill -9 of it: takeover.py [RUNS [BIN_DIR]].

Two aggregators on one database, three sensors with batches under way (a lock keeps the home from committing any). From the kill: until the other holds the lease,
until the first batch is stored, until the last sensor has delivered all. Half of the runs list the home first, half the other one."""
import pathlib
import shutil
import signal
import statistics
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "system"))
from pg_support import Mesh, Postgres  # noqa: E402
from test_homes import Pair, block_commits  # noqa: E402


def one_run(folder, postgres, programs, order):
    made = []

    def mesh():
        made.append(Mesh(folder, postgres, programs))
        return made[-1]
    pair = Pair(mesh)
    try:
        connection, is_waited_for = block_commits(pair)
        sensors = pair.ship(order)
        while not is_waited_for():
            time.sleep(0.02)
        started = time.monotonic()
        pair.stop("a", signal.SIGKILL)
        connection.execute("rollback")
        connection.close()
        home = stored = None
        while any(s.poll() is None for s in sensors):
            if home is None and pair.mesh.table("select 1 from home where holder = 'b'"):
                home = time.monotonic() - started
            if stored is None and pair.mesh.table("select 1 from ingest_mark limit 1"):
                stored = time.monotonic() - started
            time.sleep(0.02)
        return home, stored or time.monotonic() - started, time.monotonic() - started
    finally:
        made[0].close()


def main():
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    binaries = pathlib.Path(sys.argv[2] if len(sys.argv) > 2 else ROOT / "build" / "dev" / "bin")
    programs = {name: str(binaries / name) for name in ("picket-sensor", "picket-aggregator", "picket-api", "picketctl")}
    root = pathlib.Path(tempfile.mkdtemp(prefix="picket-takeover-", dir="/tmp"))
    (root / "pg").mkdir()
    root.chmod(0o755)
    (root / "pg").chmod(0o755)
    postgres = Postgres(root / "pg")
    results = []
    try:
        for i in range(runs):
            folder = root / f"run{i}"
            folder.mkdir()
            results.append(one_run(folder, postgres, programs, "ab" if i % 2 else "ba"))
            print("%2d  home %5.1f s  first batch %5.1f s  all %5.1f s" % (i, *results[-1]), flush=True)
        for what, column in zip(("home", "first batch", "all"), zip(*results)):
            print("%-12s least %.1f median %.1f most %.1f s" % (what, min(column), statistics.median(column), max(column)))
    finally:
        postgres.stop()
        shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    main()
