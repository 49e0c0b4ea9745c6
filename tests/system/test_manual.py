"""The manual page and --help name the same options."""
import re
import subprocess

from conftest import ROOT


def options(program, page):
    shown = subprocess.run([program, "--help"], capture_output=True, text=True, check=True).stdout
    return set(re.findall(r"--([a-z][a-z-]*)", shown)), set(re.findall(r"Fl -([a-z][a-z-]*)", (ROOT / page).read_text()))


def test_the_manual_has_every_option_and_no_other(sensor):
    of_help, of_page = options(sensor, "docs/man/picket-sensor.8")
    assert of_help == of_page


def test_the_operators_manual_has_every_option(ctl):
    of_help, of_page = options(ctl, "docs/man/picketctl.1")
    assert of_help <= of_page and of_page - of_help <= {"file", "help", "version", "pseudonym-days"}
