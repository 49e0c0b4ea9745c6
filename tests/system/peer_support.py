"""A peer of the aggregator written from docs/PROTOCOL.md alone, on pyzmq and msgpack: it can do what no sensor of ours does."""
import hashlib
import os
import struct
import subprocess
import time

import msgpack
import zmq

from pg_support import CAPTURES

HELLO, WELCOME, BATCH, ACK, CREDIT, HEARTBEAT, CONFIG, CONFIG_ACK, BYE, ERROR, ROTATE = range(1, 12)
MAGIC = 0x5001


def read_key(path):
    """(public, secret) in Z85, as the file has them."""
    words = [line.split() for line in path.read_text().splitlines() if line.startswith("picket-key-1")]
    return ({w[1]: w[2].encode() for w in words}["public"], {w[1]: w[2].encode() for w in words}["secret"])


def records(sensor, folder, site="hq", scope=CAPTURES / "scope.yaml", capture=None):
    """The batches a sensor would ship for a recorded capture: (kind, codec, rows, first, last, body, raw length)."""
    psp = folder / f"{site}.psp"
    subprocess.run([sensor, "--read", str(capture or CAPTURES / f"{site}.pcap"), "--site", f"acme/{site}", "--scope", str(scope), "--write", str(psp)], check=True, capture_output=True)
    data, at, found = psp.read_bytes(), 64, []
    while at < len(data):
        length, _crc, seq, kind, codec, rows, first, last = struct.unpack_from(">IIQBBxxIqq", data, at)
        body = data[at + 40:at + 40 + length]
        at += (40 + length + 7) // 8 * 8
        if seq:
            raw = length if codec == 0 else len(subprocess.run(["zstd", "-dc"], input=body, capture_output=True, check=True).stdout)
            found.append((kind, codec, rows, first, last, body, raw))
    return found


class Peer:
    context = None

    def __init__(self, mesh, key, server_key=None, port=None, boot=None, routing=None):
        self.mesh, self.boot = mesh, boot or os.urandom(16)
        Peer.context = Peer.context or zmq.Context()
        self.socket = Peer.context.socket(zmq.DEALER)
        self.socket.linger = 0
        self.socket.immediate = 1
        if routing:
            self.socket.routing_id = routing
        self.socket.curve_publickey, self.socket.curve_secretkey = key
        self.socket.curve_serverkey = (server_key or mesh.server_key).encode()
        self.socket.connect(f"tcp://127.0.0.1:{port or mesh.port}")
        self.session, self.welcome, self.credit = 0, None, 0

    def send(self, *frames, timeout=20):
        self.socket.sndtimeo = int(timeout * 1000)
        self.socket.send_multipart(frames)

    def header(self, kind, *fields, session=None):
        return msgpack.packb([MAGIC, kind, self.session if session is None else session, *fields], use_bin_type=True)

    def receive(self, timeout=20):
        """(type, fields after the session, body or None); None when nothing comes."""
        if not self.socket.poll(int(timeout * 1000)):
            return None
        parts = self.socket.recv_multipart()
        fields = msgpack.unpackb(parts[0], raw=False)
        if fields[1] == WELCOME:
            self.session = fields[2]
        return fields[1], fields[3:], parts[1] if len(parts) > 1 else None

    def await_type(self, *kinds, timeout=20):
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            got = self.receive(max(0.01, deadline - time.monotonic()))
            if got and got[0] in kinds:
                return got
        return None

    def hello(self, epoch=1, newest=0, name="peer", timeout=20, capabilities=1):
        body = msgpack.packb({1: name, 2: "pyzmq", 3: capabilities, 4: 0, 6: 0, 8: epoch, 9: 1, 10: newest, 11: 1 if newest else 0, 12: int(time.time() * 1e6)}, use_bin_type=True)
        self.send(self.header(HELLO, 0, self.boot, time.monotonic_ns(), session=0), body, timeout=timeout)
        got = self.await_type(WELCOME, ERROR, BYE, timeout=timeout)
        if got and got[0] == WELCOME:
            self.welcome = msgpack.unpackb(got[2], raw=False, strict_map_key=False)
            self.credit = self.welcome[4]
        return got

    def batch(self, record, seq, epoch=1, session=None, **lies):
        kind, codec, rows, first, last, body, raw = record
        body = lies.get("body", body)
        digest = lies.get("digest", hashlib.blake2b(body, digest_size=16).digest())
        self.send(self.header(BATCH, epoch, seq, lies.get("codec", codec), lies.get("kind", kind), lies.get("body_len", len(body)), lies.get("raw_len", raw),
                              lies.get("rows", rows), first, last, digest, session=session), body)

    def close(self):
        self.socket.close(0)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def is_let_in(mesh, key):
    """A refused key hears nothing, and nothing can be sent by it."""
    with Peer(mesh, key) as peer:
        try:
            return (peer.hello(timeout=2) or [None])[0] == WELCOME
        except zmq.Again:
            return False


class FakeAggregator:
    """An aggregator by hand, for one sensor that trusts its key."""

    def __init__(self):
        self.public, secret = zmq.curve_keypair()
        Peer.context = Peer.context or zmq.Context()
        self.socket = Peer.context.socket(zmq.ROUTER)
        self.socket.linger = 0
        self.socket.curve_server, self.socket.curve_secretkey = 1, secret
        self.port = self.socket.bind_to_random_port("tcp://127.0.0.1")
        self.routing = None

    def await_type(self, wanted, timeout=30):
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if not self.socket.poll(int(max(1, (deadline - time.monotonic()) * 1000))):
                break
            routing, header, *body = self.socket.recv_multipart()
            fields = msgpack.unpackb(header, raw=False)
            if fields[1] == HELLO:
                self.routing, self.capabilities = routing, msgpack.unpackb(body[0], strict_map_key=False)[3]
            if fields[1] == wanted:
                return fields[3:], body[0] if body else None
        return None

    def say(self, kind, fields, body=None):
        self.socket.send_multipart([self.routing, msgpack.packb([MAGIC, kind, 7, *fields], use_bin_type=True)] + ([body] if body is not None else []))

    def welcome(self, capabilities, credit=1):
        """Answers the HELLO that was heard last."""
        self.say(WELCOME, [0, int(time.time() * 1e6), 0], msgpack.packb({1: 1, 2: 1 << 20, 3: 8 << 20, 4: credit, 5: 4 << 20, 6: 600000, 7: 1000, 8: [0, 0], 10: capabilities}))

    def close(self):
        self.socket.close(0)

    def config(self, body, version=1):
        self.say(CONFIG, [version], body)
        while True:
            answer = self.await_type(CONFIG_ACK)
            assert answer, "no CONFIG_ACK"
            if answer[0][0] != 0:
                return answer[0][1], msgpack.unpackb(answer[1], strict_map_key=False)[1] if answer[1] else ""
