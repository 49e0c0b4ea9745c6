#!/usr/bin/python3
"""Whether two .psp files say the same: psp_same.py PSP_ROWS A.psp B.psp.

A window that was given out in parts has a row in each for what was seen in several; here they are put together again, so files differ only where what they say does. Prints the
number of rows and up to ten differences; exit status 1 when there are any. For changes that must not change what is said (docs/PERFORMANCE.md)."""
import subprocess
import sys

# By kind, how the values of two parts of a row come together. Of RRsets the first server is kept, sketches of distinct names are maxima that the sum of parts does not tell: both are compared only for rows in one part.
SUM, MIN, MAX, OR, SATURATING = (lambda a, b: a + b), min, max, (lambda a, b: a | b), (lambda a, b: min(a + b, 255))
RULES = {
    "activity": [MIN, MAX, SUM, MIN, MAX, MAX, MIN, SUM, SUM, SUM, SATURATING],
    "rrset": [MIN, MAX, SUM, MIN, MAX, OR],
    "negative": [MIN, MAX, SUM],
    "client": [MIN, MAX, SUM, SUM, SUM, SUM],
    "health": [SUM],
}


def rows(probe, path):
    merged, n = {}, 0
    with subprocess.Popen([probe, path], stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            key, *values = line.split()
            rules = RULES[key.split(",", 1)[0]]
            numbers, rest = [int(v) for v in values[: len(rules)]], values[len(rules) :]
            n += 1
            if key in merged:
                before = merged[key]
                merged[key] = ([rule(a, b) for rule, a, b in zip(rules, before[0], numbers)], None)
            else:
                merged[key] = (numbers, rest)
    if process.returncode:
        sys.exit(process.returncode)
    return merged, n


def main():
    probe, first, second = sys.argv[1:]
    (a, n_a), (b, n_b) = rows(probe, first), rows(probe, second)
    differ = [key for key in sorted(a.keys() | b.keys()) if key not in a or key not in b or a[key][0] != b[key][0] or (None not in (a[key][1], b[key][1]) and a[key][1] != b[key][1])]
    for key in differ[:10]:
        print(key, a.get(key), b.get(key), sep="\n  ")
    print(f"{n_a} and {n_b} rows, {len(a)} and {len(b)} when parts are put together, {len(differ)} differ")
    return bool(differ)


if __name__ == "__main__":
    sys.exit(main())
