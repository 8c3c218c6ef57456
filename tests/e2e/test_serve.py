# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""The daemon: its configuration, reloads, recordings that rotate, what it tells systemd."""
import collections
import http.server
import json
import os
import queue
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
import zlib
from pathlib import Path

import pytest

from conftest import HANG_S, ROOT, STAKEOUT, wait_for


def line_of_stderr(process):
    assert select.select([process.stderr], [], [], HANG_S)[0], "it said nothing"
    return process.stderr.readline().decode().rstrip("\n")


class Manager:
    """What systemd is to a service: it hears what the service says."""

    def __init__(self, folder):
        self.path, self.queue, self.heard = folder / "notify", queue.Queue(), []
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(self.path))
        self.thread = threading.Thread(target=self.listen, daemon=True)
        self.thread.start()

    def listen(self):
        while message := self.socket.recv(4096).decode():
            self.queue.put(message)

    def forget(self):
        """What was said up to now."""
        while not self.queue.empty():
            self.queue.get()

    def hear(self, what):
        """Waits for a message with this line in it."""
        while True:
            self.heard.append(self.queue.get(timeout=HANG_S))
            if what in self.heard[-1].split("\n"):
                return self.heard[-1]

    def close(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            s.sendto(b"", str(self.path))
        self.thread.join()
        self.socket.close()


@pytest.fixture
def manager(tmp_path):
    m = Manager(tmp_path)
    yield m
    m.close()


class Daemon:
    def __init__(self, stakeout, manager, text, **env):
        self.manager, self.config = manager, stakeout.folder / "stakeout.yaml"
        self.config.write_text(text)
        self.process = stakeout.start("serve", "-c", self.config, env={**os.environ, "NOTIFY_SOCKET": str(manager.path), **env})

    def ready(self):
        self.manager.hear("READY=1")
        return self

    def reload(self, text):
        self.config.write_text(text)
        self.process.send_signal(signal.SIGHUP)
        return self.manager.hear("READY=1")

    def end(self):
        """Ends it as systemd would; what it said on stderr."""
        self.process.send_signal(signal.SIGTERM)
        self.manager.hear("STOPPING=1")
        said = self.process.communicate(timeout=HANG_S)[1].decode()
        assert self.process.returncode == 0, said
        return said


@pytest.fixture
def daemon(stakeout, manager):
    started = []

    def start(text, **env):
        started.append(Daemon(stakeout, manager, text, **env))
        return started[-1]

    yield start
    for d in started:
        d.process.kill()
        d.process.communicate()


def test_ready_reload_stop(daemon, sleeper):
    d = daemon(f"targets: [{{pid: {sleeper.pid}}}]\ninterval: 200ms\n").ready()
    assert "RELOADING=1" not in "\n".join(d.manager.heard)
    d.reload("interval: 200ms\ntargets: [{match: nothing-of-this-name}]\n")
    assert any(re.search(r"^RELOADING=1\nMONOTONIC_USEC=\d+$", m) for m in d.manager.heard)
    d.reload("targets: [{mach: nothing}]\n")
    d.reload("interval: 100ms\nprobes: [-names]\ntargets: [{match: nothing-of-this-name}]\n")
    said = d.end()
    assert len(said.splitlines()) == 3, said
    assert said.endswith("read anew, but a restart is needed for changes of: interval, probes\n")
    assert re.search(r"stakeout.yaml: read anew$", said, re.M)
    assert re.search(r"stakeout.yaml:1:\d+: unknown key 'mach' \(did you mean 'match'\?\) in targets; there are .*; the configuration stays as it was$", said, re.M)


class Files:
    """The recordings in a directory, read by nothing of ours: gzip and JSON."""

    def __init__(self, folder):
        self.folder = folder

    def paths(self):
        return sorted(self.folder.glob("stakeout-*")) if self.folder.exists() else []

    def lines(self, path):
        """The whole lines, also of a file that is still written."""
        data = path.read_bytes()
        if path.suffix == ".gz":
            data = zlib.decompressobj(31).decompress(data)
        return [json.loads(line) for line in data[:data.rfind(b"\n") + 1].splitlines()]

    def all(self):
        found = []
        for path in self.paths():
            try:
                found.append(self.lines(path))
            except FileNotFoundError:  # the oldest makes room
                pass
        return [lines for lines in found if lines]

    def pids(self):
        return {a["pid"] for lines in self.all() for line in lines for a in ([line] if line["kind"] == "agent" else line["agents"] if line["kind"] == "header" else [])}

    def seqs(self):
        return [line["seq"] for lines in self.all() for line in lines if line["kind"] == "interval"]

    def sums(self):
        """By pid: counters over all intervals of all files."""
        sums = collections.defaultdict(collections.Counter)
        for lines in self.all():
            pids = {}
            for line in lines:
                for a in line["agents"] if line["kind"] == "header" else [line] if line["kind"] == "agent" else []:
                    pids[a["id"]] = a["pid"]
                if line["kind"] == "interval":
                    for a in line["agents"]:
                        sums[pids[a["id"]]].update(a.get("counters", {}))
        return sums


def whole(lines):
    """A recording of its own, that is complete: its total is the sum of its intervals, which have no gap."""
    header, intervals, total = lines[0], [x for x in lines if x["kind"] == "interval"], lines[-1]
    assert header["kind"] == "header" and total["kind"] == "total"
    assert [x["seq"] for x in intervals] == list(range(header.get("first_seq", 0), header.get("first_seq", 0) + len(intervals)))
    assert intervals[0]["start_s"] == 0
    for before, after in zip(intervals, intervals[1:]):
        assert before["end_s"] == after["start_s"]
    assert total["end_s"] == intervals[-1]["end_s"]
    known = {a["id"] for a in header["agents"]} | {x["id"] for x in lines if x["kind"] == "agent"}
    counters, counts = collections.defaultdict(collections.Counter), collections.defaultdict(collections.Counter)
    for interval in intervals:
        for a in interval["agents"]:
            assert a["id"] in known
            counters[a["id"]].update(a.get("counters", {}))
            counts[a["id"]].update({name: h["count"] for name, h in a.get("hist", {}).items()})
    for a in total["agents"]:
        assert {k: v for k, v in a.get("counters", {}).items() if v} == {k: v for k, v in counters[a["id"]].items() if v}
        assert {k: h["count"] for k, h in a.get("hist", {}).items() if h["count"]} == {k: v for k, v in counts[a["id"]].items() if v}
    assert {a["id"] for a in total["agents"]} == known
    assert abs(total["observer"]["cpu_s"] - sum(x["observer"]["cpu_s"] for x in intervals)) < 1e-6


def reports(stakeout, path):
    """Our own reader agrees: nothing missing, nothing that differs."""
    done = stakeout("report", "--json", path)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    return report


CALLS = 20  # of an agent's own; each forks and runs a program


def counting_agent(agents, mark):
    """Does nothing until it is told; then it runs a program CALLS times, and ends."""
    script = f": {mark}; read go; i=0; while [ $i -lt {CALLS} ]; do /bin/true; i=$((i+1)); done"
    return agents("/bin/sh", "-c", script, stdin=subprocess.PIPE)


def test_reload_loses_nothing(daemon, stakeout, agents, tmp_path):
    """100 reloads that change targets and recordings, while agents come and go: intervals and events are all there, over all files."""
    folder, mark = tmp_path / "recordings", f"counted-{os.getpid()}"

    def text(n):
        return (f"interval: 100ms\nbudget: off\ntargets:\n- {{name: counted, match: '^/bin/sh -c : {mark}'}}\n"
                + f"- {{name: other{n}, match: 'nothing-like-this-{n}'}}\n" * (n % 3)
                + f"recordings: {{directory: {folder}, rotate: {1 + n % 2}s, rotate_size: {4 + n % 2}K, compress: {'true' if n % 50 < 10 else 'false'}}}\n")

    d, files, gone, waiting = daemon(text(0)).ready(), Files(folder), [], []
    for n in range(1, 101):
        d.reload(text(n))
        if n % 4 == 0:
            waiting.append(counting_agent(agents, mark))
        if n % 10 == 0:
            wait_for("the agents in the recordings", lambda: {a.pid for a in waiting} <= files.pids())
            for a in waiting:
                a.stdin.write(b"go\n")
                a.stdin.close()
            gone, waiting = gone + waiting, []
    for a in gone:
        assert a.wait(HANG_S) == 0
    said = d.end()
    assert said.count("read anew") == 100 and len(said.splitlines()) == 100, said
    all_files = files.all()
    assert len(all_files) > 3
    for lines in all_files:
        whole(lines)
    seqs = files.seqs()
    assert seqs == list(range(len(seqs)))
    sums = files.sums()
    assert set(sums) == {a.pid for a in gone}
    assert len(gone) == 25
    for a in gone:
        assert (sums[a.pid]["forks"], sums[a.pid]["execs"], sums[a.pid]["exits"]) == (CALLS, CALLS, CALLS + 1), a.pid
    for path in files.paths():
        r = reports(stakeout, path)
        assert r["complete"] and not r.get("note"), r.get("note")
        assert (path.stat().st_mode & 0o777, folder.stat().st_mode & 0o777) == (0o640, 0o750)


def busy_agent(agents, mark):
    """Writes a line and goes on whenever it is asked to: each line read is a program run and a wait of its own."""
    return agents("/bin/sh", "-c", f": {mark}; while read go; do /bin/true; done", stdin=subprocess.PIPE)


def nudge(agent):
    agent.stdin.write(b"go\n")
    agent.stdin.flush()


def test_reload_releases(daemon, agents, tmp_path):
    """Who is meant by no target any more ends in the recording, and is watched no longer; the other one's intervals go on without a gap. It may come back, as another agent."""
    folder, mark = tmp_path / "recordings", f"mark-{os.getpid()}"

    def text(*names):
        return ("interval: 100ms\nbudget: off\ntargets:\n" + "".join(f"- {{match: '^/bin/sh -c : {mark}-{n};'}}\n" for n in names)
                + f"recordings: {{directory: {folder}, compress: false}}\n")

    kept, left = busy_agent(agents, f"{mark}-kept"), busy_agent(agents, f"{mark}-left")
    d, files = daemon(text("kept", "left")).ready(), Files(folder)

    def intervals(pid):
        """All that is told of it: (seq, id, entry)."""
        ids, found = {}, []
        for line in (line for lines in files.all() for line in lines):
            for a in line["agents"] if line["kind"] == "header" else [line] if line["kind"] == "agent" else []:
                ids[a["id"]] = a["pid"]
            if line["kind"] == "interval":
                found += [(line["seq"], a["id"], a) for a in line["agents"] if ids[a["id"]] == pid]
        return found

    def execs(pid):
        return sum(a.get("counters", {}).get("execs", 0) for _, _, a in intervals(pid))

    for a in kept, left:
        nudge(a)
        wait_for("its program in the recording", lambda: execs(a.pid) == 1)
    d.reload(text("kept", "other"))
    wait_for("its end", lambda: not intervals(left.pid)[-1][2]["alive"])
    before = len(intervals(kept.pid))
    for a in left, kept:
        nudge(a)
        nudge(a)
    wait_for("the other one's programs", lambda: execs(kept.pid) == 3)
    wait_for("more intervals", lambda: len(intervals(kept.pid)) > before + 5)
    assert execs(left.pid) == 1
    told = intervals(left.pid)
    assert [a["alive"] for _, _, a in told] == [True] * (len(told) - 1) + [False]
    assert all(abs(sum(a["ledger"]["main_s"].values()) - a["observed_s"]) < 1e-3 for _, _, a in told)
    # Asked for again, it is another agent; and it can be let go and asked for within one interval.
    d.reload(text("kept", "left"))
    d.reload(text("kept"))
    d.reload(text("left", "kept"))
    nudge(left)
    wait_for("it to be watched again", lambda: intervals(left.pid)[-1][2]["alive"])
    nudge(left)
    wait_for("its program", lambda: execs(left.pid) > 1)
    assert len({i for _, i, _ in intervals(left.pid)}) == 2
    assert d.end().count("read anew") == 4
    seqs = [seq for seq, _, _ in intervals(kept.pid)]
    assert seqs == list(range(seqs[0], files.seqs()[-1] + 1)) and files.seqs() == list(range(len(files.seqs())))
    assert len({i for _, i, _ in intervals(kept.pid)}) == 1
    for lines in files.all():
        whole(lines)


def test_released_children_are_found(daemon, agents, tmp_path):
    """A descendant of one that is let go, meant by a target of its own, becomes an agent."""
    folder, mark = tmp_path / "recordings", f"mark-{os.getpid()}"

    def text(match):
        return f"interval: 100ms\ntargets: [{{match: '{match}'}}]\nrecordings: {{directory: {folder}}}\n"

    parent = agents("/bin/sh", "-c", f": {mark}; sleep 99{os.getpid()}; :")
    files = Files(folder)
    d = daemon(text(f"^/bin/sh -c : {mark}")).ready()
    wait_for("the agent", lambda: files.pids() == {parent.pid})
    child = int(wait_for("its child", lambda: Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text()))
    d.reload(text(f"^sleep 99{os.getpid()}$"))
    wait_for("the child", lambda: files.pids() == {parent.pid, child})
    os.kill(child, signal.SIGKILL)
    parent.wait(HANG_S)
    d.end()


EVER_NEW = """
import itertools, time
def burn(until):
    while time.thread_time() < until:
        pass
for n in itertools.count():
    code = compile(f"def turn_{n}(burn, until):\\n burn(until)", "turns.py", "exec")
    space = {}
    exec(code, space)
    space[f"turn_{n}"](burn, time.thread_time() + 0.15)
"""


def test_rotated_files_have_their_own_stacks(daemon, stakeout, agents, tmp_path):
    """A file tells the stacks that its samples refer to, all of them and no others, however many there were before."""
    folder = tmp_path / "recordings"
    agent = agents(sys.executable, "-c", EVER_NEW)
    d = daemon(f"interval: 100ms\nbudget: off\nprobes: [+profile=199]\ntargets: [{{pid: {agent.pid}}}]\nrecordings: {{directory: {folder}, rotate: 1s, compress: false}}\n").ready()
    files = Files(folder)
    wait_for("some files", lambda: len(files.paths()) > 3)
    d.end()
    turns = []
    for path in files.paths():
        lines = files.lines(path)
        whole(lines)
        told, used, frames, stacks = set(), set(), {}, {}
        for line in lines:
            if line["kind"] == "stacks":
                frames |= dict(enumerate(line.get("frames", []), line.get("first_frame", 0)))
                stacks |= dict(enumerate(line.get("stacks", []), line.get("first_stack", 0)))
            if line["kind"] == "interval":
                used |= {stack for a in line["agents"] for samples in a.get("samples", {}).values() for stack, _ in samples} - {0}
                assert used <= set(stacks)
        assert used == set(stacks) and {f for s in stacks.values() for f in s} - {0} == set(frames)
        turns.append({f["name"] for f in frames.values() if f["name"].startswith("turn_")})
        folded = stakeout("report", "--folded", path)
        assert folded.returncode == 0 and {w for w in re.findall(r"turn_\d+", folded.stdout.decode())} == turns[-1]
    assert all(turns[1:-1]) and not turns[1] & turns[3], turns


def test_rotation_keeps_within_its_size(daemon, sleeper, tmp_path):
    folder, most = tmp_path / "recordings", 40 << 10
    d = daemon(f"interval: 100ms\ntargets: [{{pid: {sleeper.pid}}}]\nrecordings: {{directory: {folder}, rotate_size: 4K, max_size: 40K, compress: false}}\n").ready()
    files = Files(folder)
    first = wait_for("the first file", files.paths)[0]
    wait_for("more files", lambda: len(files.paths()) > 3)
    wait_for("the oldest to make room", lambda: not first.exists())
    stranger = folder / "stakeout-notes.txt"
    stranger.write_text("mine")
    second = files.paths()[1]
    wait_for("the next one to make room", lambda: not second.exists())
    assert sum(p.stat().st_blocks * 512 for p in files.paths()) <= most + 8192  # one interval may come between
    assert d.end() == ""
    assert stranger.read_text() == "mine"
    for path in files.paths():
        if path.suffix == ".ndjson":
            whole(files.lines(path))
    seqs = files.seqs()
    assert seqs[0] > 0 and seqs == list(range(seqs[0], seqs[0] + len(seqs)))


@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "stakeout-test", folder], check=True)
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_disk_full(daemon, stakeout, sleeper, small_disk):
    """It goes on, says so once, and once more when it works again, with how many intervals are missing."""
    d = daemon(f"interval: 100ms\ntargets: [{{pid: {sleeper.pid}}}]\nrecordings: {{directory: {small_disk}/r, max_size: 1G, compress: false}}\n").ready()
    files, said = Files(small_disk / "r"), []
    wait_for("some intervals", lambda: len(files.seqs()) > 3)
    ballast = small_disk / "ballast"
    with open(ballast, "wb", buffering=0) as f, pytest.raises(OSError):
        while True:
            f.write(bytes(4096))

    def heard(pattern):
        while not said or not re.search(pattern, said[-1]):
            said.append(line_of_stderr(d.process))
            assert said[-1], said
        return said[-1]

    line = heard("cannot write")
    assert re.search(r"cannot write .*/stakeout-.*; intervals are not recorded until that works again: No space left on device$", line)
    d.manager.forget()
    for _ in range(8):
        d.manager.hear("STATUS=1 agents, 0 records lost")
    ballast.unlink()
    missing = int(re.search(r"recordings work again; (\d+) intervals were not written$", heard("work again"))[1])
    before = len(files.paths())
    wait_for("intervals in the new file", lambda: len(files.lines(files.paths()[-1])) > 3)
    assert d.end() == "" and len(said) == 2, said
    assert before == len(files.paths()) == 2
    torn, new = files.all()
    whole(new)
    last, first = [x["seq"] for x in torn if x["kind"] == "interval"][-1], new[0]["first_seq"]
    assert first - last - 1 == missing > 5
    assert files.paths()[0].read_bytes().endswith(b"\n")  # what was torn is cut off
    assert "without its total" in reports(stakeout, files.paths()[0])["note"]


