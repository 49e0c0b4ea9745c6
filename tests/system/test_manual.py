"""The manual page and --help name the same options."""
import re
import subprocess

from conftest import ROOT


def test_the_manual_has_every_option_and_no_other(sensor):
    shown = subprocess.run([sensor, "--help"], capture_output=True, text=True, check=True).stdout
    page = (ROOT / "docs/man/picket-sensor.8").read_text()
    of_help = set(re.findall(r"--([a-z][a-z-]+)", shown))
    of_page = set(re.findall(r"Fl -([a-z][a-z-]+)", page))
    assert of_help == of_page
