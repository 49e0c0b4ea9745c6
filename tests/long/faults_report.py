#!/usr/bin/python3
"""The page of the fault matrix: faults_report.py RESULTS.jsonl."""
import json
import os
import sys

VICTIMS = ("sensor", "aggregator", "postgres", "home")
FAULTS = ("kill", "stop", "disk full", "link cut", "20 % loss", "300 ms delay", "clock step")
HEAD = """# What survives what, measured

`tests/run --long faults` ({processors} processors): sensors read their captures, and while they deliver, something breaks at a random moment of the run. A cell held when

- every message of the captures, counted by another parser (`tests/system/model`), is in the health rows of the store;
- the counts of all transaction rows of the store, with those the loss ledger tells, are the transactions which the other parser's pairing finds in scope or without data, and what the sensors told;
- the sightings of all RRsets of the store, with those told lost, are what the sensors told, and (since c01311d) what the model finds;
- no batch is there twice: marks, ingest sequences and the ledger's batches are as many.

What each fault is:

| fault | sensor | aggregator | PostgreSQL | home take-over |
|---|---|---|---|---|
| kill | SIGKILL for up to half of the sensors, started again | SIGKILL for the home, started again | SIGKILL for the postmaster, started again | SIGKILL for the home, which stays away |
| stop | SIGSTOP for up to half of them | SIGSTOP for the home and its child | SIGSTOP for all its processes | SIGSTOP for the home until another is, and on |
| disk full | one of them has a disk of 100 KB for its spool and one megabyte of memory beside it: less than its captures need | the file system of its log and working folder is full; it has no other file open for writing | its data folder is full until it says so and on; it ends, and is started again | the same, and the home is killed meanwhile |
| link cut | all frames of up to half of the sensors are dropped | those of the home, to sensors and database | those of the database | the home hears nobody until another is, and on |
| 20 % loss | every fifth frame, each way | the home's | the database's | the database's, and the home is killed meanwhile |
| 300 ms delay | each frame, each way | the home's | the database's; the home must not change for it | the database's, and the home is killed meanwhile |
| clock step | up to half of them: their captures' clock goes an hour ahead and an hour behind, so does their own, and they are killed and started again after each step | the home's clock, an hour ahead, later an hour behind | its clock likewise | its clock goes back an hour as the home is killed: leases last longer than they may; later an hour ahead |
"""


def main():
    rows = {(row["fault"], row["victim"]): row for row in map(json.loads, open(sys.argv[1], encoding="utf-8"))}
    print(HEAD.format(processors=os.cpu_count()))
    print("| | " + " | ".join("home take-over" if v == "home" else v for v in VICTIMS) + " |\n|---" + "|---" * len(VICTIMS) + "|")
    for fault in FAULTS:
        cells = [rows.get((fault, victim)) for victim in VICTIMS]
        print(f"| {fault} | " + " | ".join(f"held, {row['seconds']} s" if row else "not run" for row in cells) + " |")
    print("\nSeconds are from the start of the delivery to its end, the fault in between. All rows, with what PICKET_SEED makes them again:\n")
    print("| fault | of | commit | sensors x transactions | lasts | seed | struck at | messages captured | stored transactions | RRset sightings | transactions lost, told | batches | homes changed |")
    print("|---" * 13 + "|")
    for (fault, victim), row in rows.items():
        print(f"| {fault} | {victim} | {row['commit']} | {row['sensors']} x {row['transactions']} | {row['stop_s']} s | {row['seed']} | {row['struck']:.0%} | {row['captured']} | {row['activity'] + row['negative']} "
              f"| {row['rrset']} | {row['lost']} | {row['marks']}, none twice | {row['moves']} |")
    print("\nThe clock is stepped by a library that is preloaded (`tests/support/clock_step.c` says why), delay is made by a relay of frames (`tests/support/delay_frames.py`). A sensor killed while it"
          "\ncaptures tells what it loses (cause crash): tests/system/test_crash.py. Sensors read first here, and are killed while they deliver. Both aggregators are cut off for longer than a lease"
          "\nmeanwhile, and who comes back first is the home: it is set back to the first one before anything is struck. Rows of 9fa45cb and before count that change as well (clock step of a sensor, of postgres).")


if __name__ == "__main__":
    main()
