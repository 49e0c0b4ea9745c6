"""Faults of the sensor that the tests show and that wait for their mending: each fails as expected, and the test fails when it no longer does."""
import pytest

SWOLLEN = "RDATA longer than 65,535 bytes when expanded is taken for sound"
FAULTS = {
    # name of a case, a capture, or what the test calls itself: what is wrong
    "no question in the response": "a response without its question enters the history",
    "damaged in the answer": "the first part of a damaged RRset enters the history as the whole",
    "a server widens its bailiwick to the root": "any zone that encloses the QNAME is believed",
    "a server widens its bailiwick to the top level": "any zone that encloses the QNAME is believed",
    "a stranger in a resolver's answer": "owners off the CNAME chain are taken",
    "a set is whole or absent": "the first 512 records are taken for the RRset",
    "malcolm__cve-2020-1350_with_tcp_handshake.pcap": SWOLLEN,
    **{f"swollen {rdtype} {mode}": SWOLLEN for rdtype in (24, 46) for mode in ("messages", "transactions")},
    "swollen 46 rrsets": SWOLLEN,
    "swollen 46 write": SWOLLEN,
}


def mark(request, name):
    if name in FAULTS:
        request.applymarker(pytest.mark.xfail(strict=True, reason=FAULTS[name]))
