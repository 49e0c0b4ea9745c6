"""Live capture in a network namespace: nothing lost unaccounted for, interfaces that come and go, privileges that are gone, settings read again."""
import json
import os
import pathlib
import shutil
import signal
import subprocess

import pytest
from conftest import program
from live_support import Lab, Run
from pg_support import wait_until


@pytest.fixture
def lab():
    if os.geteuid() != 0:
        pytest.skip("needs root for network namespaces")
    made = Lab()
    yield made
    made.close()


def is_sanitized():
    return b"__asan_init" in pathlib.Path(program("picket-sensor")).read_bytes()


def only(counters):
    assert len(counters["interfaces"]) == 1
    return counters["interfaces"][0]


def accounted(counters):
    """What the kernel let through the filter, by where it ended."""
    assert counters["balanced"] is True
    return sum(i["packets"] + i["kernel_dropped"] + i["kernel_unread"] for i in counters["interfaces"])


def test_all_that_was_sent_is_read(lab):
    lab.pair("a0", "b0")
    run = lab.sensor("--interface", "b0", "--output", "transactions")
    run.wait_for("interface=b0 state=open")
    assert f"kernel_ring_bytes={32 << 20} " in run.log().splitlines()[0]
    sent = lab.send("a0", 20000)
    counters = run.stop()
    assert sent == 40000
    assert counters["packets"] == counters["messages"] == sent and counters["kernel_dropped"] == 0
    assert counters["answered"] == counters["transactions"] == sent // 2
    assert len(run.output_path.read_text().splitlines()) == sent // 2
    assert only(counters)["link_type"] == "EN10MB"


def test_what_the_kernel_dropped_is_counted(lab):
    """A stopped sensor with the smallest ring: most is lost, and every frame is in one of the counters."""
    lab.pair("a0", "b0")
    run = lab.daemon(lab.config(["b0"], capture_buffer_mb=2))
    run.wait_for("module=privileges")
    run.process.send_signal(signal.SIGSTOP)
    sent = lab.send("a0", 100000, 200000)
    run.process.send_signal(signal.SIGCONT)
    sent += lab.send("a0", 1000)
    counters = run.stop()
    one = only(counters)
    assert one["kernel_dropped"] == counters["kernel_dropped"] > sent // 2
    assert one["packets"] == counters["packets"] > 1000
    assert accounted(counters) == sent
    assert counters["in_scope"] + counters["negative"] + counters["positive"] + counters["merge_shed"] == counters["transactions"]


def test_an_interface_comes_back_while_the_other_goes_on(lab):
    lab.pair("a0", "b0")
    lab.pair("a1", "b1")
    run = lab.daemon(lab.config(["b0", "b1"]))
    run.wait_for("interface=b1 state=open")
    run.wait_for("module=privileges")
    sent = lab.send("a0", 500)
    lab.remove("a0")
    run.wait_for("interface=b0 reason=")
    sent += lab.send("a1", 500)
    lab.pair("a0", "b0")
    run.wait_for("interface=b0 state=open", times=2)  # without root: CAP_NET_RAW was kept for this
    sent += lab.send("a0", 500)
    counters = run.stop()
    interfaces = {i["name"]: i for i in counters["interfaces"]}
    assert interfaces["b0"]["openings"] == 2 and interfaces["b1"]["openings"] == 1
    assert accounted(counters) == sent and interfaces["b1"]["packets"] == 1000
    assert run.process.returncode == 0


def test_a_link_that_goes_down_and_changes_its_mtu_loses_nothing_after(lab):
    lab.pair("a0", "b0")
    run = lab.daemon(lab.config(["b0"]))
    run.wait_for("module=privileges")
    lab.set("b0", "down")
    run.wait_for("interface=b0 link=down state=down: it was set down")
    lab.set("b0", "mtu", "9000")
    lab.set("a0", "mtu", "9000")
    lab.set("b0", "up")
    run.wait_for("interface=b0 link=up state=open")
    wait_until(lambda: "LOWER_UP" in lab.exec("ip", "link", "show", "a0"), 30, "the link")
    sent = lab.send("a0", 500)
    counters = run.stop()
    assert accounted(counters) == sent and counters["packets"] == sent
    assert only(counters)["state"] == "open" and only(counters)["openings"] == 1


