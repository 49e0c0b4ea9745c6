"""The wire format, read by an implementation that shares nothing with ours but docs/PROTOCOL.md: python3-msgpack and the code below."""
import base64
import hashlib
import ipaddress
import json
import math
import pathlib
import struct
import subprocess

import msgpack
import pytest
from conftest import program

VECTORS = json.loads((pathlib.Path(__file__).resolve().parents[1] / "data/vectors/wire.json").read_text())

N_HEALTH = 64


@pytest.fixture(scope="session")
def probe():
    return program("wire_probe")


def unpack(data):
    return msgpack.unpackb(data, strict_map_key=False, raw=False)


class Cursor:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, n):
        self.at += n
        assert self.at <= len(self.data)
        return self.data[self.at - n:self.at]

    def varint(self):
        v = shift = 0
        while True:
            byte = self.take(1)[0]
            v |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return v

    def address(self):
        family = self.take(1)[0]
        return self.take(4 if family == 4 else 16)


def column(body, key, n):
    """The values of a column; one that is absent is all zeros."""
    if key not in body:
        return [0] * n
    cursor, values = Cursor(body[key][1:]), []
    encoding = body[key][0]
    before = 0
    while len(values) < n:
        if encoding == 0:
            values.append(cursor.varint())
        elif encoding == 1:
            raw = cursor.varint()
            before = (before + ((raw >> 1) ^ -(raw & 1))) % 2**64
            values.append(before)
        elif encoding == 2:
            values.append(cursor.take(1)[0])
        elif encoding == 3:
            value = cursor.varint()
            values += [value] * cursor.varint()
        else:
            values = [cursor.varint()] * n
    assert cursor.at == len(cursor.data) and len(values) == n
    return values


def signed(v):
    return v - 2**64 if v >= 2**63 else v


def names(body):
    n, data = body[16]
    cursor, out, before = Cursor(data), [], b""
    for _ in range(n):
        shared, fresh = cursor.varint(), cursor.varint()
        before = cursor.take(fresh) + (before[len(before) - shared:] if shared else b"")
        out.append(before)
    assert cursor.at == len(data)
    return out


def text_of(address):
    return str(ipaddress.ip_address(address))


def addresses(body):
    if 17 not in body:
        return []
    n, data = body[17]
    cursor = Cursor(data)
    return [cursor.address() for _ in range(n)]


