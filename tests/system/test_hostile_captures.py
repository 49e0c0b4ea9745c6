"""No capture, whole or damaged, may crash the sensor, make it hang, or make a packet vanish from its counters."""
import gzip
import json
import lzma
import os
import random
import re
import struct
import subprocess
import zlib

import capture_support as support
import dns.wire
import known_faults
import pytest
from model import craft, dnsparse, packets

MODES = ("messages", "transactions", "rrsets", "none")
DATAERR = 65
TIMEOUT_S = 120
SANITIZER = re.compile(r"AddressSanitizer|LeakSanitizer|UndefinedBehaviorSanitizer|ThreadSanitizer|runtime error:|core dumped")
SEED = int(os.environ.get("PICKET_TEST_SEED", "20261124"))


def balance_faults(counters):
    """Which sums do not hold: every packet and every message ends in exactly one place."""
    c = counters
    sums = {
        "packets = dispositions": (c["packets"], sum(c["dispositions"].values())),
        "messages = udp + tcp": (c["messages"], c["messages_udp"] + c["messages_tcp"]),
        "fragments = fates": (c["dispositions"]["fragment"] + c["reassembled"]["fragment"], sum(c["fragments"].values())),
        "no fragment is left": (c["fragments"]["pending"], 0),
        "whole packets = dispositions": (c["fragments_whole"], sum(c["reassembled"].values())),
        "udp messages = packets with DNS": (c["messages_udp"], c["dispositions"]["dns"] + c["reassembled"]["dns"]),
        "segments = packets with TCP": (c["tcp_segments"], c["dispositions"]["tcp"] + c["reassembled"]["tcp"]),
        "tcp bytes": (c["tcp_bytes"], c["tcp_bytes_used"] + c["tcp_bytes_duplicate"] + sum(c["tcp_shed"].values())),
        "no tcp byte is left": (c["tcp_bytes_pending"], 0),
        "messages = parse results": (c["messages"], sum(c["parsed"].values())),
        "messages = kinds": (c["messages"], c["unusable"] + c["queries"] + c["responses"] + c["ignored"] + c["copies"] + c["multicast"]),
        "queries": (c["queries"], c["opened"] + c["retransmissions"]),
        "responses": (c["responses"], c["matched"] + c["unsolicited"] + c["transfer_more"]),
        "transactions": (c["opened"], c["answered"] + c["unanswered"]),
        "answered = matched": (c["answered"], c["matched"]),
        "balanced": (c["balanced"], True),
    }
    return [f"{name}: {left} and {right}" for name, (left, right) in sums.items() if left != right]


def output_faults(mode, lines, counters):
    """What was printed against what was counted."""
    if mode == "rrsets":
        printed, counted = sum(line["count"] for line in lines), counters["rrsets"]
    else:
        counted = {"none": 0, "messages": counters["messages"], "transactions": counters["transactions"] + counters["unsolicited"]}[mode]
        printed = len(lines)
    if mode == "none":  # everything but writing: each transaction has come to its window
        merged = sum(counters[k] for k in ("in_scope", "overflow", "negative", "positive", "merge_shed", "upstream"))
        if merged != counters["transactions"]:
            return [f"none: {merged} merged, {counters['transactions']} transactions"]
    return [] if printed == counted else [f"{mode}: {printed} printed, {counted} counted"]


def check_alive(status, stderr):
    assert status >= 0, f"killed by signal {-status}:\n{stderr[-2000:]}"
    assert not SANITIZER.search(stderr), stderr[-4000:]


def bounds_told(stderr):
    """The first line says what may be held, and its sum."""
    told = {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)(?= |$)", stderr.splitlines()[0])}
    assert told["total_bytes"] == sum(told[key] for key in ("memory_bound_bytes", "spool_bytes", "dnstap_bytes", "unpack_bytes", "kernel_ring_bytes"))
    return told


def packets_in(capture):
    return next(int(row["packets"]) for row in support.manifest() if support.name_of(row) == capture)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("capture", support.captures() or [None])
