# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""Which processes become agents, what they are called, and when a recording of them ends."""
import json
import os
import signal
import subprocess
import uuid
from pathlib import Path

import pytest

from conftest import Recording, wait_for

PYTHON = "/usr/bin/python3"
WAITS = "import sys; sys.stdin.read()"  # a script that ends when its standard input does


def start_ticks(pid):
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19])


@pytest.fixture
def record(stakeout):
    """Records for a moment; returns the recording."""
    def run(*args, seconds="0.3"):
        done = stakeout("record", "-q", "-i", "0.1", "--force", "-o", "out.ndjson", *(["-d", seconds] if seconds else []), *args)
        assert done.returncode == 0, done.stderr
        return Recording(stakeout.folder / "out.ndjson")
    return run


@pytest.fixture
def live(stakeout):
    """A recording that goes on; its lines can be waited for."""
    class Live:
        def start(self, *args):
            self.path = stakeout.folder / "live.ndjson"
            self.process = stakeout.start("record", "-q", "-i", "0.1", "-o", self.path, *args)
            self.seen("its first interval", lambda lines: any(line["kind"] == "interval" for line in lines))
            return self

        def lines(self):
            text = self.path.read_text() if self.path.exists() else ""
            return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

        def agents(self):
            return [a for line in self.lines() for a in ([line] if line["kind"] == "agent" else line.get("agents", []))
                    if "pid" in a]

        def seen(self, what, condition):
            def check():
                assert self.process.poll() is None, self.process.stderr.read()
                return condition(self.lines())
            return wait_for(what, check)

        def ends(self):
            _, err = self.process.communicate(timeout=60)
            assert self.process.returncode == 0, err
            return Recording(self.path)

        def stop(self):
            self.process.send_signal(signal.SIGINT)
            return self.ends()
    one = Live()
    yield one
    if hasattr(one, "process") and one.process.poll() is None:
        one.process.kill()
        one.process.communicate()


@pytest.fixture
def mark():
    """A word that no other command line has."""
    return f"mark-{uuid.uuid4().hex}"


def script(folder, name, text=WAITS):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_identity(record, sleeper):
    (agent,) = record("-p", sleeper.pid).agents
    assert agent["pid"] == sleeper.pid
    assert agent["start_ticks"] == start_ticks(sleeper.pid)
    assert agent["cmdline"] == "sleep 1000"
    assert agent["name"] == "sleep"
    groups = dict(line.split(":", 2)[::2] for line in Path(f"/proc/{sleeper.pid}/cgroup").read_text().splitlines())
    assert agent["cgroup"] == groups.get("0", next(iter(groups.values())))


