"""What leaves a site, looked for in the bytes themselves: unpacked .psp files, and every table of the aggregator. docs/PRIVACY.md is the promise."""
import ctypes
import ipaddress
import json
import pathlib
import struct
import subprocess

import dns.name
import dns.rcode
import pytest
from packet_support import exchange, write_pcap
from pg_support import wait_until
from test_vectors import Cursor, clients, column, names, unpack

INSIDE = ["10.20.30.40", "172.16.55.66", "fd12:3456:789a::4242"]
OUTSIDE = "198.51.100.77"
RESOLVER, SERVER = {4: "10.1.1.53", 6: "fd12::53"}, "203.0.113.53"
IN_SCOPE, OUT_OF_SCOPE = "www.example.com", ["clinic.shop.test", "nothere.shop.test"]
MIXED = "wWw.eXaMpLe.CoM"
MASTER = "ab" * 32
SCOPE = {"tenants": [{"name": "acme", "sites": ["hq"], "zones": ["example.com"], "networks": ["203.0.113.0/24"]}]}


def subnets(fields):
    """What resolvers said for whom they asked: the networks of dictionary 24."""
    count, data = fields.get(24, [0, b""])
    found = set()
    while data:
        family, length, size = data[0], data[1], (data[1] + 7) // 8
        found.add(str(ipaddress.ip_network((data[2:2 + size].ljust(4 if family == 4 else 16, b"\0"), length))))
        data = data[2 + size:]
        count -= 1
    assert count == 0
    return found


@pytest.fixture(scope="module")
def capture(tmp_path_factory):
    packets = []
    for i, client in enumerate(INSIDE):
        server = RESOLVER[ipaddress.ip_address(client).version]
        n = 20 * i
        packets += exchange(n, client, server, IN_SCOPE, answer="203.0.113.80")
        packets += exchange(n + 1, client, server, MIXED, answer="203.0.113.80")
        packets += exchange(n + 2, client, server, "old." + IN_SCOPE, rcode=dns.rcode.NXDOMAIN, ecs="10.20.30.0/24")
        packets += exchange(n + 3, client, server, OUT_OF_SCOPE[0], answer="192.0.2.80", ecs="10.20.30.0/24")
        packets += exchange(n + 4, client, server, OUT_OF_SCOPE[1], rcode=dns.rcode.NXDOMAIN)
        packets += exchange(n + 5, client, server, "silent.shop.test", answered=False)
        for k, other in enumerate(INSIDE + ["192.0.2.99"]):  # who is that?
            name = ipaddress.ip_address(other).reverse_pointer
            packets += exchange(n + 6 + 2 * k, client, server, name, "PTR", rcode=dns.rcode.NXDOMAIN)
            packets += exchange(n + 7 + 2 * k, client, server, name, "PTR", answer="printer.shop.test.")
    packets += exchange(100, OUTSIDE, SERVER, IN_SCOPE, answer="203.0.113.80", ecs="198.51.100.0/24")
    packets += exchange(101, OUTSIDE, SERVER, IN_SCOPE, answer="203.0.113.80", ecs="198.51.101.99/32")
    packets += exchange(102, OUTSIDE, SERVER, IN_SCOPE, answer="203.0.113.80", ecs="10.20.30.0/24")  # a forwarder that tells who is inside
    path = tmp_path_factory.mktemp("privacy") / "all.pcap"
    write_pcap(path, ((1795000000000000 + 1000 * i, data) for i, data in enumerate(packets)))
    return path


def bodies(path):
    """(kind, unpacked body) of each record of a .psp file."""
    data, at = pathlib.Path(path).read_bytes(), 64
    zstd = ctypes.CDLL("libzstd.so.1")
    while at < len(data):
        length, _, _, kind, codec = struct.unpack(">IIQBB", data[at:at + 18])
        body = data[at + 40:at + 40 + length]
        if codec:
            room = ctypes.create_string_buffer(1 << 20)
            zstd.ZSTD_decompress.restype = ctypes.c_size_t
            size = zstd.ZSTD_decompress(room, ctypes.c_size_t(1 << 20), body, ctypes.c_size_t(length))
            body = room.raw[:size]
        yield kind, body
        at += (40 + length + 7) // 8 * 8


def expanded(body):
    """The body, and what its coding could hide: names written out."""
    fields = unpack(body)
    return b"\n".join([body] + (names(fields) if 16 in fields else []))


def wire(name):
    return dns.name.from_text(name).to_wire()


