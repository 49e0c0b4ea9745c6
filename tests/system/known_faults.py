"""Faults of the sensor that the tests show and that wait for their mending: each fails as expected, and the test fails when it no longer does."""
import pytest

SWOLLEN = "RDATA longer than 65,535 bytes when expanded is taken for sound"
FAULTS = {
    # name of a case, a capture, or what the test calls itself: what is wrong
    "malcolm__cve-2020-1350_with_tcp_handshake.pcap": SWOLLEN,
    **{f"swollen {rdtype} {mode}": SWOLLEN for rdtype in (24, 46) for mode in ("messages", "transactions")},
}


def mark(request, name):
    if name in FAULTS:
        request.applymarker(pytest.mark.xfail(strict=True, reason=FAULTS[name]))