@pytest.mark.parametrize("argv, name", [
    ([PYTHON, "{agent.py}"], "agent.py"),
    ([PYTHON, "-u", "-X", "dev", "-W", "ignore", "{agent.py}", "--flag"], "agent.py"),
    ([PYTHON, "-c", WAITS, "decoy.py"], "python3"),
    ([PYTHON, "-m", "code"], "code"),
    (["sh", "{tool.sh}"], "tool.sh"),
    (["sh", "-c", "read x; :"], "sh"),
    (["cat", "-"], "cat"),
])
def test_name(record, agents, tmp_path, argv, name):
    texts = {"{agent.py}": script(tmp_path, "lib/agent.py"), "{tool.sh}": script(tmp_path, "tool.sh", "read x\n")}
    p = agents(*[texts.get(a, a) for a in argv], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
    (agent,) = record("-p", p.pid).agents
    assert agent["name"] == name


@pytest.mark.parametrize("title, args, name", [
    ("node", ["{index.js}"], "index.js"),
    ("/usr/bin/node", ["{index.js}", "--inspect"], "index.js"),
    ("bun", ["{index.js}"], "index.js"),
    ("claude", ["{index.js}"], "claude"),
    ("/opt/my agent/bin/agent", ["{index.js}"], "agent"),
    ("-bash", ["-c", WAITS], "bash"),
    ("nginx: master process /usr/sbin/nginx", ["{index.js}"], "nginx"),
    ("", ["{index.js}"], "python3"),
])
def test_name_from_a_title(record, agents, tmp_path, title, args, name):
    """Python under another program's argv[0]: only the arguments are looked at, not the file that runs."""
    index = script(tmp_path, "index.js")
    argv = [title, *[str(index) if a == "{index.js}" else a for a in args]]
    p = agents(*argv, executable=PYTHON, stdin=subprocess.PIPE)
    (agent,) = record("-p", p.pid).agents
    # An empty argv[0] leaves the kernel's name of the process, which is the file's.
    assert agent["name"] == (Path(f"/proc/{p.pid}/comm").read_text().strip() if not title else name)


def test_label(record, sleeper):
    (agent,) = record("-p", sleeper.pid, "--name", "my label").agents
    assert agent["name"] == "my label"
    assert agent["cmdline"] == "sleep 1000"


def test_several_pids(record, agents):
    pids = sorted(agents("sleep", 1000).pid for _ in range(3))
    assert record("-p", f"{pids[0]},{pids[1]}", "-p", pids[2], "-p", pids[0]).pids() == pids


def test_child_of_an_agent_is_no_agent(record, agents):
    parent = agents("sh", "-c", "sleep 1000 & echo $!; wait", stdout=subprocess.PIPE)
    child = int(parent.stdout.readline())
    assert record("-p", f"{child},{parent.pid}").pids() == [parent.pid]


def test_pattern(record, agents, mark):
    """Parent and child match; so does what started stakeout, and stakeout: only the parent is an agent."""
    parent = agents("sh", "-c", f"sh -c 'echo ready; read {mark}; :'; :", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    parent.stdout.readline()
    agents("sleep", "1000")
    assert record("-n", f"read {mark[:6]}.*{mark[6:]}").pids() == [parent.pid]


def test_pattern_skips_who_started_us(stakeout, agents, mark):
    done = subprocess.run(["sh", "-c", f'"$0" record -q -d 0.3 -o out.ndjson -n {mark}; exit $?', stakeout.path],
                          cwd=stakeout.folder, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert Recording(stakeout.folder / "out.ndjson").pids() == []


def test_pattern_finds_later_starters(live, agents, tmp_path, mark):
    live.start("-n", mark)
    assert live.agents() == []
    path = script(tmp_path, f"{mark}.py")
    first = agents(PYTHON, path, stdin=subprocess.PIPE)
    live.seen("the first agent", lambda lines: [a["pid"] for a in live.agents()] == [first.pid])
    second = agents(PYTHON, path, stdin=subprocess.PIPE)
    live.seen("the second agent", lambda lines: [a["pid"] for a in live.agents()] == [first.pid, second.pid])
    recording = live.stop()
    assert [(a["pid"], a["name"], a["start_ticks"]) for a in recording.agents] == [
        (p.pid, f"{mark}.py", start_ticks(p.pid)) for p in (first, second)]


def cgroup_mounts():
    found = []
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, where, kind, options = line.split()[:4]
        if kind == "cgroup2":
            found.insert(0, ("v2", where))
        elif kind == "cgroup" and ("memory" in options.split(",") or "name=systemd" in options.split(",")):
            found.append(("v1", where))
    return found


@pytest.fixture(params=["v2", "v1"])
def cgroup(request, mark):
    """A cgroup with another one in it, as mount point and names below it."""
    where = next((where for kind, where in cgroup_mounts() if kind == request.param), None)
    if not where:
        pytest.skip(f"kernel: no cgroup {request.param} hierarchy is mounted")
    outer = Path(where) / mark
    try:
        (outer / "inner").mkdir(parents=True)
    except OSError as err:
        pytest.skip(f"kernel: can't make a cgroup: {err}")
    yield where, mark
    for path in outer / "inner", outer:
        # Its processes are killed by then, but leave their cgroup a moment later.
        wait_for("the cgroup to empty", lambda p=path: (p / "cgroup.procs").read_text() == "")
        path.rmdir()


def enter(where, name, pid):
    (Path(where) / name / "cgroup.procs").write_text(str(pid))


def test_cgroup(record, cgroup, agents):
    where, name = cgroup
    a, b, _ = [agents("sleep", 1000) for _ in range(3)]
    try:
        enter(where, name, a.pid)
        enter(where, f"{name}/inner", b.pid)
        both = sorted([a.pid, b.pid])
        assert record("--cgroup", f"{where}/{name}").pids() == both
        assert record("--cgroup", f"{where}/{name}/").pids() == both
        assert record("--cgroup", name).pids() == both
        assert record("--cgroup", f"/{name}").pids() == both
        assert record("--cgroup", f"{name}/inner").pids() == [b.pid]
    finally:
        agents.close()


def test_cgroup_newcomer(live, cgroup, agents):
    where, name = cgroup
    try:
        first = agents("sleep", 1000)
        enter(where, name, first.pid)
        live.start("--cgroup", name)
        later = agents("sh", "-c", f"echo $$ > {where}/{name}/inner/cgroup.procs; exec sleep 1000")
        live.seen("the newcomer", lambda lines: [a["pid"] for a in live.agents()] == [first.pid, later.pid])
        live.stop()
    finally:
        agents.close()


@pytest.mark.parametrize("command, code", [("exit 0", 0), ("exit 7", 7 << 8), ("kill -9 $$", 9)])
def test_command(record, command, code):
    recording = record("--", "sh", "-c", command, seconds=None)
    (agent,) = recording.agents
    assert agent["name"] == "sh" and agent["cmdline"] == f"sh -c {command}"
    (total,) = recording.total["agents"]
    assert total["exit_code"] == code


def test_command_is_left_as_it_is(stakeout):
    """Environment, directory, streams, signals: as if it had been started without us."""
    probe = ("import os, signal, sys; print(os.environ['SOME'], os.getcwd(), sys.stdin.read(), "
             "sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])), signal.getsignal(signal.SIGTERM), "
             "signal.getsignal(signal.SIGCHLD), sorted(os.listdir('/proc/self/fd'))[:-1])")
    argv = [PYTHON, "-c", probe]
    env = dict(os.environ, SOME="thing")
    plain = subprocess.run(argv, cwd=stakeout.folder, env=env, input=b"text", capture_output=True)
    ours = subprocess.run([stakeout.path, "record", "-q", "-o", "out", "--", *argv], cwd=stakeout.folder, env=env, input=b"text",
                          capture_output=True)
    assert ours.returncode == 0, ours.stderr
    assert ours.stdout == plain.stdout and plain.stdout


def test_ends_with_its_last_agent(live, agents):
    first, second = (agents("cat", stdin=subprocess.PIPE) for _ in range(2))
    live.start("-p", f"{first.pid},{second.pid}")
    first.stdin.close()
    first.wait()

    def alive(lines):
        last = [line for line in lines if line["kind"] == "interval"][-1]
        return sorted(a["id"] for a in last["agents"] if a["alive"])
    ids = {a["pid"]: a["id"] for a in live.agents()}
    live.seen("the first agent's end", lambda lines: alive(lines) == [ids[second.pid]])
    second.stdin.close()
    second.wait()
    recording = live.ends()
    assert recording.total and recording.pids() == sorted([first.pid, second.pid])
