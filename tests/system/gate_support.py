"""Tests of docs/TRANSPORT_TESTS.md that have two sizes: a quick one in every run, the full one in tests/run --long transport, which keeps what was measured."""
import fcntl
import json
import os

RESULTS = os.environ.get("PICKET_TRANSPORT")


def size(quick, full):
    return full if RESULTS else quick


def keep(number, **measured):
    """Printed; at full size a line of the file too, in place of the one of the same number and name."""
    row = {"number": number, "commit": os.environ.get("PICKET_TRANSPORT_COMMIT", "?"), "date": os.environ.get("PICKET_TRANSPORT_DATE", "?"), **measured}
    print(json.dumps(row))
    if RESULTS:
        with open(RESULTS, "a+", encoding="utf-8") as out:
            fcntl.flock(out, fcntl.LOCK_EX)
            out.seek(0)
            rows = [other for other in map(json.loads, out) if (other["number"], other["test"]) != (number, measured["test"])] + [row]
            rows.sort(key=lambda r: (r["number"], r["test"]))
            out.truncate(0)
            out.write("".join(json.dumps(r) + "\n" for r in rows))
