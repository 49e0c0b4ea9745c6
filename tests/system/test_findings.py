"""What people do about findings: acknowledge, close, suppress; through picketctl, picket-api and PostgreSQL."""
import datetime
import json
import subprocess

import pytest

FINDING = {"id": "ab12", "revision": 3, "state": "open", "detector": "D2", "version": "1", "title": "Subdomain enumeration by 203.0.113.66", "technique": ["T1595.003"],
           "tenant": "acme", "sites": ["branch", "hq"], "zones": ["acme.example."], "actor": {"kind": "address", "key": "203.0.113.66", "addresses": ["203.0.113.66"]},
           "severity": 3, "confidence": 0.95, "score_nats": 23.1, "contributions": [{"name": "dictionary misses", "nats": 23.1}], "learned": ["www.acme.example."],
           "sample_names": ["vpn2.acme.example."], "first_seen": "2026-11-23T09:55:00.000000Z", "last_seen": "2026-11-23T10:55:00.000000Z", "evidence": []}


@pytest.fixture
def one(mesh):
    made = mesh()
    made.put = lambda **changes: put(made, {**FINDING, **changes})
    made.put()
    return made


def put(mesh, finding):
    """As the aggregator writes it."""
    with mesh.postgres.connect(mesh.database) as connection:
        connection.execute(
            "insert into finding (tenant_id, id, revision, detector, severity, first_us, last_us, finding) select tenant_id, %(id)s, %(revision)s, %(detector)s, %(severity)s, 1, 2, %(json)s"
            " from tenant where name = %(tenant)s on conflict (tenant_id, id) do update set revision = excluded.revision, finding = excluded.finding",
            {**finding, "json": json.dumps(finding)})


def states(mesh, *arguments):
    return {f["id"]: f["state"] for f in map(json.loads, mesh.ctl("findings", "--tenant", "acme", "--json", *arguments).splitlines())}


def refused(mesh, *arguments):
    done = subprocess.run([mesh.programs["picketctl"], *arguments], capture_output=True, text=True, check=False, env=mesh.environment, timeout=60)
    assert done.returncode != 0
    return done.stderr


def test_a_closed_finding_is_out_of_sight_until_it_goes_on(one):
    assert states(one) == {"ab12": "open"}
    one.ctl("finding", "ack", "ab12", "--tenant", "acme", "--note", "looking")
    assert states(one) == {"ab12": "acknowledged"}
    one.ctl("finding", "close", "ab12", "--tenant", "acme", "--note", "a pentest")
    assert states(one) == {}
    assert states(one, "--all") == {"ab12": "closed"}
    one.put(revision=4)
    assert states(one) == {"ab12": "reopened"}
    shown = one.ctl("finding", "show", "ab12", "--tenant", "acme")
    for text in ("dictionary misses", "www.acme.example.", "looking", "a pentest", "acknowledge", "reopened"):
        assert text in shown, shown


def test_a_suppression_has_a_reason_and_an_end(one):
    one.put(id="cd34", detector="D6", actor={"kind": "address", "key": "203.0.113.77", "addresses": []})
    assert "needs --reason" in refused(one, "suppress", "--tenant", "acme", "--detector", "D2")
    assert "say what is expected" in refused(one, "suppress", "--tenant", "acme", "--reason", "x", "--until", "1d")
    assert "time to come" in refused(one, "suppress", "--tenant", "acme", "--detector", "D2", "--reason", "x", "--until", "2020-01-01")
    one.ctl("suppress", "--tenant", "acme", "--detector", "D2", "--zone", "ACME.example", "--reason", "quarterly test", "--until", "30d")
    assert states(one) == {"cd34": "open"}
    everything = {f["id"]: f for f in map(json.loads, one.ctl("findings", "--tenant", "acme", "--all", "--json").splitlines())}
    assert everything["ab12"]["suppressed"]["reason"] == "quarterly test" and everything["cd34"]["suppressed"] is None
    number = json.loads(one.ctl("suppressions", "--tenant", "acme", "--json"))["id"]
    one.ctl("unsuppress", str(number), "--tenant", "acme")
    assert states(one) == {"ab12": "open", "cd34": "open"}
    assert "has ended" in refused(one, "unsuppress", str(number), "--tenant", "acme")
    assert one.ctl("suppressions", "--tenant", "acme", "--json") == ""
    past = json.loads(one.ctl("suppressions", "--tenant", "acme", "--all", "--json"))
    assert datetime.datetime.fromisoformat(past["until"].replace("Z", "+00:00")) <= datetime.datetime.now(datetime.timezone.utc)


def test_a_tenant_acts_on_its_own_findings_only(one):
    with one.postgres.connect(one.database) as connection:
        connection.execute("insert into tenant (name) values ('other')")
    key = one.ctl("key", "add", "--name", "stranger", "--tenant", "other").strip()
    stranger = {**one.environment, "PICKET_API_KEY": key}

    def call(*arguments):
        return subprocess.run([one.programs["picketctl"], *arguments], capture_output=True, text=True, check=False, env=stranger, timeout=60)
    assert "no such finding" in call("finding", "close", "ab12").stderr
    assert "not for that tenant" in call("finding", "close", "ab12", "--tenant", "acme").stderr
    assert call("suppress", "--detector", "D2", "--reason", "mine", "--until", "1d").returncode == 0
    assert states(one) == {"ab12": "open"}
    assert one.table("select by_key from suppression") == [("stranger",)]
    assert one.table("select * from finding_action") == []