def test_killed(daemon, stakeout, sleeper, tmp_path):
    """What was written is good up to the last line, and the next daemon does not touch it."""
    folder = tmp_path / "recordings"
    text = f"interval: 100ms\ntargets: [{{pid: {sleeper.pid}}}]\nrecordings: {{directory: {folder}}}\n"
    d, files = daemon(text).ready(), Files(folder)
    wait_for("some intervals", lambda: len(files.seqs()) > 3)
    d.process.kill()
    d.process.wait()
    (old,) = files.paths()
    kept, intervals = old.read_bytes(), len(files.seqs())
    assert reports(stakeout, old)["intervals"] == intervals
    d = daemon(text).ready()
    wait_for("another file", lambda: len(files.paths()) == 2 and len(files.all()) == 2)
    assert d.end() == ""
    assert old.read_bytes() == kept
    whole(files.lines(files.paths()[1]))


def test_awaited(daemon, agents, tmp_path):
    """A process that is gone and a cgroup that is not there yet are no errors, neither at the start nor later."""
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines() if line.split()[2] == "cgroup2"]
    if not mounts:
        pytest.skip("kernel: no cgroup v2 hierarchy is mounted")
    folder, cgroup = tmp_path / "recordings", Path(mounts[0]) / f"stakeout-serve-{os.getpid()}"
    d = daemon(f"interval: 100ms\ntargets: [{{pid: 4194303}}, {{name: late, cgroup: {cgroup.name}}}]\nrecordings: {{directory: {folder}}}\n").ready()
    p = agents("sleep", "1000")
    cgroup.mkdir()
    try:
        (cgroup / "cgroup.procs").write_text(str(p.pid))
        wait_for("the process in the recordings", lambda: p.pid in Files(folder).pids())
        assert d.end() == ""
    finally:
        p.kill()
        p.wait()
        wait_for("the cgroup to empty", lambda: not (cgroup / "cgroup.procs").read_text())
        cgroup.rmdir()