def clients(body):
    n, data = body[18]
    cursor, out = Cursor(data), []
    for _ in range(n):
        kind = cursor.take(1)[0]
        if kind in (1, 2):
            out.append((kind, text_of(cursor.address())))
        elif kind == 3:
            cursor.take(8)
            _, length = cursor.take(2)
            cursor.take((length + 7) // 8)
            out.append((kind, ""))
        else:
            out.append((kind, ""))
    return out


def pseudonyms(body):
    n, data = body[18]
    cursor, out = Cursor(data), []
    for _ in range(n):
        assert cursor.take(1) == b"\3"
        out.append(cursor.take(8).hex())
        _, length = cursor.take(2)
        cursor.take((length + 7) // 8)
    return out


def sketches(body):
    n, data = body[23]
    cursor, out = Cursor(data), []
    for _ in range(n):
        registers, sparse = [0] * 256, cursor.take(1)[0]
        if sparse:
            for _ in range(sparse):
                number, value = cursor.take(2)
                registers[number] = value
        else:
            registers = list(cursor.take(256))
        out.append(registers)
    return out


def estimate(registers):
    raw = 0.7213 / (1 + 1.079 / 256) * 256 * 256 / sum(2.0**-r for r in registers)
    zeros = registers.count(0)
    return round(256 * math.log(256 / zeros) if raw <= 640 and zeros else raw)


def signatures(body):
    n, data = body[19]
    cursor = Cursor(data)
    return [[cursor.varint() for _ in range(11)] for _ in range(n)]


def decode(data):
    body = unpack(data)
    kind, start, n = body[2], body[3], body[11]
    out = {"kind": kind, "window_start_us": start, "window_ms": body[5], "rows": []}
    if kind == 2:
        name, client, signature, address = names(body), clients(body), signatures(body), addresses(body)
        answers = [struct.unpack("<Q", body[22][1][8 * i:8 * i + 8])[0] for i in range(body[22][0])] if 22 in body else []
        c = {key: column(body, key, n) for key in (33, 34, 35, 36, 37, 38, 40, 41, 43, 44)}
        for i in range(n):
            s = signature[c[35][i]]
            out["rows"].append({
                "name": name[c[34][i]].hex(), "client": client[c[33][i]][1], "client_kind": client[c[33][i]][0], "qtype": s[6], "rcode": s[8], "answer": s[5],
                "server": text_of(address[s[0] - 1]) if s[0] else "", "first_us": start + signed(c[36][i]), "span_us": c[37][i], "count": c[38][i],
                "latency_min_us": c[40][i], "latency_max_us": c[40][i] + c[41][i], "answer_digest": answers[c[43][i] - 1] if c[43][i] else 0, "min_ttl_s": c[44][i]})
    elif kind == 3:
        name, address = names(body), addresses(body)
        cursor = Cursor(body[20][1])
        rdata = [cursor.take(cursor.varint()) for _ in range(body[20][0])]
        cursor = Cursor(body[21][1])
        sets = [[rdata[cursor.varint()] for _ in range(cursor.varint())] for _ in range(body[21][0])]
        c = {key: column(body, key, n) for key in range(64, 77)}
        for i in range(n):
            first = start + signed(c[71][i])
            out["rows"].append({
                "owner": name[c[64][i]].hex(), "bailiwick": name[c[68][i]].hex(), "type": c[65][i], "trust": c[69][i], "count": c[70][i], "first_us": first,
                "last_us": first + c[72][i], "ttl_min_s": c[73][i], "ttl_max_s": c[73][i] + c[74][i], "server": text_of(address[c[75][i] - 1]) if c[75][i] else "",
                "rdata": [r.hex() for r in sets[c[67][i]]]})
    elif kind == 4:
        name = names(body)
        c = {key: column(body, key, n) for key in range(80, 87)}
        for i in range(n):
            first = start + signed(c[85][i])
            out["rows"].append({"name": name[c[80][i]].hex(), "type": c[81][i], "rcode": c[83][i], "count": c[84][i], "first_us": first, "last_us": first + c[86][i]})
    elif kind == 7:
        name, client, sketch = names(body), pseudonyms(body), [[0] * 256] + (sketches(body) if 23 in body else [])
        c = {key: column(body, key, n) for key in (*range(110, 120), 123)}
        for i in range(n):
            registers = sketch[c[119][i]]
            out["rows"].append({
                "zone": name[c[111][i]].hex(), "pseudonym": client[c[110][i]], "former": client[c[123][i] - 1] if c[123][i] else "00" * 8, "reason": c[112][i],
                "count": c[113][i], "negative": c[114][i], "unanswered": c[115][i], "ptr": c[116][i], "first_us": start + signed(c[117][i]), "span_us": c[118][i],
                "distinct": estimate(registers), "registers": bytes(registers).hex()})
    elif kind == 5:
        more = column({97: body[97][1]}, 97, body[97][0]) if 97 in body else []
        out["rows"].append({"counters": column(body, 96, 33) + more + [0] * (N_HEALTH - 33 - len(more)), "interfaces": [one[:5] for one in body.get(98, [])]})
    elif kind == 6:
        c = {key: column(body, key, n) for key in range(100, 110)}
        for i in range(n):
            first = start + signed(c[105][i])
            out["rows"].append({
                "cause": c[100][i], "kind": c[101][i], "batches": c[102][i], "rows": c[103][i], "transactions": c[104][i], "first_us": first,
                "last_us": first + c[106][i], "epoch": c[107][i], "from_seq": c[108][i], "to_seq": c[109][i]})
    else:
        out["rows"].append({"site": body[120], "sensor": body[121], "software": body[122]})
    return out


@pytest.mark.parametrize("vector", VECTORS["batches"] + VECTORS["other_minor_batches"], ids=lambda v: v["name"])
def test_python_reads_what_c_wrote(vector):
    assert decode(bytes.fromhex(vector["hex"])) == vector["decoded"]


@pytest.mark.parametrize("vector", VECTORS["batches"], ids=lambda v: v["name"])
def test_c_reads_and_writes_the_same(probe, vector):
    done = subprocess.run([probe, "batch", vector["hex"]], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == vector["decoded"]
    made = dict(line.split() for line in subprocess.run([probe, "make"], capture_output=True, text=True, check=True).stdout.splitlines())
    assert made[vector["name"]] == vector["hex"], "the encoder's bytes changed: that is a change of protocol"


@pytest.mark.parametrize("vector", VECTORS["other_minor_batches"], ids=lambda v: v["name"])
def test_c_reads_what_an_older_and_a_newer_sensor_writes(probe, vector):
    done = subprocess.run([probe, "batch", vector["hex"]], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == vector["decoded"]


@pytest.mark.parametrize("n", [1, N_HEALTH - 33, 200])
def test_c_takes_the_counters_it_knows(probe, n):
    """An older sensor sends fewer, a newer one more."""
    body = unpack(bytes.fromhex(next(v["hex"] for v in VECTORS["batches"] if v["name"] == "health")))
    data = msgpack.packb({**body, 97: [n, b"\x02" + bytes(range(1, n + 1))]}, use_bin_type=True)
    done = subprocess.run([probe, "batch", data.hex()], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["rows"][0]["counters"][33:] == [i + 1 if i < n else 0 for i in range(N_HEALTH - 33)]


@pytest.mark.parametrize("vector", VECTORS["batches"], ids=lambda v: v["name"])
def test_batches_are_canonical_msgpack(vector):
    data = bytes.fromhex(vector["hex"])
    body = unpack(data)
    assert list(body) == sorted(body)
    assert msgpack.packb(body, use_bin_type=True) == data


@pytest.mark.parametrize("vector", VECTORS["frames"], ids=lambda v: v["name"])
def test_frames_have_the_bytes_of_the_protocol(probe, vector):
    data = bytes.fromhex(vector["hex"])
    fields = [f.hex() if isinstance(f, bytes) else f for f in unpack(data)]
    assert fields == vector["fields"]
    shown = json.loads(subprocess.run([probe, "frame", vector["hex"]], capture_output=True, text=True, check=True).stdout)
    assert shown["again"] == vector.get("again", vector["hex"]) and shown["type"] == fields[1] and shown["session"] == fields[2]


@pytest.mark.parametrize("vector", VECTORS["rotates"], ids=lambda v: v["name"])
def test_rotate_bodies(probe, vector):
    data = bytes.fromhex(vector["hex"])
    body = unpack(data)
    assert body[1].hex() == vector["pubkey"]
    key, again = subprocess.run([probe, "rotate", vector["hex"]], capture_output=True, text=True, check=True).stdout.split()
    assert key == vector["pubkey"] and again == msgpack.packb({1: body[1]}).hex()


@pytest.mark.parametrize("vector", VECTORS["configs"], ids=lambda v: v["name"])
def test_config_bodies(probe, vector):
    body = unpack(bytes.fromhex(vector["hex"]))
    assert [[address, key.hex(), at] for address, key, at, *_ in body[1]] == vector["endpoints"]
    *endpoints, again = subprocess.run([probe, "config", vector["hex"]], capture_output=True, text=True, check=True).stdout.splitlines()
    assert [line.split() for line in endpoints] == [[a, k, str(t)] for a, k, t in vector["endpoints"]]
    assert again == msgpack.packb({1: [entry[:3] for entry in body[1]]}, use_bin_type=True).hex()


def show(probe, kind, data):
    return subprocess.run([probe, kind, data], capture_output=True, text=True, check=True).stdout.rstrip("\n").split(" ")


def known(body, *keys):
    """The body as a writer of today would write it."""
    return msgpack.packb({k: v for k, v in body.items() if k in keys}, use_bin_type=True).hex()


@pytest.mark.parametrize("vector", VECTORS["scopes"], ids=lambda v: v["name"])
def test_scopes_in_config(probe, vector):
    data = bytes.fromhex(vector["hex"])
    body = unpack(data)
    assert (body.get(2, b"").hex(), body[3]) == (vector["text"], vector["serial"])
    version, serial, text, again = show(probe, "scope", vector["hex"])
    assert (serial, text) == (str(vector["serial"]), vector["text"])
    assert int(version) == struct.unpack("<I", hashlib.blake2b(body.get(2) or data, digest_size=16).digest()[:4])[0], "the text alone: its number changes nothing"
    assert again == known({2: b"", **body}, 2, 3)


@pytest.mark.parametrize("vector", VECTORS["acks"], ids=lambda v: v["name"])
def test_answers_to_a_config(probe, vector):
    body = unpack(bytes.fromhex(vector["hex"]))
    assert body.get(1, "") == vector["reason"]
    reason, again = show(probe, "ack", vector["hex"])
    assert bytes.fromhex(reason).decode() == vector["reason"] and again == known({1: "", **body}, 1)


@pytest.mark.parametrize("vector", VECTORS["enrols"], ids=lambda v: v["name"])
def test_requests_to_enrol(probe, vector):
    body = unpack(bytes.fromhex(vector["hex"]))
    wanted = [vector["id"], vector["secret"], vector["wish"]]
    assert [body[1].hex(), body[2].hex(), body[3]] == wanted
    assert show(probe, "enrol", vector["hex"]) == [*wanted, known(body, 1, 2, 3)]


@pytest.mark.parametrize("vector", VECTORS["enrolleds"], ids=lambda v: v["name"])
def test_answers_to_who_enrols(probe, vector):
    body = unpack(bytes.fromhex(vector["hex"]))
    assert [str(body[1]), str(body[2]), body[3], body[4], ",".join(body[5])] == vector["fields"] and body[6].hex() == vector["scope"]
    assert show(probe, "enrolled", vector["hex"]) == [*vector["fields"], vector["scope"], known(body, 1, 2, 3, 4, 5, 6)]


@pytest.mark.parametrize("vector", VECTORS["tokens"], ids=lambda v: v["name"])
def test_tokens(probe, vector):
    text = vector["text"]
    assert text.startswith("picket1.")
    body = unpack(base64.urlsafe_b64decode(text[8:] + "=" * (-len(text[8:]) % 4)))
    wanted = [vector[k] for k in ("endpoint", "server", "id", "secret", "client")]
    assert [body[1], *(body[k].hex() for k in (2, 3, 4)), body[5].hex() if 5 in body else "-"] == wanted
    # Encoded again it has a check, whether it had one or not.
    entries = b"".join(msgpack.packb(key) + msgpack.packb(body[key]) for key in sorted(body) if key < 6)
    data = bytes([0x80 | (len([key for key in body if key < 6]) + 1)]) + entries
    check = hashlib.blake2b(data, digest_size=32).digest()[:4]
    assert body.get(6, check) == check
    again = "picket1." + base64.urlsafe_b64encode(data + b"\x06" + msgpack.packb(check)).decode().rstrip("=")
    assert show(probe, "token", text) == [*wanted, again]


@pytest.mark.parametrize("vector", [v for v in VECTORS["tokens"] if "check" in v["name"]], ids=lambda v: v["name"])
def test_a_changed_character_is_no_token(probe, vector):
    text = vector["text"]
    for at in range(8, len(text)):
        changed = text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1:]
        assert subprocess.run([probe, "token", changed], capture_output=True, check=False).returncode == 1, at


@pytest.mark.parametrize("vector", VECTORS["packed"], ids=lambda v: v["name"])
def test_packed_bodies(probe, vector):
    data = bytes.fromhex(vector["hex"])
    assert subprocess.run(["zstd", "-dc"], input=data, capture_output=True, check=True).stdout.hex() == vector["raw"]
    assert show(probe, "unpack", vector["hex"]) == [vector["raw"]]
    decode(bytes.fromhex(vector["raw"]))


@pytest.mark.parametrize("vector", VECTORS["bad_tokens"], ids=lambda v: v["name"])
def test_what_is_no_token(probe, vector):
    done = subprocess.run([probe, "token", vector["text"]], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stdout.startswith("refused: ")


@pytest.mark.parametrize("kind,vector", [("batch", v) for v in VECTORS["bad_batches"]] + [("frame", v) for v in VECTORS["bad_frames"]] + [("unpack", v) for v in VECTORS["bad_packed"]] + [(k, v) for k in ("rotate", "config", "scope", "ack", "enrol", "enrolled") for v in VECTORS[f"bad_{k}s"]], ids=lambda v: v if isinstance(v, str) else v["name"])
def test_bad_bytes_are_refused_whole_with_a_reason(probe, kind, vector):
    done = subprocess.run([probe, kind, vector["hex"]], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stdout.startswith("refused: ")


def test_every_cut_and_every_flipped_byte_is_taken_whole_or_refused(probe):
    for vector in VECTORS["batches"][:3]:
        data = bytes.fromhex(vector["hex"])
        for at in range(0, len(data), 3):
            for damaged in (data[:at], data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1:]):
                done = subprocess.run([probe, "batch", damaged.hex()], capture_output=True, text=True, check=False)
                assert done.returncode in (0, 1), f"{vector['name']} at {at}: {done.stderr}"


@pytest.mark.parametrize("address", ["10.2.0.9", "fd00::17"])
def test_pseudonyms_are_what_the_protocol_says(probe, address):
    """crypto_kdf and generichash of libsodium are BLAKE2b with salt and personal, which hashlib has too."""
    master, period = bytes(range(32)), 20700
    key = hashlib.blake2b(key=master, salt=struct.pack("<QQ", period, 0), person=b"pkclient" + bytes(8), digest_size=32).digest()
    packed = ipaddress.ip_address(address).packed
    wanted = hashlib.blake2b((b"\4" if len(packed) == 4 else b"\6") + packed.ljust(16, b"\0"), key=key, person=b"pk-client".ljust(16, b"\0"), digest_size=16).digest()[:8]
    sketch = hashlib.blake2b(b"acme", key=key, person=b"pk-sketch".ljust(16, b"\0"), digest_size=16).hexdigest()
    done = subprocess.run([probe, "pseudonym", master.hex(), str(period), address], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [wanted.hex(), sketch]
