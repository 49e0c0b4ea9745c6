"""What a hostile capture can make the sensor hold: never more than the bound it states, and no more the longer it goes on."""
import json
import os
import pathlib
import random
import struct
import subprocess

import pytest
from conftest import program

UNCOUNTED = 32 << 20  # program, libraries, stacks, the allocator's own: not what the bound is about
N_FLOOD = 120_000


def is_sanitized():
    return b"__asan_init" in pathlib.Path(program("picket-sensor")).read_bytes()


def ip(src, protocol, payload, ident=0, fragment=0):
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), ident, fragment, 64, protocol, 0)
    return b"\x02" * 12 + b"\x08\0" + header + src + b"\xc0\0\2\x35" + payload


def answered(src, reply):
    """The same packet the other way round."""
    return reply[:26] + b"\xc0\0\2\x35" + src + reply[34:]


@pytest.fixture(scope="module")
def flood(tmp_path_factory):
    """Each packet from a client, about a name and with data of its own: queries without answer, answers, openings of streams with a hole, first fragments."""
    rng, path, ts_us = random.Random(7), tmp_path_factory.mktemp("memory") / "flood.pcap", 1_760_000_000_000_000
    with open(path, "wb", buffering=1 << 20) as out:
        out.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1))
        for i in range(N_FLOOD):
            ts_us += 10
            src, sport = struct.pack("!I", 0x0A000000 + i * 7), 1024 + i % 60000
            qname = b"\x3f" + b"%063d" % rng.getrandbits(100) + b"\x10" + b"%016d" % i + b"\3com\0"
            query = struct.pack("!HHHHHH", i % 65536, 0x0100, 1, 0, 0, 0) + qname + b"\0\x10\0\1"
            udp = struct.pack("!HHHH", sport, 53, 8 + len(query), 0) + query
            packets = [ip(src, 17, udp)]
            if i % 4 == 0:
                text = b"\xc8" + rng.randbytes(200)
                reply = struct.pack("!HHHHHH", i % 65536, 0x8180, 1, 1, 0, 0) + query[12:]
                reply += b"\xc0\x0c\0\x10\0\1" + struct.pack("!IH", i, len(text)) + text
                packets.append(answered(src, ip(src, 17, struct.pack("!HHHH", 53, sport, 8 + len(reply), 0) + reply)))
            elif i % 4 == 1:  # a segment of a stream, with a hole before it
                for seq, flags, data in ((99, 2, b""), (5000, 24, rng.randbytes(1200))):
                    packets.append(ip(src, 6, struct.pack("!HHIIBBHHH", sport, 53, seq, 1, 0x50, flags, 65535, 0, 0) + data))
            elif i % 4 == 2:
                packets.append(ip(src, 17, udp + rng.randbytes(1200 - len(udp) % 8), i % 65536, 0x2000))
            for packet in packets:
                out.write(struct.pack("<IIII", ts_us // 1_000_000, ts_us % 1_000_000, len(packet), len(packet)) + packet)
    return path


def measure(sensor, files, target):
    with open(target.with_suffix(".err"), "wb") as err:
        child = subprocess.Popen([sensor, "--read", *files, "--site", "hq", "--write", target], stderr=err)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    counters = json.loads(target.with_suffix(".err").read_text().splitlines()[-1])
    assert child.returncode == 0 and counters["balanced"] is True
    return usage.ru_maxrss * 1024, counters


@pytest.mark.skipif(is_sanitized(), reason="the sanitizers' own memory is many times ours")
def test_resident_memory_stays_below_the_stated_bound(sensor, flood, tmp_path):
    once, counters = measure(sensor, [flood], tmp_path / "once.psp")
    assert counters["evicted"] > 0 and counters["merge_shed"] == 0  # tables were full, no row was lost
    assert sum(counters["fragments"].values()) > 0 and counters["tcp_streams"] > 10_000
    assert once > 64 << 20  # else nothing was attacked
    assert once < counters["memory_bound_bytes"] + UNCOUNTED
    again, counters = measure(sensor, [flood] * 20, tmp_path / "again.psp")
    print(f"once {once >> 20} MiB, twenty times {again >> 20} MiB, bound {counters['memory_bound_bytes'] >> 20} MiB")
    assert again < counters["memory_bound_bytes"] + UNCOUNTED
    assert again < once + (once >> 3)