def test_watchdog(daemon, sleeper):
    d = daemon(f"targets: [{{pid: {sleeper.pid}}}]\ninterval: 100ms\n", WATCHDOG_USEC="200000").ready()
    for _ in range(3):
        d.manager.hear("WATCHDOG=1")
    assert d.end() == ""


class Sink(http.server.BaseHTTPRequestHandler):
    """Takes pushes."""
    protocol_version, taken = "HTTP/1.1", None

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.taken.append(self.path)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args):
        pass


def test_under_the_units_filter(stakeout, manager, agents, tmp_path):
    """All that the daemon does, with what the unit lets it call: any other system call would kill it."""
    if not shutil.which("systemd-analyze"):
        pytest.skip("package: no systemd-analyze")
    sink = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Taking", (Sink,), {"taken": (taken := [])}))
    sink.daemon_threads = True
    threading.Thread(target=sink.serve_forever, args=(0.01,), daemon=True).start()
    with socket.create_server(("127.0.0.1", 0)) as s:
        port = s.getsockname()[1]
    agent = agents(sys.executable, "-c", EVER_NEW)

    def text(compress):
        return (f"interval: 100ms\nprobes: [+profile, +offcpu, +heap, +kmem]\ntargets: [{{pid: {agent.pid}}}, {{cgroup: nothing-of-this.slice}}]\n"
                f"recordings: {{directory: {tmp_path}/r, rotate: 1s, max_size: 64K, compress: {compress}}}\n"
                f"prometheus: {{listen: '127.0.0.1:{port}', textfile: {tmp_path}/stakeout.prom}}\n"
                f"otlp: {{endpoint: 'http://localhost:{sink.server_address[1]}', file: {tmp_path}/o.jsonl, interval: 100ms}}\n")

    config = tmp_path / "stakeout.yaml"
    config.write_text(text("true"))
    d = subprocess.Popen([sys.executable, Path(__file__).with_name("under_filter.py"), ROOT / "tools/systemd/stakeout.service", STAKEOUT, "serve", "-c", config],
                         stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, env={**os.environ, "NOTIFY_SOCKET": str(manager.path), "WATCHDOG_USEC": "200000"})
    try:
        wait_for("it to be ready", lambda: d.poll() is not None or not manager.queue.empty())
        assert d.poll() is None, d.stderr.read()
        manager.hear("READY=1")
        assert "Seccomp:\t2" in Path(f"/proc/{d.pid}/status").read_text()
        files = Files(tmp_path / "r")
        wait_for("recordings and pushes", lambda: d.poll() is not None or (len(files.paths()) > 2 and len(taken) > 3))
        for _ in range(2):
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=HANG_S) as page:
                assert b"stakeout_oncpu_seconds" in page.read()
        config.write_text(text("false"))
        d.send_signal(signal.SIGHUP)
        manager.hear("READY=1")
        pushed = len(taken)
        wait_for("more of both", lambda: d.poll() is not None or (len(taken) > pushed + 3 and any(p.suffix == ".ndjson" for p in files.paths())))
        manager.hear("WATCHDOG=1")
        d.send_signal(signal.SIGTERM)
        said = d.communicate(timeout=HANG_S)[1].decode()
        assert d.returncode == 0 and said.endswith("read anew\n") and said.count("\n") == 1, (d.returncode, said)
    finally:
        d.kill()
        d.wait()
        sink.shutdown()
        sink.server_close()


