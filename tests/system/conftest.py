"""Fixtures: the programs under test, the shared captures. Everything else is in the *_support modules."""
import os
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
pytest_plugins = ["pg_support"]


def program(name):
    folder = pathlib.Path(os.environ.get("PICKET_BIN_DIR", ROOT / "build/dev/bin"))
    path = folder / name
    if not path.exists():
        reason = f"{path} is not built (PICKET_BIN_DIR names the folder)"
        if os.environ.get("PICKET_REQUIRE"):
            pytest.fail(reason)
        pytest.skip(reason)
    return str(path)


@pytest.fixture(scope="session")
def sensor():
    return program("picket-sensor")


@pytest.fixture(scope="session")
def aggregator():
    return program("picket-aggregator")


@pytest.fixture(scope="session")
def api():
    return program("picket-api")


@pytest.fixture(scope="session")
def ctl():
    return program("picketctl")


@pytest.fixture(scope="session")
def captures_folder():
    return ROOT / "tests/data/captures"