def test_every_capture_in_every_mode(sensor, capture, mode):
    support.need_captures()
    status, lines, counters, stderr = support.run_sensor(sensor, capture, mode)
    check_alive(status, stderr)
    assert counters, f"no counters at the end of standard error: {stderr[-500:]}"
    assert not balance_faults(counters) + output_faults(mode, lines, counters)
    assert status == 0, stderr[-500:]
    assert counters["packets"] == packets_in(capture) and counters["peak_rss_kb"] > 1000
    assert len(stderr.splitlines()) == 2 and bounds_told(stderr)["memory_bound_bytes"] == counters["memory_bound_bytes"], f"more than the bounds and the counters: {stderr[:500]}"


# --- damaged copies ---


def run(sensor, path, mode="messages"):
    done = subprocess.run([sensor, "--read", str(path), "--output", mode], capture_output=True, timeout=TIMEOUT_S, check=False)
    stderr = done.stderr.decode(errors="replace")
    check_alive(done.returncode, stderr)
    assert stderr.splitlines(), "nothing on standard error"
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], json.loads(stderr.splitlines()[-1]), stderr


def small_captures(at_most):
    """Captures that are not too large; pcap and pcapng, plain and packed."""
    return [name for name in support.captures() if (support.DATA / "pcap" / name).stat().st_size <= at_most]


def record_starts(data):
    """Offsets at which a packet record of a pcap file begins, and where the file ends."""
    order = "<" if data[:4] in (b"\xd4\xc3\xb2\xa1", b"\x4d\x3c\xb2\xa1") else ">"
    at, starts = 24, []
    while at + 16 <= len(data):
        starts.append(at)
        at += 16 + struct.unpack_from(order + "I", data, at + 8)[0]
    return starts + [at]


def sample(generator, items, count):
    return items if len(items) <= count else sorted(generator.sample(items, count))


@pytest.mark.parametrize("mode", ("messages", "transactions", "rrsets"))
def test_cut_at_every_kind_of_place(sensor, tmp_path, mode):
    """Cut inside a record header, after it, inside its data and between two: all before it is used, and the error names file and offset."""
    support.need_captures()
    capture = "dnscap__edns.pcap"
    data = (support.DATA / "pcap" / capture).read_bytes()
    _, whole, _, _ = support.run_sensor(sensor, capture, "messages")
    starts = record_starts(data)
    for number in (0, 5, 13):
        start, end = starts[number], starts[number + 1]
        for cut in (start, start + 1, start + 15, start + 16, start + 17, end - 1):
            path = tmp_path / "cut.pcap"
            path.write_bytes(data[:cut])
            status, lines, counters, stderr = run(sensor, path, mode)
            assert counters["packets"] == number, f"cut at {cut}"
            assert not balance_faults(counters) + output_faults(mode, lines, counters)
            if mode == "messages":
                assert lines == whole[:number]
            if cut == start:
                assert status == 0, f"cut between two records, at {cut}: {stderr}"
                continue
            assert status == DATAERR
            told = re.search(r"offset (\d+)", stderr)
            assert str(path) in stderr and told and start <= int(told[1]) <= cut, f"cut at {cut}, record at {start}: {stderr}"


def test_cut_anywhere(sensor, tmp_path):
    """Pcap, pcapng and packed files cut at random: exit status 0 or an error that names file and offset, and a beginning of the whole output."""
    support.need_captures()
    generator = random.Random(SEED)
    print(f"PICKET_TEST_SEED={SEED}")
    chosen = sample(generator, small_captures(60_000), 24) + ["compactor__dns.pcap.xz"]
    for capture in chosen:
        data = (support.DATA / "pcap" / capture).read_bytes()
        _, whole, _, _ = support.run_sensor(sensor, capture, "messages")
        for cut in [0, 3, 23] + [generator.randrange(24, len(data)) for _ in range(3)]:
            path = tmp_path / capture
            path.write_bytes(data[:cut])
            status, lines, counters, stderr = run(sensor, path)
            where = f"{capture} cut at {cut} (seed {SEED}): {stderr}"
            assert not balance_faults(counters), where
            assert status in (0, DATAERR), where
            assert status == 0 or (str(path) in stderr and re.search(r"offset \d+", stderr)), where
            assert [line for line in lines if line not in whole[: len(lines)]] == [] or packets.unpacked(support.DATA / "pcap" / capture)[:4] == b"\n\r\r\n" or "tcp" in {line["proto"] for line in lines}, where
            assert len(lines) <= len(whole), where