@pytest.mark.parametrize("text, says", [
    ("targets: [{mach: x}]\n", r"stakeout.yaml:1:12: unknown key 'mach' \(did you mean 'match'\?\) in targets; there are name, match, pid, cgroup, container"),
    ("targets: [{match: x}]\ninterval: 5d\n", r"stakeout.yaml:2:11: interval '5d' is out of range: 100ms to 1h"),
    ("targets: [{match: \"\\e[31m\\n(\"}]\n", r"stakeout.yaml:1:19: targets.match '\?\[31m\?\(' is not a regular expression \(POSIX extended\): .*"),
    ("targets\n\tx", r"stakeout.yaml:\d:\d+: .*"),
])
def test_bad_configuration(stakeout, text, says):
    (stakeout.folder / "stakeout.yaml").write_text(text)
    for more in [], ["--check-config"]:
        done = stakeout("serve", "-c", "stakeout.yaml", *more)
        assert (done.returncode, done.stdout) == (2, b"")
        assert re.fullmatch(rf"stakeout: {says}\n", done.stderr.decode()), done.stderr


@pytest.mark.parametrize("args, says", [
    ([], r"no configuration: name it with -c FILE"),
    (["-c"], r"-c needs a value: -c FILE"),
    (["-c", "nowhere.yaml"], r"nowhere.yaml: No such file or directory"),
    (["-c", "/dev/zero"], r"/dev/zero: not a regular file"),
    (["--chekc-config"], r"unknown option '--chekc-config' \(did you mean '--check-config'\?\); `stakeout serve --help` lists the options"),
])
def test_bad_arguments(stakeout, args, says):
    done = stakeout("serve", *args)
    assert (done.returncode, done.stdout) == (2, b"")
    assert re.fullmatch(f"stakeout: {says}\n", done.stderr.decode()), done.stderr