def test_a_link_whose_other_end_is_down_is_down(lab):
    lab.pair("a0", "b0")
    lab.pair("a1", "b1")
    run = lab.daemon(lab.config(["b0", "b1"]))
    run.wait_for("module=privileges")
    lab.set("a0", "down")
    run.wait_for("interface=b0 link=down state=down: no carrier")
    sent = lab.send("a1", 500)
    counters = run.stop()
    assert {i["name"]: i["state"] for i in counters["interfaces"]} == {"b0": "down", "b1": "open"}
    assert accounted(counters) == counters["packets"] == sent


def test_a_pattern_picks_up_what_appears(lab):
    run = lab.daemon(lab.config(["pod*"]))
    run.wait_for("module=privileges")
    lab.pair("eth9", "pod1")
    run.wait_for("interface=pod1 state=open")
    sent = lab.send("eth9", 500)
    lab.remove("eth9")
    run.wait_for("interface=pod1 state=gone")
    lab.pair("eth9", "pod2")
    run.wait_for("interface=pod2 state=open")
    sent += lab.send("eth9", 500)
    counters = run.stop()
    assert accounted(counters) == sent
    assert {i["name"]: i["state"] for i in counters["interfaces"]} == {"pod1": "gone", "pod2": "open"}


def test_nothing_left_ends_with_try_again(lab):
    lab.pair("a0", "b0")
    run = lab.daemon(lab.config(["b0"]))
    run.wait_for("module=privileges")
    lab.remove("a0")
    assert run.process.wait(60) == 75
    assert "no interface is left" in run.log()


def test_a_name_that_does_not_exist_is_said_at_the_start(lab):
    run = lab.daemon(lab.config(["eth77"]))
    assert run.process.wait(60) == 66
    assert "eth77" in run.log()


def test_two_interfaces_that_see_the_same_count_it_once(lab):
    lab.pair("a0", "b0")
    run = lab.sensor("--interface", "a0", "--interface", "b0", "--output", "none")
    run.wait_for("interface=b0 state=open")
    sent = lab.send("a0", 20000)
    counters = run.stop()
    assert counters["packets"] == 2 * sent and counters["copies"] == sent
    assert counters["transactions"] == counters["answered"] == sent // 2


def test_packets_of_two_interfaces_come_in_the_order_of_their_times(lab):
    lab.pair("a0", "b0")
    lab.pair("a1", "b1")
    run = lab.sensor("--interface", "b0", "--interface", "b1", "--output", "messages")
    run.wait_for("interface=b1 state=open")
    senders = [subprocess.Popen(["ip", "netns", "exec", lab.name, program("send_dns"), name, "5000", "60", "2000", first], stdout=subprocess.DEVNULL)
               for name, first in (("a0", "0"), ("a1", "5000"))]
    assert [s.wait(60) for s in senders] == [0, 0]
    counters = run.stop()
    times = [json.loads(line)["ts"] for line in run.output_path.read_text().splitlines()]
    assert len(times) == counters["packets"] == 8000
    assert times == sorted(times)


def test_threads_share_the_interfaces_and_a_query_meets_its_answer(lab):
    lab.pair("a0", "b0")
    lab.pair("a1", "b1")
    run = lab.daemon(lab.config(["b0", "b1"], capture_threads=2))
    run.wait_for("interface=b1 state=open", times=2)
    run.wait_for("module=privileges")
    sent = lab.send("a0", 5000) + lab.send("a1", 100)
    tasks = os.listdir(f"/proc/{run.process.pid}/task")
    counters = run.stop()
    assert counters["packets"] == accounted(counters) == sent
    assert counters["answered"] == counters["transactions"] == counters["in_scope"]
    assert len(tasks) >= 3 and len(counters["interfaces"]) == 2 and counters["interfaces"][0]["openings"] == 2


def test_sensors_of_two_containers_on_the_same_interface_each_see_everything(lab):
    """Threads share an interface with those of their own process, also where another has the same process number in a namespace of its own."""
    lab.pair("a0", "b0")
    config = lab.config(["b0"], capture_threads=2, spool={"memory": True})
    runs = [Run(lab, ["unshare", "--pid", "--fork", program("picket-sensor"), "--config", config]) for _ in range(2)]
    for run in runs:
        run.wait_for("module=privileges")
    sent = lab.send("a0", 2000)
    for run in runs:
        pid = run.process.pid
        os.kill(int(pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text()), signal.SIGTERM)
        assert run.process.wait(60) == 0, run.log()
        counters = run.counters()
        assert counters["packets"] == accounted(counters) == sent and counters["answered"] == sent // 2


