"""docs/TRANSPORT_TESTS.md against the tests: each of the twelve is there by its number, what it names exists and is run, and its full size was run as large as it says."""
import json
import re

import pytest
from conftest import ROOT

PAGE = (ROOT / "docs/TRANSPORT_TESTS.md").read_text()
ROWS = dict(re.findall(r"^\| 8\.10-(\d+) \| (.*) \|$", PAGE, re.M))
PATH = re.compile(r"tests/\S+\.(?:py|c)\b")
FULL = {1: {"kill": {"batches": 100_000, "rows": 1_000_000}}, 2: {"database stopped": {"away_s": 600}, "database gone": {"away_s": 600}},
        6: {"frames": {"frames": 600_000}, "flood": {"seconds": 300}}, 10: {"keys": {"batches": 100_000}}}


def test_there_are_twelve():
    assert sorted(map(int, ROWS)) == list(range(1, 13))


@pytest.mark.parametrize("number", range(1, 13))
def test_what_a_row_names_is_run(number):
    """`file` `name` `name`...: a Python test, a cmocka test that its file registers, or a fuzz target with its corpus."""
    words = re.findall(r"`([^`]+)`", ROWS[str(number)])
    assert any(PATH.fullmatch(word) for word in words)
    source, place, n_names = "", "", {}
    for word in words:
        if PATH.fullmatch(word):
            path = ROOT / word
            source = path.read_text()
            n_names[word] = int(path.parts[-2] == "fuzz")
            here = (path.parent / "CMakeLists.txt").read_text()
            if path.suffix == ".c":
                assert path.name in here, f"{word} is built"
            if path.parts[-2] == "fuzz":
                assert "heap_cap_begin();" in source and any((path.parent / "corpus" / path.stem.removeprefix("fuzz_")).iterdir())
            place = word
        elif f"def test_{word}(" in source or f"cmocka_unit_test({word})" in source:
            n_names[place] += 1
        else:
            assert re.fullmatch(r"tests/run --long \w+|(docs|tests|aggregator)/\S+\.(md|h|c)", word), f"{word} is in {place}"
    assert all(n_names.values()), n_names


@pytest.mark.parametrize("number", FULL)
def test_the_full_size_was_run(number):
    lines = [json.loads(line) for line in (ROOT / "tests/long/transport.jsonl").read_text().splitlines()]
    for name, least in FULL[number].items():
        (row,) = [line for line in lines if (line["number"], line["test"]) == (number, name)]
        assert all(row[key] >= value for key, value in least.items()), row
        assert re.fullmatch(r"[0-9a-f]{7,}", row["commit"]) and re.fullmatch(r"\d{4}-\d\d-\d\d", row["date"])
        assert row["commit"] in ROWS[str(number)] and row["date"] in ROWS[str(number)], "the page has its figures"