def flipped(generator, data, start, count):
    damaged = bytearray(data)
    for _ in range(count):
        damaged[generator.randrange(start, len(damaged))] ^= 1 << generator.randrange(8)
    return bytes(damaged)


@pytest.mark.parametrize("mode", MODES)
def test_flipped_bits(sensor, tmp_path, mode):
    """Bits flipped anywhere behind the file header: no crash, no hang, sums hold; a file that cannot be read on names file and offset."""
    support.need_captures()
    seed = f"{SEED}-{mode}"
    generator = random.Random(seed)
    print(f"PICKET_TEST_SEED={SEED}")
    chosen = [name for name in sample(generator, small_captures(100_000), 30) if not name.endswith((".gz", ".xz"))]
    for capture in chosen:
        data = (support.DATA / "pcap" / capture).read_bytes()
        for flips in (1, 20, max(1, len(data) // 50)):
            path = tmp_path / f"flipped-{flips}-{capture}"
            path.write_bytes(flipped(generator, data, 24, flips))
            status, lines, counters, stderr = run(sensor, path, mode)
            where = f"{path.name} (seed {seed}): {stderr[:600]}"
            assert not balance_faults(counters) + output_faults(mode, lines, counters), where
            assert status in (0, DATAERR), where
            assert status == 0 or (str(path) in stderr and re.search(r"offset \d+|link type \d+", stderr)), where


def test_times_of_another_age(sensor, tmp_path):
    """A pcapng time that is far beyond any calendar, then sound ones: nothing overflows, and all packets are used."""
    frame = craft.asked(craft.query("www.example.com."))[1]
    blocks = struct.pack("<IIIHHqI", 0x0A0D0D0A, 28, 0x1A2B3C4D, 1, 0, -1, 28) + struct.pack("<IIHHII", 1, 20, 1, 0, 65535, 20)
    padded = frame + bytes(-len(frame) % 4)
    for ticks in (craft.START_US, 2**64 - 1, 2**63, 0, craft.START_US + 1_000_000):
        blocks += struct.pack("<7I", 6, 32 + len(padded), 0, ticks >> 32, ticks & 0xFFFFFFFF, len(frame), len(frame)) + padded + struct.pack("<I", 32 + len(padded))
    path = tmp_path / "times.pcapng"
    path.write_bytes(blocks)
    for mode in MODES:
        status, lines, counters, stderr = run(sensor, path, mode)
        assert status == 0 and counters["packets"] == counters["queries"] == 5, stderr
        assert not balance_faults(counters) + output_faults(mode, lines, counters)


def interface_block(link):
    return struct.pack("<IIHHII", 1, 20, link, 0, 65535, 20)


def test_interfaces_of_several_kinds(sensor, tmp_path):
    """Packets of an interface whose kind is not known are counted apart and stop nobody; a file with no other interface is refused."""
    section = struct.pack("<IIIHHqI", 0x0A0D0D0A, 28, 0x1A2B3C4D, 1, 0, -1, 28)
    frame = craft.asked(craft.query("www.example.com."))[1]
    padded = frame + bytes(-len(frame) % 4)
    given = b""
    for number, interface in enumerate((0, 1, 0, 2)):
        ticks = craft.START_US + number * 1_000_000
        given += struct.pack("<7I", 6, 32 + len(padded), interface, ticks >> 32, ticks & 0xFFFFFFFF, len(frame), len(frame)) + padded + struct.pack("<I", 32 + len(padded))
    path = tmp_path / "kinds.pcapng"
    path.write_bytes(section + interface_block(1) + interface_block(195) + interface_block(1) + given)
    for mode in MODES:
        status, lines, counters, stderr = run(sensor, path, mode)
        assert status == 0 and counters["packets"] == 4 and counters["queries"] == 3 and counters["dispositions"]["bad_link"] == 1, stderr
        assert not balance_faults(counters) + output_faults(mode, lines, counters)
    path.write_bytes(section + interface_block(195) + given)
    status, _, counters, stderr = run(sensor, path)
    assert status == DATAERR and "link type 195" in stderr and counters["packets"] == 0


def test_a_pipe_is_read_in_whatever_pieces_it_gives(sensor):
    """The marks that tell the kind of a file, its header and its records, also byte by byte."""
    frame = craft.asked(craft.query("www.example.com."))[1]
    record = struct.pack("<4I", 1_700_000_000, 0, len(frame), len(frame)) + frame
    with subprocess.Popen([sensor, "--read", "-", "--output", "messages"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        whole = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1) + 3 * record
        for byte in whole[:50]:
            process.stdin.write(bytes([byte]))
            process.stdin.flush()
        process.stdin.write(whole[50:])
        out, err = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0, err
    assert len(out.splitlines()) == 3 and json.loads(err.splitlines()[-1])["packets"] == 3


def test_flipped_payloads(sensor, tmp_path):
    """Bits flipped inside DNS payloads alone, so that the damage reaches the parser and not the file reader: thousands of bad messages in one run."""
    support.need_captures()
    generator = random.Random(SEED)
    print(f"PICKET_TEST_SEED={SEED}")
    frames, sources = [], ("arkime__dns-wiresharkrepo.pcap", "zeek__rrsig.pcap", "pktvisor__dns_udp_mixed_rcode.pcap", "tcpdump__edns-opts.pcap", "zeek__dns-tsig.pcap")
    for capture in sources:
        for datagram in packets.datagrams(support.DATA / "pcap" / capture):
            for flips in (1, 2, 5, 30):
                for _ in range(10):
                    payload = flipped(generator, datagram.payload, 0, flips)
                    frames.append((craft.START_US + len(frames) * 100, craft.udp(craft.CLIENT, 53, craft.SERVER, 53, payload)))
            for cut in range(0, len(datagram.payload), 7):
                frames.append((craft.START_US + len(frames) * 100, craft.udp(craft.CLIENT, 53, craft.SERVER, 53, datagram.payload[:cut])))
    path = tmp_path / "payloads.pcap"
    path.write_bytes(craft.pcap(frames))
    for mode in MODES:
        status, lines, counters, _ = run(sensor, path, mode)
        assert status == 0
        assert counters["packets"] == len(frames) > 4000
        assert not balance_faults(counters) + output_faults(mode, lines, counters)
    assert counters["parsed"]["ok"] < counters["messages"] - 1000, "hardly anything was damaged"


@pytest.mark.parametrize("content, name", [
    (b"", "empty.pcap"), (b"\xd4\xc3\xb2\xa1", "magic.pcap"), (b"GARBAGE " * 100, "garbage.pcap"), (b"\x1f\x8b\x08\x00garbage", "garbage.pcap.gz"),
    (b"\xfd7zXZ\0garbage garbage", "garbage.pcap.xz"), (b"\x28\xb5\x2f\xfdgarbage garbage", "garbage.pcap.zst"), (b"\n\r\r\n" + bytes(60), "zeros.pcapng"),
])
def test_what_is_no_capture(sensor, tmp_path, content, name):
    path = tmp_path / name
    path.write_bytes(content)
    status, lines, counters, stderr = run(sensor, path)
    assert status == DATAERR and lines == [] and counters["packets"] == 0
    assert str(path) in stderr.splitlines()[1] and re.search(r"offset \d+", stderr), stderr
    assert "interface" not in stderr.replace('"interfaces":[]', "").replace("interfaces_refused", ""), "nobody captures from an interface here"


def xz_of_window(content, bits):
    """The header of its only block asks for another window: 2^(n/2 + 12), halves more for odd ones."""
    packed = bytearray(lzma.compress(content, preset=0))
    size = (packed[12] + 1) * 4
    packed[16] = bits
    packed[12 + size - 4:12 + size] = zlib.crc32(packed[12:12 + size - 4]).to_bytes(4, "little")
    return bytes(packed)


def test_what_asks_for_more_memory_than_is_told_is_refused(sensor, tmp_path):
    path = tmp_path / "window.pcap.xz"
    header = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1)
    for bits, fits in ((28, True), (30, True), (31, False)):  # 64 MiB as of xz -9, 128, 192
        path.write_bytes(xz_of_window(header, bits))
        status, _, counters, stderr = run(sensor, path)
        assert bounds_told(stderr)["unpack_bytes"] == 130 << 20 and counters["packets"] == 0
        assert status == (0 if fits else DATAERR) and ("needs more memory than 130 MiB" in stderr) is not fits, stderr


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress])
@pytest.mark.parametrize("junk", [b"9 bytes..", b"more bytes than a header of xz has"])
def test_what_stands_behind_the_packed_data_is_told(sensor, tmp_path, pack, junk):
    path = tmp_path / "packed"
    packet = struct.pack("<IIII", craft.START_US // 1_000_000, 0, 20, 20) + bytes(20)
    path.write_bytes(pack(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1) + packet))
    assert run(sensor, path)[0] == 0
    path.write_bytes(path.read_bytes() + junk)
    status, _, counters, stderr = run(sensor, path)
    assert status == DATAERR and counters["packets"] == 1 and "after packet 1: the packed data cannot be unpacked" in stderr, stderr


