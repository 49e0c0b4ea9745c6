"""A tenant says where its sensors come from, and who breaks the protocol is remembered."""
import json

import msgpack
import zmq
from peer_support import BYE, ERROR, WELCOME, Peer, is_let_in, read_key
from pg_support import wait_until
from test_enrolment import enroll, token

REVOKED = 4


def apply(mesh, sensors_from):
    path = mesh.folder / "applied.yaml"
    path.write_text(json.dumps({"tenants": [{"name": "acme", "sites": ["hq", "branch", "cloud"], "zones": ["acme.example"], "sensors_from": sensors_from}]}))
    mesh.ctl("apply", "-f", str(path))
    version = mesh.table("select version from control_version")[0][0]
    wait_until(lambda: f"control_version={version}" in mesh.log("aggregator"), 30, "the scope")


def test_a_tenant_says_where_its_sensors_come_from(mesh, tmp_path):
    one = mesh()
    one.add_sensor("hq")
    one.wait_for_keys(1)
    key = read_key(one.folder / "hq-1.key")
    with Peer(one, key) as peer:
        monitor = peer.socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        assert peer.hello()[0] == WELCOME
        apply(one, ["127.0.0.0/8", "2001:db8::/32"])
        assert peer.await_type(BYE, timeout=1) is None, "it may stay"
        apply(one, ["192.0.2.0/24"])
        told = peer.await_type(BYE)
        assert told and told[1][0] == REVOKED and monitor.poll(10000), "told, and cut"
        peer.socket.disable_monitor()
    assert not is_let_in(one, key)
    # Nor does a token let in from there; and it looks like any other refusal.
    text = token(one)
    refused = enroll(one, text, tmp_path / "new", "new-1")
    assert refused.returncode == 77 and "refuses" in refused.stderr and one.table("select count(*) from sensor") == [(1,)]
    # Both lists must allow it: the tenant's, and that of the sensor.
    apply(one, ["127.0.0.0/8"])
    wait_until(lambda: is_let_in(one, key), 30, "the wider list")
    assert enroll(one, text, tmp_path / "new", "new-1").returncode == 0
    with Peer(one, key) as peer:
        assert peer.hello()[0] == WELCOME
        one.ctl("sensor", "limit", "hq-1", "--tenant", "acme", "--from", "192.0.2.7")
        assert peer.await_type(BYE), "the list of one sensor holds for who is there already, too"
    assert not is_let_in(one, key)
    # What sensors get of the scope does not say it.
    assert "sensors_from" not in (tmp_path / "new/scope.yaml").read_text()


def standing(mesh, name="hq-1"):
    rows = [json.loads(line) for line in mesh.ctl("sensors", "--tenant", "acme", "--json").splitlines()]
    return next(row["offences"] for row in rows if row["sensor"] == name)


def test_who_breaks_the_protocol_is_remembered(mesh):
    one = mesh()
    for name in ("hq-1", "hq-2"):
        one.add_sensor("hq", name)
    one.wait_for_keys(2)
    key = read_key(one.folder / "hq-1.key")
    assert standing(one) == {"total": 0, "cuts": 0, "by_kind": {}, "last": None, "address": ""}
    for i in range(10):
        with Peer(one, key) as peer:
            assert peer.hello()[0] == WELCOME
            if i < 4:
                peer.send(peer.header(3, 1, 1, 0, 2, 0, 0, 0, 0, 0, bytes(16)), b"x")  # a batch of no length
            else:
                peer.send(b"\x93\x01")
            assert i == 9 or peer.await_type(ERROR), "the tenth is cut at once"
    wait_until(lambda: standing(one)["total"] == 10, 30, "ten offences")
    told = standing(one)
    assert told["by_kind"] == {"lengths": 4, "framing": 6} and told["cuts"] == 1 and told["address"] == "127.0.0.1" and told["last"]
    assert standing(one, "hq-2")["total"] == 0
    assert "broke the protocol: framing=6 lengths=4, cut off 1 times" in one.ctl("sensors", "--tenant", "acme")
    # It is in the store, and adds up.
    one.processes["aggregator"].terminate()
    one.processes["aggregator"].wait(30)
    one.start_aggregator()
    with Peer(one, key) as peer:
        assert peer.hello()[0] == WELCOME, "a new aggregator holds nothing against it"
        peer.send(peer.header(11), msgpack.packb({1: b"short"}))
        assert peer.await_type(ERROR)
    wait_until(lambda: standing(one)["total"] == 11, 30, "one more")
    assert standing(one)["by_kind"] == {"lengths": 4, "framing": 7}