def test_privileges_are_gone(lab):
    lab.pair("a0", "b0")
    run = lab.daemon(lab.config(["b0"]))
    run.wait_for("module=privileges")
    status = run.status()
    assert status["Uid"].split() == ["65534"] * 4 and status["Gid"].split() == ["65534"] * 4 and status["Groups"] == ""
    assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == int(status["CapInh"], 16) == int(status["CapAmb"], 16) == 0
    assert int(status["CapPrm"], 16) == 1 << 13  # CAP_NET_RAW
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == ("0" if is_sanitized() else "2")
    assert "landlock=" in run.log()
    limits = pathlib.Path(f"/proc/{run.process.pid}/limits").read_text().splitlines()
    assert any(line.startswith("Max core file size") and line.split()[4:6] == ["0", "0"] for line in limits)
    assert (lab.folder / "spool").stat().st_uid == 65534
    run.stop()


def test_a_spool_of_somebody_else_is_refused_with_what_to_do(lab):
    lab.pair("a0", "b0")
    (lab.folder / "spool").mkdir()
    run = lab.daemon(lab.config(["b0"]))
    assert run.process.wait(60) == 77
    assert "chown -R nobody" in run.log()


def test_a_file_capability_is_enough(lab):
    if not shutil.which("setcap"):
        pytest.skip("setcap (libcap2-bin) is not installed")
    lab.pair("a0", "b0")
    copy = lab.folder / "picket-sensor"
    shutil.copy(program("picket-sensor"), copy)
    copy.chmod(0o755)
    done = subprocess.run(["setcap", "cap_net_raw+ep", str(copy)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"file capabilities are not permitted here: {done.stderr.strip()}")
    run = Run(lab, ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", copy, "--interface", "b0", "--output", "none"])
    run.wait_for("interface=b0 state=open")
    wait_until(lambda: run.status()["NoNewPrivs"] == "1", 30, "privileges given up")
    assert int(run.status()["CapEff"], 16) == 0 and int(run.status()["CapPrm"], 16) == 1 << 13
    sent = lab.send("a0", 500)
    assert run.stop()["packets"] == sent


def test_settings_are_read_again(lab):
    lab.pair("a0", "b0")
    lab.pair("a1", "b1")
    run = lab.daemon(lab.config(["b0"], capture_ports=[5353]))
    run.wait_for("module=privileges")
    lab.send("a0", 100)  # another port: the kernel's filter keeps it out
    lab.config(["b0"], window_s="soon")
    run.process.send_signal(signal.SIGHUP)
    run.wait_for("module=reload refused, the old settings stay")
    assert "sensor.yaml:" in run.log() and "window_s" in run.log()
    lab.config(["b0"]).chmod(0o600)
    run.process.send_signal(signal.SIGHUP)
    run.wait_for("sensor.yaml: cannot be read: user 65534 ")
    lab.config(["b0", "b1"], window_s=2, log_level="debug").chmod(0o644)
    run.process.send_signal(signal.SIGHUP)
    run.wait_for("module=reload done file=")
    run.wait_for("interface=b1 state=open")
    sent = lab.send("a0", 200) + lab.send("a1", 200)
    lab.config(["b1"], capture_buffer_mb=4, aggregator={"endpoints": ["tcp://127.0.0.1:10"], "server_key": "x"})
    run.process.send_signal(signal.SIGHUP)
    run.wait_for("module=reload refused", times=3)
    lab.config(["b1"], capture_buffer_mb=4)
    run.process.send_signal(signal.SIGHUP)
    run.wait_for('needs a restart keys="capture.buffer_mb"')
    run.wait_for("interface=b0 state=closed")
    lab.send("a0", 100)
    sent += lab.send("a1", 100)
    counters = run.stop()
    assert counters["messages"] == counters["packets"] == sent and counters["in_scope"] == sent // 2


def test_another_scope_is_read_again(lab):
    lab.pair("a0", "b0")
    config = lab.config(["b0"])
    run = lab.daemon(config)
    run.wait_for("module=privileges")
    lab.send("a0", 100)
    wait_until(lambda: list((lab.folder / "spool").glob("seg-*")), 30, "the first window")
    fresh = lab.folder / "scope.new"
    fresh.write_text("tenants:\n  - {name: acme, sites: [hq], zones: [other.example]}\n")
    os.replace(fresh, lab.folder / "scope.yaml")  # another file under the same name, as editors do it
    run.process.send_signal(signal.SIGHUP)
    run.wait_for("module=reload done")
    lab.send("a0", 100)
    counters = run.stop()
    assert counters["transactions"] == 200
    assert counters["in_scope"] == 100 and counters["positive"] == 100