def test_a_missing_file_is_named(sensor, tmp_path):
    status, lines, _, stderr = run(sensor, tmp_path / "nowhere.pcap")
    assert status not in (0, DATAERR) and lines == []
    assert str(tmp_path / "nowhere.pcap") in stderr


# --- TCP ---


def stream_frames(sport, dport, src, dst, message, ts_us):
    """A whole TCP direction: SYN, then the message in segments."""
    data = struct.pack(">H", len(message)) + message
    frames = [(ts_us, craft.tcp(src, sport, dst, dport, 999, packets.SYN))]
    for at in range(0, len(data), 1400):
        frames.append((ts_us + 10 + at, craft.tcp(src, sport, dst, dport, 1000 + at, 16, data[at : at + 1400])))
    return frames


@pytest.mark.parametrize("away", (2**31, 2**31 - 1, 2**31 + 1), ids=hex)
def test_a_segment_from_far_away(sensor, tmp_path, away):
    """Sequence numbers half the circle off, between two good messages: the good ones are read."""
    message = craft.wire(craft.query("www.example.com."))
    frames = stream_frames(40000, 53, craft.CLIENT, craft.SERVER, message, craft.START_US)
    next_seq = 1002 + len(message)
    frames.append((craft.START_US + 5000, craft.tcp(craft.CLIENT, 40000, craft.SERVER, 53, (next_seq + away) % 2**32, 16, b"junk")))
    frames.append((craft.START_US + 6000, craft.tcp(craft.CLIENT, 40000, craft.SERVER, 53, next_seq, 16, struct.pack(">H", len(message)) + message)))
    path = tmp_path / "away.pcap"
    path.write_bytes(craft.pcap(frames))
    status, lines, counters, stderr = run(sensor, path)
    assert status == 0 and len(lines) == 2, stderr
    assert not balance_faults(counters) + output_faults("messages", lines, counters)


