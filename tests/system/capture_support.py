"""The shared captures (../shared/data) and what an independent dissector saw in them."""
import csv
import json
import pathlib
import subprocess

import pytest

DATA = pathlib.Path(__file__).resolve().parents[3] / "shared/data"


def manifest():
    if not (DATA / "manifest.tsv").exists():
        return []
    with open(DATA / "manifest.tsv", newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE))


def name_of(row):
    for key in ("capture", "file", "name"):
        if key in row:
            return row[key]
    raise KeyError(f"no column names the capture: {list(row)}")


def captures():
    return sorted(path.name for path in (DATA / "pcap").iterdir()) if (DATA / "pcap").is_dir() else []


def need_captures():
    if not captures():
        pytest.skip("the shared captures (../shared/data/pcap) are not on this machine")


def expected(capture, reorder=False):
    """The TSV lines of a capture as dictionaries."""
    path = DATA / "expected" / (capture + (".reorder.tsv" if reorder else ".tsv"))
    if not path.exists():
        return []
    with open(path, newline="", encoding="utf-8", errors="surrogateescape") as stream:
        return list(csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE))


_runs = {}


def run_sensor(sensor, capture, mode, extra=()):
    """(exit status, lines, counters, standard error) of one capture in one mode; kept for the session."""
    key = (sensor, str(capture), mode, extra)
    if key not in _runs:
        path = capture if pathlib.Path(str(capture)).is_absolute() else DATA / "pcap" / capture
        done = subprocess.run([sensor, "--read", str(path), "--output", mode, *extra], capture_output=True, timeout=300, check=False)
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        tail = done.stderr.decode(errors="replace").splitlines()
        counters = json.loads(tail[-1]) if tail and tail[-1].startswith("{") else None
        _runs[key] = (done.returncode, lines, counters, done.stderr.decode(errors="replace"))
    return _runs[key]
