"""Faults of the sensor that the tests show and that wait for their mending: each fails as expected, and the test fails when it no longer does."""
import pytest

FAULTS = {}  # name of a case, a capture, or what the test calls itself: what is wrong


def mark(request, name):
    if name in FAULTS:
        request.applymarker(pytest.mark.xfail(strict=True, reason=FAULTS[name]))
