# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""How recordings begin and end, whom they are about, and what is left behind: nothing."""
import json
import os
import signal
import subprocess
import uuid
from pathlib import Path

import pytest
from conftest import STAKEOUT, Recording, wait_for

PYTHON = "/usr/bin/python3"
OUTPUT = 5
SPIN = "while True: pass"


def held_programs(pid):
    """Ids of the BPF programs that a process holds descriptors of."""
    ids = set()
    for info in Path(f"/proc/{pid}/fdinfo").iterdir():
        try:
            ids |= {int(line.split()[1]) for line in info.read_text().splitlines() if line.startswith("prog_id:")}
        except OSError:
            pass
    return ids


def kernel_programs():
    done = subprocess.run(["bpftool", "-j", "prog", "show"], stdout=subprocess.PIPE, check=True)
    return {program["id"] for program in json.loads(done.stdout)}


@pytest.fixture
def live(stakeout):
    """Starts a recording, and returns when it has its first interval."""
    class Live:
        def __init__(self, *args, out="out.ndjson", interval="0.1"):
            self.path = stakeout.folder / out
            self.process = stakeout.start("record", "-q", "-i", interval, "-o", self.path, *args)
            runs.append(self)
            self.seen('"kind":"interval"')

        def seen(self, text, times=1):
            def check():
                assert self.process.poll() is None, self.process.stderr.read()
                return self.path.exists() and self.path.read_text().count(text) >= times
            wait_for(text, check)

        def ends(self, *numbers):
            for number in numbers:
                self.process.send_signal(number)
            _, err = self.process.communicate(timeout=60)
            assert (self.process.returncode, err) == (0, b"")
            return Recording(self.path)
    runs = []
    yield Live
    for run in runs:
        if run.process.poll() is None:
            run.process.kill()
        run.process.communicate()


def agent_of(recording, pid):
    agent = next(a for a in recording.agents if a["pid"] == pid)
    return next(a for a in recording.total["agents"] if a["id"] == agent["id"])


def cpu_s(agent):
    return (agent["counters"].get("cpu_user_ns", 0) + agent["counters"].get("cpu_system_ns", 0)) / 1e9


def test_sigkill_leaves_nothing_attached_and_a_readable_file(stakeout, live, sleeper):
    run = live("-p", sleeper.pid)
    run.seen('"kind":"interval"', 3)
    programs = held_programs(run.process.pid)
    assert len(programs) > 5 and programs <= kernel_programs()
    run.process.kill()
    run.process.communicate()
    wait_for("the kernel to free the programs", lambda: not programs & kernel_programs())
    done = stakeout("report", "--json", run.path)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["complete"] is False and report["intervals"] >= 3
    assert b"incomplete  ends after" in stakeout("report", run.path).stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_it_cleanly(stakeout, live, sleeper, number):
    run = live("-p", sleeper.pid)
    programs = held_programs(run.process.pid)
    recording = run.ends(number)
    assert recording.lines[-1] is recording.total
    assert recording.total["end_s"] == recording.intervals[-1]["end_s"]
    wait_for("the kernel to free the programs", lambda: not programs & kernel_programs())
    assert json.loads(stakeout("report", "--json", run.path).stdout)["complete"] is True
    assert sleeper.poll() is None


def test_agent_that_exits_is_closed_and_the_rest_goes_on(live, agents, sleeper):
    brief = agents(PYTHON, "-c", "import sys; sys.stdin.read(); sys.exit(7)", stdin=subprocess.PIPE)
    run = live("-p", f"{brief.pid},{sleeper.pid}")
    brief.stdin.close()
    brief.wait()
    run.seen('"alive":false')
    run.seen('"kind":"interval"', run.path.read_text().count('"kind":"interval"') + 2)
    recording = run.ends(signal.SIGINT)
    ended, other = agent_of(recording, brief.pid), agent_of(recording, sleeper.pid)
    assert (ended["alive"], other["alive"]) == (False, True)
    assert os.waitstatus_to_exitcode(ended["exit_code"]) == 7
    assert ended["observed_s"] < other["observed_s"]
    last = [a for i in recording.intervals[-2:] for a in i["agents"] if a["id"] == ended["id"]]
    assert not last  # nothing more is said of it


def test_recording_ends_with_its_last_agent(live, agents):
    both = [agents(PYTHON, "-c", "import sys; sys.stdin.read()", stdin=subprocess.PIPE) for _ in range(2)]
    run = live("-p", f"{both[0].pid},{both[1].pid}")
    for agent in both:
        agent.stdin.close()
    recording = run.ends()
    assert [a["alive"] for a in recording.total["agents"]] == [False, False]


