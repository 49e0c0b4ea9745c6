"""What a zone shows to everybody: picketctl exposure over records in the store; and canaries made for the scope file."""
import json
import re
import subprocess

import pytest

A, NS, CNAME, MX, TXT = 1, 2, 5, 15, 16


def wire(name):
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".") if label) + b"\0"


def put(connection, owner, rtype, rdata, trust=0):
    key = b"".join(label.encode() + b"\0" for label in reversed(owner.split(".")))
    identity = (owner + str(rtype)).encode().ljust(64)[:64]
    packed = len(rdata).to_bytes(2, "big") + rdata
    connection.execute("insert into rrset select tenant_id, %s, %s, %s, %s, 1, %s, %s, %s from tenant where name = 'acme'", (identity, key, wire(owner), rtype, packed, wire("example"), trust))
    connection.execute("insert into rrset_stat select tenant_id, %s, 1, 1000000, 2000000, 60, 60 from tenant where name = 'acme'", (identity,))


@pytest.fixture
def exposed(mesh):
    made = mesh()
    with made.postgres.connect(made.database) as connection:
        connection.execute("create table if not exists negative_rest partition of negative default")
        put(connection, "db.acme.example", A, bytes([10, 20, 0, 5]))
        put(connection, "cached.acme.example", A, bytes([10, 20, 0, 6]), trust=1)
        put(connection, "www.acme.example", A, bytes([198, 51, 100, 80]))
        put(connection, "shop.acme.example", CNAME, wire("acme-shop.azurewebsites.net"))
        put(connection, "blog.acme.example", CNAME, wire("www.acme.example"))
        put(connection, "acme.example", TXT, bytes([11]) + b"v=spf1 +all")
        put(connection, "db.acme-corp.example", A, bytes([10, 30, 0, 5]))
        connection.execute("insert into negative select tenant_id, '2026-11-23', 1, %s, 1, 1, 3, 1, 3000000, 3000000 from tenant where name = 'acme'", (wire("acme-shop.azurewebsites.net"),))
    return made


def items(mesh, *arguments):
    return [(i["severity"], i["kind"], i["name"]) for i in map(json.loads, mesh.ctl("exposure", *arguments, "--tenant", "acme", "--json").splitlines())]


def test_exposure_lists_what_the_zone_shows_worst_first(exposed):
    assert items(exposed, "acme.example") == [(4, "dangling", "shop.acme.example."), (3, "spf_all", "acme.example."), (2, "private_address", "db.acme.example.")]
    assert (2, "private_address", "db.acme-corp.example.") in items(exposed)
    table = exposed.ctl("exposure", "acme.example", "--tenant", "acme")
    assert "acme-shop.azurewebsites.net" in table and "10.20.0.5" in table and "v=spf1 +all" in table
    done = subprocess.run([exposed.programs["picketctl"], "exposure", "other.example", "--tenant", "acme"], capture_output=True, text=True, check=False, env=exposed.environment, timeout=60)
    assert done.returncode != 0 and "none of this tenant's" in done.stderr


def test_canaries_are_stable_under_a_seed_and_fit_the_scope_file(ctl, sensor, captures_folder, tmp_path):
    def make(*arguments):
        return subprocess.run([ctl, "canary", "make", "--zone", "acme.example", *arguments], capture_output=True, text=True, check=True).stdout

    def names(text):
        return re.findall(r"name: ([^,]+),", text)
    assert names(make("--n", "5", "--seed", "s1")) == names(make("--n", "9", "--seed", "s1"))[:5]
    assert not set(names(make("--seed", "s1"))) & set(names(make("--seed", "s2")))
    assert names(make()) != names(make())
    scope = tmp_path / "scope.yaml"
    scope.write_text((captures_folder / "scope.yaml").read_text() + make("--n", "50", "--channel", "axfr"))
    subprocess.run([sensor, "--read", str(captures_folder / "hq.pcap"), "--site", "acme/hq", "--scope", str(scope), "--write", str(tmp_path / "hq.psp")], check=True, capture_output=True)


def test_canaries_are_listed_with_who_read_them(mesh, sensor, aggregator, captures_folder, tmp_path):
    """The scope says where each stands; the findings of a capture of a reader, as the aggregator writes them, say who came."""
    made, folder, psp = mesh(), captures_folder / "techniques", tmp_path / "hq.psp"
    subprocess.run([sensor, "--read", str(folder / "canary.pcap"), "--site", "acme/hq", "--scope", str(folder / "scope.yaml"), "--write", str(psp)], check=True, capture_output=True)
    told = subprocess.run([aggregator, "replay", "--scope", str(folder / "scope.yaml"), str(psp)], check=True, capture_output=True, text=True).stdout
    assert "no canary" in made.ctl("canary", "list", "--tenant", "acme")
    scope = tmp_path / "applied.yaml"
    scope.write_text(json.dumps({"tenants": [{"name": "acme", "sites": ["hq", "branch", "cloud"], "zones": ["acme.example"], "canaries": [
        {"name": "copper-lab-muc2.acme.example", "channel": "dnsdb", "planted": "2026-11-20T10:00:00Z"}, "raven-hub-oslo3.acme.example"]}]}))
    made.ctl("apply", "-f", str(scope))
    with made.postgres.connect(made.database) as connection:
        for finding in map(json.loads, told.splitlines()):
            connection.execute("insert into finding select tenant_id, %(id)s, %(revision)s, %(detector)s, %(severity)s, 1, 2, %(json)s from tenant where name = 'acme'"
                               " on conflict (tenant_id, id) do update set revision = excluded.revision, finding = excluded.finding", {**finding, "json": json.dumps(finding)})
    read, unread = map(json.loads, made.ctl("canary", "list", "--tenant", "acme", "--json").splitlines())
    assert (read["name"], read["channel"], read["planted"][:19]) == ("copper-lab-muc2.acme.example.", "dnsdb", "2026-11-20T10:00:00")
    assert [(r["actor"], r["severity"], r["sites"]) for r in read["readers"]] == [("203.0.113.66", 4, ["hq"])]
    assert unread == {"name": "raven-hub-oslo3.acme.example.", "channel": None, "planted": None, "readers": []}
    table = made.ctl("canary", "list", "--tenant", "acme")
    assert read["readers"][0]["finding"] in table and "nobody" in table