def traces():
    """What must not be found, in each form it could have."""
    out = {}
    for text in INSIDE:
        address = ipaddress.ip_address(text)
        out[f"{text} in binary"] = address.packed
        out[f"{text} in text"] = text.encode()
        out[f"{text} reversed"] = wire(address.reverse_pointer)[:-1]
        out[f"{text} reversed, text"] = address.reverse_pointer.encode()
    out["who was looked up"] = wire(ipaddress.ip_address("192.0.2.99").reverse_pointer)
    for subnet in ("10.20.30", "198.51.100"):
        out[f"ECS of {subnet}"] = struct.pack("!HBB", 1, 24, 0) + bytes(map(int, subnet.split(".")))
    out["a host of a client subnet"] = bytes([198, 51, 101, 99])
    out["letters as they were asked"] = b"wWw"
    out["letters as they were asked, too"] = b"eXaMpLe"
    return out


def write(sensor, capture, folder, *extra):
    scope = folder / "scope.yaml"
    scope.write_text(json.dumps(SCOPE))
    key = folder / "client.key"
    key.write_text(f"picket-client-key-1 {MASTER}\n")
    key.chmod(0o600)
    out = folder / "out.psp"
    options = {"clear": [], "keyless": ["--scope", scope], "keyed": ["--scope", scope, "--client-key", key]}[extra[0]]
    subprocess.run([sensor, "--read", capture, "--site", "acme/hq" if extra[0] != "clear" else "hq", *options, "--write", out], check=True, capture_output=True)
    return list(bodies(out))


@pytest.mark.parametrize("mode", ["keyed", "keyless"])
def test_nothing_of_an_inside_client_is_in_the_bytes(sensor, capture, tmp_path, mode):
    everything = b"\n".join(expanded(body) for _, body in write(sensor, capture, tmp_path, mode))
    for what, trace in traces().items():
        assert trace not in everything, what
    assert wire(IN_SCOPE)[:-1] in everything  # names in scope are not altered


def test_the_search_finds_what_is_there(sensor, capture, tmp_path):
    """Without a scope all of this is in the file, and the same search says so: but for what no row has a place for."""
    everything = b"\n".join(expanded(body) for _, body in write(sensor, capture, tmp_path, "clear"))
    found = {what for what, trace in traces().items() if trace in everything}
    assert {f"{text} in binary" for text in INSIDE} | {f"{text} reversed" for text in INSIDE} | {"who was looked up"} <= found
    assert not any("ECS" in what or "subnet" in what or "letters" in what for what in found)


@pytest.mark.parametrize("mode", ["keyed", "keyless"])
def test_no_row_has_a_client_and_a_name_out_of_scope(sensor, capture, tmp_path, mode):
    seen = set()
    for kind, body in write(sensor, capture, tmp_path, mode):
        fields = unpack(body)
        seen.add(kind)
        if kind in (2, 7):
            assert all(name == b"\0" or name.endswith(wire("example.com")) for name in names(fields)), kind
            kinds = {client[0] for client in clients(fields)}
            assert kinds <= ({0, 1, 3} if mode == "keyed" else {0, 1})
            assert all(client[1] == OUTSIDE for client in clients(fields) if client[0] == 1)
        elif kind in (3, 4):
            assert 18 not in fields and not any(33 <= key < 64 or key >= 110 for key in fields)
            if kind == 4:  # with whom they were looked up from nowhere
                assert wire("nothere.shop.test") in names(fields) and wire("2.0.192.in-addr.arpa") in names(fields)
    assert {2, 3, 4, 7} <= seen


@pytest.mark.parametrize("mode", ["keyed", "keyless"])
def test_a_client_subnet_of_the_outside_is_told_as_its_network(sensor, capture, tmp_path, mode):
    told = [subnets(unpack(body)) for _, body in write(sensor, capture, tmp_path, mode)]
    assert set().union(*told) == {"198.51.100.0/24", "198.51.101.0/24"}


def test_what_is_counted_is_all_there_is(sensor, capture, tmp_path):
    counts = {}
    for kind, body in write(sensor, capture, tmp_path, "keyed"):
        fields = unpack(body)
        if kind == 7:
            n = fields[11]
            assert set(column(fields, 112, n)) == {0}
            for client, count, negative, unanswered, ptr in zip(column(fields, 110, n), *(column(fields, key, n) for key in (113, 114, 115, 116))):
                counts[client] = (count, negative, unanswered, ptr)
    assert list(counts.values()) == [(11, 6, 1, 8)] * 3