# --- RDATA larger than RDATA can be ---


SIGNER_AT = 108  # where the first record's signer stands: header 12, question 66, owner to RDLENGTH 12, fixed RRSIG fields 18


def swollen_exchange(rdtype, n_signature):
    """A response whose first signature record has a signer of 255 bytes made of labels that overlap each other and the record: a little more than
    RDLENGTH can say, once it is expanded. Who keeps that length in two bytes finds the next ones in the signature."""
    qname = bytearray(b"\x3c" + b"a" * 60 + b"\0")
    for at in (60, 58, 56, 54):
        qname[at - 12] = 61 if at == 54 else 63
    signature = bytearray(b"\xff" * n_signature)
    for at, target in ((124, 58), (122, 56), (120, 54)):  # each label of the chain ends at the pointer to the next, lower one
        signature[at - SIGNER_AT - 2 : at - SIGNER_AT] = struct.pack(">H", 0xC000 | target)
    signature[116 - SIGNER_AT - 2] = 0
    fields = [struct.pack(">HBBIIIH", 1, algorithm, 2, 300, 1800000000, 1600000000, 1) for algorithm in (8, 9, 10)]  # in the order of a sorted set
    records, owner = b"", b"\xc0\x0c"
    for rdata in (fields[0] + b"\xc0\x3c" + bytes(signature), fields[1] + b"\0\xff", fields[2] + b"\0\xff"):
        records += owner + struct.pack(">HHIH", rdtype, 1, 300, len(rdata)) + rdata
    question = bytes(qname) + struct.pack(">HH", rdtype, 1)
    query = struct.pack(">6H", 7, 0x0100, 1, 0, 0, 0) + question
    response = struct.pack(">6H", 7, 0x8180, 1, 3, 0, 0) + question + records
    frames = stream_frames(40000, 53, craft.CLIENT, craft.SERVER, query, craft.START_US)
    return frames + stream_frames(53, 40000, craft.SERVER, craft.CLIENT, response, craft.START_US + 100_000)