def test_recordings_that_cannot_be(stakeout, sleeper, tmp_path):
    (tmp_path / "file").write_text("")
    (stakeout.folder / "c.yaml").write_text(f"targets: [{{pid: {sleeper.pid}}}]\nrecordings: {{directory: {tmp_path}/file}}\n")
    done = stakeout("serve", "-c", "c.yaml")
    assert done.returncode == 5
    assert done.stderr.decode() == f"stakeout: recordings: {tmp_path}/file is not a directory\n"


def test_installed(stakeout, tmp_path):
    """make install puts a unit in place that systemd takes, and a configuration that is good, and never overwrites one."""
    def make(what):
        subprocess.run(["make", "-s", "-C", str(ROOT), what, f"O={Path(STAKEOUT).parent}", f"DESTDIR={tmp_path}", "prefix=/usr"], check=True,
                       stdout=subprocess.PIPE, env={k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL")})

    make("install")
    config = tmp_path / "etc/stakeout/stakeout.yaml"
    done = stakeout("serve", "-c", config, "--check-config")
    assert (done.returncode, done.stderr) == (0, b""), done.stderr
    unit = tmp_path / "usr/lib/systemd/system/stakeout.service"
    assert "ExecStart=/usr/bin/stakeout serve -c /etc/stakeout/stakeout.yaml\n" in unit.read_text()
    if shutil.which("systemd-analyze"):
        unit.write_text(unit.read_text().replace("/usr/bin/stakeout", STAKEOUT))  # it looks whether that is there
        said = subprocess.run(["systemd-analyze", "verify", "--man=no", str(unit)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT).stdout.decode()
        assert "stakeout" not in said, said
    config.write_text("mine")
    make("install")
    assert config.read_text() == "mine"
    make("uninstall")
    assert not unit.exists() and config.exists()
