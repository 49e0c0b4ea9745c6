"""Sensors one minor version old, and one aggregator of two rolled up, down and up again, under traffic: the sums of the fault matrix hold.

tests/run --long upgrade builds the older programs from git and names their folder (PICKET_OLD_BIN_DIR); without them there is nothing to run."""
import os
import subprocess

import pytest
from test_faults import Field, captures, switch, wired  # noqa: F401 (fixtures)

OLD = os.environ.get("PICKET_OLD_BIN_DIR")
PROGRAMS = ("picket-sensor", "picket-aggregator", "picket-api", "picketctl")
pytestmark = pytest.mark.skipif(not OLD, reason="no older programs (PICKET_OLD_BIN_DIR): tests/run --long upgrade makes them")


def version_of(program):
    return subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout


class Mixed(Field):
    """A field that begins old: aggregators and their schema, and of the sensors every other one. What goes up and down is said for each by name."""

    def __init__(self, new, *arguments):
        self.new, self.old = new, {name: f"{OLD}/{name}" for name in PROGRAMS}
        self.release_of = {}
        folder, postgres, *rest = arguments
        super().__init__(folder, postgres, self.old, *rest)
        for site in self.sites[::2]:
            self.release_of[f"{site}-1"] = self.new

    def inside(self, place, name, program, *arguments):
        before, self.programs = self.programs, self.release_of.get(name, self.old)
        try:
            return super().inside(place, name, program, *arguments)
        finally:
            self.programs = before

    def replace(self, name, programs):
        """In order, as a package's upgrade does: it drains, the other one is the home meanwhile; then it is the home again."""
        self.processes[name].terminate()
        assert self.processes[name].wait(60) == 0, self.log(name)[-2000:]
        self.await_home("b")
        self.release_of[name] = programs
        self.start_named(name)
        self.ctl("home", "move", "acme", name)
        self.await_home(name)

    def replace_sensor(self, site, programs):
        self.processes[f"{site}-1"].terminate()
        self.processes[f"{site}-1"].wait(60)
        self.release_of[f"{site}-1"] = programs
        self.start_sensor(site, self.folder / "empty.pcap")


@pytest.fixture
def field(tmp_path, wired, switch, captures, sensor, aggregator, api, ctl):  # noqa: F811
    paths, expected = captures
    assert version_of(sensor) != version_of(f"{OLD}/picket-sensor")
    one = Mixed(dict(zip(PROGRAMS, (sensor, aggregator, api, ctl))), tmp_path, wired, switch, paths, expected)
    yield one
    one.close()
    wired.drop(one.database)
    switch.heal()


def begin(one):
    one.start_aggregators()
    one.generation = 0
    one.read_captures(one.captures)


def end(one):
    sums = one.finish()
    print(sums, "by the model:", one.expected)
    assert sums["messages"] == one.expected["messages"] and sums["lost"] == 0
    assert sums["activity"] + sums["negative"] == sums["told"] == one.expected["activity"] + one.expected["negative"]
    assert sums["rrset"] == sums["told_rrset"] == one.expected["rrset"]
    assert sums["marks"] == sums["sequences"] == sums["ledger"]


def migrate(one):
    done = subprocess.run([one.new["picket-aggregator"], "migrate", "--config", str(one.config)], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr


def test_old_and_new_sensors_at_new_aggregators(field):
    migrate(field)
    for name in "ab":
        field.release_of[name] = field.new
    begin(field)
    end(field)


def test_an_aggregator_and_sensors_go_up_down_and_up_under_traffic(field):
    begin(field)
    field.await_share(0.05)
    migrate(field)  # the old ones are at work
    field.await_share(0.15)
    for share, programs in ((0.2, field.new), (0.4, field.old), (0.6, field.new)):
        field.await_share(share)
        field.replace("a", programs)
        for site in field.sites[:2]:  # an old one and a new one: each changes to what it was not
            field.replace_sensor(site, field.new if field.release_of.get(f"{site}-1") is not field.new else field.old)
    assert field.delivered() < 1, "the last change was not under traffic: take more transactions (PICKET_FAULTS_TRANSACTIONS)"
    end(field)
    assert field.holder() == "a"