def test_pattern_announces_a_later_agent(live, agents):
    mark = f"mark-{uuid.uuid4().hex}"
    first = agents(PYTHON, "-c", SPIN, mark)
    run = live("-n", mark)
    later = agents(PYTHON, "-c", SPIN, mark)
    run.seen('"kind":"agent"')
    run.seen('"kind":"interval"', run.path.read_text().count('"kind":"interval"') + 3)
    recording = run.ends(signal.SIGINT)
    (line,) = [line for line in recording.lines if line["kind"] == "agent"]
    assert (line["pid"], recording.header["agents"][0]["pid"]) == (later.pid, first.pid)
    at = recording.lines.index(line)
    told = [n for n, i in enumerate(recording.lines) if any(a["id"] == line["id"] for a in i.get("agents", []))]
    assert told[0] == at + 1  # announced first
    assert cpu_s(agent_of(recording, later.pid)) > 0.02


@pytest.mark.parametrize("script, expected", [("exit 0", {"status": 0}), ("exit 42", {"status": 42}), ("kill -TERM $$", {"signal": 15})])
def test_exit_status_of_a_command_is_in_the_report(stakeout, script, expected):
    done = stakeout("record", "-q", "-o", "out.ndjson", "--", "sh", "-c", script)
    assert done.returncode == 0, done.stderr
    (agent,) = json.loads(stakeout("report", "--json", "out.ndjson").stdout)["agents"]
    said = {key: value for key, value in agent["exit"].items() if value or key in expected}
    assert said.get(next(iter(expected))) == next(iter(expected.values())), agent["exit"]


