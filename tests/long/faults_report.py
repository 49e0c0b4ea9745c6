#!/usr/bin/python3
"""The page of the fault matrix: faults_report.py RESULTS.jsonl COMMIT."""
import datetime
import json
import os
import sys

NOT_RUN = {
    ("link cut", "aggregator"): "the same link as the sensor's", ("20 % loss", "aggregator"): "the same link as the sensor's",
    ("link cut", "postgres"): "a unix socket here", ("20 % loss", "postgres"): "a unix socket here",
    ("disk full", "aggregator"): "it writes none",
}
VICTIMS = ("sensor", "aggregator", "postgres", "home")
FAULTS = ("kill", "stop", "disk full", "link cut", "20 % loss", "300 ms delay", "clock step")


def main():
    rows = {(row["fault"], row["victim"]): row for row in map(json.loads, open(sys.argv[1], encoding="utf-8"))}
    print(f"# What survives what, measured\n\nCommit {sys.argv[2]}, {datetime.date.today()}, {os.cpu_count()} processors; `tests/run --long faults` with {os.environ.get('PICKET_FAULTS_SENSORS', '?')} sensors of"
          f" {os.environ.get('PICKET_FAULTS_TRANSACTIONS', '?')} transactions, stops and cuts of {os.environ.get('PICKET_FAULTS_STOP_S', '?')} s. A cell held when every message of the captures, counted by"
          " another parser, is in the health ledger, every transaction told is stored or told lost, and no batch is there twice.\n")
    print("| | " + " | ".join("home take-over" if v == "home" else v for v in VICTIMS) + " |\n|---" + "|---" * len(VICTIMS) + "|")
    for fault in FAULTS:
        cells = []
        for victim in VICTIMS:
            row = rows.get((fault, victim))
            cells.append(f"held, {row['seconds']} s" if row else NOT_RUN.get((fault, victim), "not run"))
        print(f"| {fault} | " + " | ".join(cells) + " |")
    print("\n| fault | of | seed | messages captured | stored transactions | RRset sightings | lost, told | batches | |\n|---|---|---|---|---|---|---|---|---|")
    for (fault, victim), row in rows.items():
        print(f"| {fault} | {victim} | {row['seed']} | {row['captured']} | {row['activity'] + row['negative']} | {row['rrset']} | {row['lost']} | {row['marks']} | none twice |")


if __name__ == "__main__":
    main()