def test_nothing_of_an_inside_client_is_in_the_tables(mesh, capture, tmp_path):
    scope = tmp_path / "mesh-scope.yaml"
    scope.write_text(json.dumps(SCOPE))
    one = mesh(scope=scope)
    one.add_sensor("hq")
    one.wait_for_keys(1)
    config = one.sensor_config("hq-1", "hq", [capture])
    key = tmp_path / "client.key"
    key.write_text(f"picket-client-key-1 {MASTER}\n")
    key.chmod(0o600)
    config.write_text(json.dumps({**json.loads(config.read_text()), "client_key": str(key)}))
    assert one.start("hq-1", "picket-sensor", "--config", config).wait(120) == 0
    wait_until(lambda: one.table("select count(*) from client_count") != [(0,)], 60, "client rows")
    tables = [row[0] for row in one.table("select relname from pg_class where relkind in ('r', 'p') and relnamespace = 'public'::regnamespace and not relispartition")]
    dump = "\n".join(row[0] for table in tables for row in one.table(f'select row_to_json(t)::text from "{table}" t'))
    for what, trace in traces().items():
        assert trace.hex() not in dump, what
        if trace.isascii():
            assert trace.decode() not in dump, what
    assert OUTSIDE in dump and wire(IN_SCOPE).hex() in dump  # the search sees what is there
    rows = one.table("select reason, sum(count)::int, sum(negative)::int, sum(unanswered)::int, sum(ptr)::int, count(distinct pseudonym)::int from client_count group by reason")
    assert rows == [(0, 33, 18, 3, 24, 3)]
    assert one.table("select client_prefix::text from activity where client_kind = 1 and client_prefix is not null order by 1") == [("198.51.100.0/24",), ("198.51.101.0/24",)]
    assert one.table("select count(*) from activity where client_kind = 3 and length(pseudonym) = 8 and client is null") == [(6,)]


def ring_files(folder):
    return sorted(path for path in folder.iterdir() if path.name.startswith("ring-"))


def activity_names(path):
    return {name for kind, body in bodies(path) if kind == 2 for name in names(unpack(body))}


def test_the_ring_keeps_what_did_not_leave_and_a_new_scope_ships_it_once(mesh, capture, tmp_path):
    scope, key, ring = tmp_path / "mesh-scope.yaml", tmp_path / "client.key", tmp_path / "ring"
    scope.write_text(json.dumps(SCOPE))
    key.write_text(f"picket-client-key-1 {MASTER}\n")
    key.chmod(0o600)
    one = mesh(scope=scope)
    one.add_sensor("hq")
    one.wait_for_keys(1)
    config = one.sensor_config("hq-1", "hq", [capture])
    config.write_text(json.dumps({**json.loads(config.read_text()), "client_key": str(key), "ring": {"folder": str(ring), "max_mb": 16}}))
    assert one.start("hq-1", "picket-sensor", "--config", config).wait(120) == 0
    wait_until(lambda: one.table("select count(*) from client_count") != [(0,)], 60, "client rows")
    (kept,) = ring_files(ring)
    assert kept.stat().st_mode & 0o777 == 0o600 and ring.stat().st_mode & 0o777 == 0o700
    everything = b"\n".join(expanded(body) for _, body in bodies(kept))
    assert ipaddress.ip_address(INSIDE[0]).packed in everything  # in full, in clear, at the site
    assert {wire(IN_SCOPE), wire(OUT_OF_SCOPE[0])} <= activity_names(kept)

    shop = "select client_kind, count(*)::int, count(distinct pseudonym)::int, sum(count)::int from activity where position('\\x0473686f70'::bytea in name) > 0 group by 1"
    before = one.table("select sum(count)::int from activity")
    assert one.table(shop) == []
    again = ["--config", config, "--reread-ring", "--since", "1794999000"]
    one.call("picket-sensor", *again)
    assert one.table("select sum(count)::int from activity") == before  # the same scope: all of it has left already
    scope.write_text(json.dumps({"tenants": [{**SCOPE["tenants"][0], "zones": ["example.com", "shop.test"]}]}))
    one.call("picket-sensor", "--config", config, "--reread-ring", "--since", "1795000100")
    assert one.table(shop) == []  # nothing since then
    one.call("picket-sensor", *again)
    wanted = [(3, 9, 3, 9)]  # three names of three clients, by the pseudonyms they have elsewhere
    assert one.table(shop) == wanted
    assert one.table("select count(distinct pseudonym)::int from activity where client_kind = 3") == [(3,)]
    one.call("picket-sensor", *again)
    assert one.table(shop) == wanted  # once