def test_two_agents_and_a_bystander_are_kept_apart(live, agents):
    """Each allocates, forks and computes in its own measure; the bystander does most of all."""
    work = """
import subprocess, sys, time
sys.stdin.readline()
for _ in range(int(sys.argv[1])):
    subprocess.run([sys.argv[3]])
end = time.process_time() + float(sys.argv[2])
while time.process_time() < end:
    pass
print("done", flush=True)
sys.stdin.read()
"""
    plan = {"one": (3, 0.1, "/usr/bin/true"), "two": (7, 0.4, "/usr/bin/false"), "bystander": (11, 0.6, "/usr/bin/id")}
    started = {name: agents(PYTHON, "-c", work, *args, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for name, args in plan.items()}
    run = live("-p", f"{started['one'].pid},{started['two'].pid}")
    for agent in started.values():
        agent.stdin.write(b"go\n")
        agent.stdin.flush()
    for agent in started.values():
        while agent.stdout.readline() != b"done\n":
            assert agent.poll() is None
    recording = run.ends(signal.SIGINT)
    assert recording.pids() == sorted([started["one"].pid, started["two"].pid])
    for name in ("one", "two"):
        runs, seconds, tool = plan[name]
        agent = agent_of(recording, started[name].pid)
        assert (agent["counters"]["forks"], agent["counters"]["execs"], agent["counters"]["exits"]) == (runs, runs, runs)
        assert {t["name"]: t["hist"]["tool_ns"]["count"] for t in agent["tools"]} == {Path(tool).name: runs}
        tools = sum(cpu_s(t) for t in agent["tools"])
        assert cpu_s(agent) - tools == pytest.approx(seconds, rel=0.05, abs=0.03)  # forking costs something too
    # What the bystander started is nobody's tool. (That it had a CPU which an agent waited for may be told.)
    everyone = [a for i in [*recording.intervals, recording.total] for a in i["agents"]]
    assert "id" not in {t["name"] for a in everyone for t in a["tools"]}


def force_pid(pid, argv, tries=300):
    """Starts argv under a process id that was in use before."""
    for _ in range(tries):
        Path("/proc/sys/kernel/ns_last_pid").write_text(str(pid - 1))
        child = os.posix_spawn(argv[0], argv, os.environ, setpgroup=0)
        if child == pid:
            return child
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    pytest.fail(f"pid {pid} could not be had again")


def test_reused_pid_of_an_agent_is_somebody_else(live, agents, sleeper):
    """A process that is given the pid of an agent that has ended is not taken for it."""
    agent = agents(PYTHON, "-c", "import sys; sys.stdin.read()", stdin=subprocess.PIPE)
    run = live("-p", f"{agent.pid},{sleeper.pid}")
    agent.stdin.close()
    agent.wait()
    impostor = force_pid(agent.pid, [PYTHON, "-c", "import subprocess\nsubprocess.run(['/usr/bin/id'], stdout=-3)\n" + SPIN])
    try:
        run.seen('"kind":"interval"', run.path.read_text().count('"kind":"interval"') + 5)
    finally:
        os.killpg(impostor, signal.SIGKILL)
        os.waitpid(impostor, 0)
    recording = run.ends(signal.SIGINT)
    ended = agent_of(recording, agent.pid)
    assert ended["alive"] is False and ended["tools"] == []
    assert (cpu_s(ended), ended["counters"].get("forks", 0), ended["counters"]["exits"]) == (pytest.approx(0, abs=0.1), 0, 1)
    assert len(recording.agents) == 2


def test_reused_pid_of_a_tool_is_a_new_tool(live, agents):
    """Tools that get the same pid one after the other are counted, named and timed apart."""
    script = """
import os, signal, sys
sys.stdin.readline()
def run(path):
    return os.posix_spawn(path, [path], os.environ, file_actions=[(os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0)])
first = run("/usr/bin/id")
os.waitpid(first, 0)
runs, hit = 1, False
while not hit and runs < 300:
    with open("/proc/sys/kernel/ns_last_pid", "w") as f:
        f.write(str(first - 1))
    child = run("/usr/bin/uname")
    os.waitpid(child, 0)
    runs, hit = runs + 1, child == first
print(runs, hit, flush=True)
sys.stdin.read()
"""
    agent = agents(PYTHON, "-c", script, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    run = live("-p", agent.pid)
    agent.stdin.write(b"go\n")
    agent.stdin.flush()
    runs, hit = agent.stdout.readline().split()
    assert hit == b"True"
    total = agent_of(run.ends(signal.SIGINT), agent.pid)
    assert {t["name"]: t["hist"]["tool_ns"]["count"] for t in total["tools"]} == {"id": 1, "uname": int(runs) - 1}
    assert total["counters"]["exits"] == int(runs)


def test_two_hundred_agents_at_once(live, agents):
    mark = f"mark-{uuid.uuid4().hex}"
    many = [agents("sh", "-c", "read line; exit 0", mark, stdin=subprocess.PIPE) for _ in range(200)]
    run = live("-n", mark, interval="0.2")
    for agent in many:
        agent.stdin.write(b"go\n")
        agent.stdin.close()
    for agent in many:
        agent.wait()
    recording = run.ends(signal.SIGINT)
    assert recording.pids() == sorted(agent.pid for agent in many)
    assert [a["alive"] for a in recording.total["agents"]] == [False] * 200
    assert all(a["counters"]["exits"] == 1 for a in recording.total["agents"])
    assert not any(recording.total["observer"]["lost"].values())


def test_probe_switched_off_leaves_out_its_metrics(stakeout):
    names = {"faults_minor", "rss_bytes", "rss_peak_bytes", "map_bytes"}

    def record(out, *args):
        assert stakeout("record", "-q", "-o", out, *args, "--", "sh", "-c", "ls / >/dev/null").returncode == 0
        (agent,) = Recording(stakeout.folder / out).total["agents"]
        return {key for group in ("counters", "gauges", "hist") for key in agent[group]}
    assert names <= record("on.ndjson")
    without = record("off.ndjson", "--probe", "-mem")
    assert not names & without and {"oncpu_ns", "forks", "threads"} <= without


def test_tools_whose_reader_had_enough_have_not_failed(stakeout):
    script = "for i in 1 2 3; do yes | head -n 1; ! false; done; sh -c 'kill -TERM $$'; true"
    assert stakeout("record", "-q", "-o", "r.ndjson", "--", "bash", "-c", script).returncode == 0
    (agent,) = Recording(stakeout.folder / "r.ndjson").total["agents"]
    tools = {t["name"]: t["counters"] for t in agent["tools"]}
    assert tools["yes"]["exits"] == 3 and "exits_failed" not in tools["yes"]
    assert tools["sh"]["exits_failed"] == 1 and agent["counters"]["exits_failed"] == 1


def test_peak_of_a_process_whose_first_thread_ended_first(stakeout):
    """The memory of a process is told by whichever thread ends last."""
    script = """
import ctypes, os, threading, time
def work(first):
    while open(f"/proc/self/task/{first}/stat").read().rsplit(")", 1)[1].split()[0] != "Z":
        time.sleep(0.001)
    block = bytearray(64 << 20)
    os._exit(0)
threading.Thread(target=work, args=(os.getpid(),)).start()
ctypes.CDLL(None).pthread_exit(None)
"""
    run = stakeout("record", "-q", "-i", "60", "-o", "out.ndjson", "--", PYTHON, "-c", script)
    assert run.returncode == 0, run.stderr
    agent = Recording(stakeout.folder / "out.ndjson").agent()
    assert 64 << 20 <= agent["gauges"]["rss_peak_bytes"] <= 128 << 20


def test_standard_output(stakeout):
    done = stakeout("record", "-q", "-i", "0.1", "-o", "-", "--", "sleep", "0.3")
    assert (done.returncode, done.stderr) == (0, b"")
    kinds = [json.loads(line)["kind"] for line in done.stdout.decode().splitlines()]
    assert kinds[0] == "header" and kinds[-1] == "total" and set(kinds[1:-1]) == {"interval"}
    assert stakeout.files() == []


def test_gzip(stakeout):
    assert stakeout("record", "-q", "-i", "0.1", "-o", "out.ndjson.gz", "--", "sleep", "0.3").returncode == 0
    text = subprocess.run(["gunzip", "-c", stakeout.folder / "out.ndjson.gz"], stdout=subprocess.PIPE, check=True).stdout.decode()
    assert [json.loads(line)["kind"] for line in text.splitlines()][-1] == "total"
    assert json.loads(stakeout("report", "--json", "out.ndjson.gz").stdout)["complete"] is True


def test_gzip_of_a_killed_recording_is_readable(stakeout, sleeper):
    """What a flush put out can be read, although the stream has no end."""
    run = stakeout.start("record", "-q", "-i", "0.1", "-o", "out.ndjson.gz", "-p", sleeper.pid)
    out = stakeout.folder / "out.ndjson.gz"

    def lines():
        text = subprocess.run(["gunzip", "-c", out], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
        return text.count(b"\n") if out.exists() else 0
    wait_for("some intervals", lambda: lines() >= 4)
    run.kill()
    run.communicate()
    report = json.loads(stakeout("report", "--json", "out.ndjson.gz").stdout)
    assert report["complete"] is False and report["intervals"] >= 3


def test_disk_full(stakeout, agents, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], check=True)
    try:
        busy = agents(PYTHON, "-c", "import time\nwhile True: time.sleep(0.001)")
        done = stakeout("record", "-q", "-i", "0.1", "-d", "60", "-o", disk / "out.ndjson", "-p", busy.pid)
        assert done.returncode == OUTPUT
        assert done.stderr.count(b"\n") == 1 and b"No space left" in done.stderr, done.stderr
        text = (disk / "out.ndjson").read_bytes()
        whole = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith(b"\n")]
        report = json.loads(stakeout("report", "--json", disk / "out.ndjson").stdout)
        assert report["intervals"] == sum(line["kind"] == "interval" for line in whole) >= 1
        assert report["complete"] is False
    finally:
        subprocess.run(["umount", disk], check=True)


HOSTILE = [b"\x1b[31mred\x1b[0m", b"a\nb\"c\\", b"\xff\xfe\xc3(", b"\xed\xa0\x80x"]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names(stakeout, tmp_path, name):
    """A process may call itself, and a tool be called, whatever it likes."""
    tool = os.fsencode(tmp_path) + b"/" + name.replace(b"/", b"")
    with open(tool, "wb") as f:
        f.write(b"#!/bin/sh\nexit 0\n")
    os.chmod(tool, 0o755)
    script = ("import ctypes, os, subprocess, sys, time\n"
              "name = os.fsencode(sys.argv[1])\n"
              "assert ctypes.CDLL(None).prctl(15, name, 0, 0, 0) == 0\n"
              "subprocess.run([os.fsencode(sys.argv[2]), name], check=True)\n")
    done = subprocess.run([STAKEOUT, "record", "-o", "out.ndjson", "--", PYTHON, "-c", script, name, tool], cwd=stakeout.folder,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
    assert done.returncode == 0, done.stderr
    recording = Recording(stakeout.folder / "out.ndjson")  # decodes as UTF-8, parses as JSON
    (agent,) = recording.total["agents"]
    assert len(agent["tools"]) == 1 and len(recording.header["agents"]) == 1
    for said in (done.stdout, done.stderr, stakeout("report", "out.ndjson").stdout, stakeout("report", "--json", "out.ndjson").stdout):
        said.decode()
        assert b"\x1b" not in said


@pytest.mark.parametrize("probe", ["sched", "proc", "mem", "sock", "names"])
def test_ends_without_a_probe(stakeout, tmp_path, probe):
    """That the command is over shows with any of them off."""
    out = tmp_path / "out.ndjson"
    done = stakeout("record", "-q", "-o", out, f"--probe=-{probe}", "--", "sleep", "0.2")
    assert done.returncode == 0, done.stderr
    total = json.loads(out.read_text().splitlines()[-1])
    assert total["kind"] == "total" and not total["agents"][0]["alive"]
    assert total["agents"][0]["exit_code"] == 0
