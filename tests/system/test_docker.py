"""The images hold what the programs need: the list of a Dockerfile's last stage against the libraries of the built programs."""
import pathlib
import re
import subprocess

import pytest

DOCKER = pathlib.Path(__file__).resolve().parents[2] / "docker"
ALWAYS_THERE = {"libc6", "libgcc-s1", "libasan8", "libubsan1"}  # in every image; the sanitizers in none


def packages_of(program):
    """The packages of the shared objects a program names."""
    names = re.findall(r"NEEDED\s+(\S+)", subprocess.run(["objdump", "-p", program], capture_output=True, text=True, check=True).stdout)
    assert names
    owners = subprocess.run(["dpkg-query", "-S", *(f"*/{name}" for name in names)], capture_output=True, text=True, check=False).stdout
    return {line.split(":")[0] for line in owners.splitlines() if not re.search("-cross|lib32|libx32", line)} - ALWAYS_THERE


@pytest.mark.parametrize("image, programs", [("sensor", ["picket-sensor"]), ("aggregator", ["picket-aggregator", "picket-api", "picketctl"])])
def test_an_image_has_the_libraries_of_its_programs(sensor, image, programs):
    last_stage = (DOCKER / f"{image}.Dockerfile").read_text().split("\nFROM ")[-1]
    installed = set(re.findall(r"[a-z0-9.+-]+", last_stage))
    needed = set().union(*(packages_of(pathlib.Path(sensor).parent / program) for program in programs))
    assert len(needed) >= 4 and needed <= installed, f"missing: {sorted(needed - installed)}"