N_SIGNATURE = 65_300


def test_the_trick_works(tmp_path):
    """dnspython, too, expands the signer to 255 bytes, and the RDATA to more than 65,535."""
    path = tmp_path / "swollen.pcap"
    path.write_bytes(craft.pcap(swollen_exchange(46, N_SIGNATURE)))
    payload = packets.messages(path)[-1][0].payload
    assert len(payload) <= 65535
    parser = dns.wire.Parser(payload, SIGNER_AT)
    assert len(parser.get_name().to_wire()) == 255
    assert 18 + 255 + N_SIGNATURE > 65535
    with pytest.raises(dnsparse.Refused, match="65535"):
        dnsparse.parse(payload)


@pytest.mark.parametrize("rdtype", (24, 46), ids=("SIG", "RRSIG"))
@pytest.mark.parametrize("mode", MODES + ("write",))
def test_rdata_that_swells_beyond_its_length(sensor, request, tmp_path, rdtype, mode):
    """The trick of CVE-2020-1350. No RDATA is longer than 65,535 bytes: nothing longer is printed, kept or shipped, and nothing else suffers."""
    known_faults.mark(request, f"swollen {rdtype} {mode}")
    path = tmp_path / "swollen.pcap"
    path.write_bytes(craft.pcap(swollen_exchange(rdtype, N_SIGNATURE)))
    if mode == "write":
        done = subprocess.run([sensor, "--read", str(path), "--site", "a/hq", "--output", "none", "--write", str(tmp_path / "out.psp")], capture_output=True, timeout=TIMEOUT_S, check=False)
        check_alive(done.returncode, done.stderr.decode(errors="replace"))
        assert done.returncode == 0
        assert json.loads(done.stderr.splitlines()[-1])["rrsets"] == 0, "an RRset was shipped that nobody can have sent"
        return
    status, lines, counters, stderr = run(sensor, path, mode)
    assert status == 0 and counters["messages"] == 2, stderr
    assert not balance_faults(counters) + output_faults(mode, lines, counters)
    for length in re.findall(r"\\\\# (\d+)", json.dumps(lines)):
        assert int(length) <= 65535
    assert mode != "rrsets" or lines == []
    assert mode != "messages" or lines[1]["malformed"] == "bad_rdata"
