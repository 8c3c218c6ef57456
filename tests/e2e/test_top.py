# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""The live view in a real terminal, tmux's: what it shows against the agents' own counts, what keys do, and what it leaves behind."""
import contextlib
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import unicodedata
from pathlib import Path

import pytest
from conftest import STAKEOUT, wait_for
from services import PYTHON, open_services

# Does as it is told on standard input, and tells what it did: "calls N", "tools N", "burn SECONDS".
AGENT = """
import json, os, resource, socket, subprocess, sys, threading, time
port, threads = int(sys.argv[1]), int(sys.argv[2])
for _ in range(threads - 1):
    threading.Thread(target=threading.Event().wait, daemon=True).start()
connection = None
print(json.dumps("ready"), flush=True)
for line in sys.stdin:
    what, number = line.split()
    times, cpu = [], time.process_time_ns()
    if what == "calls":
        connection = connection or socket.create_connection(("127.0.0.1", port))
        for _ in range(int(number)):
            start = time.monotonic_ns()
            connection.sendall(b"GET / HTTP/1.1\\r\\nHost: model\\r\\n\\r\\n")
            while not connection.recv(4096).endswith(b"0\\r\\n\\r\\n"):
                pass
            times.append(time.monotonic_ns() - start)
    elif what == "tools":
        for _ in range(int(number)):
            subprocess.run(["/bin/true"])
    elif what == "burn":
        while time.process_time_ns() - cpu < float(number) * 1e9:
            pass
    print(json.dumps(sorted(times)), flush=True)
"""
SIZES = [(80, 24), (200, 50)]
RUNS = itertools.count()


class Terminal:
    """A shell in a terminal of its own, that nothing of the user's configures."""

    def __init__(self, folder, columns=80, rows=24, **env):
        self.socket = f"stakeout-{os.getpid()}-{next(RUNS)}"
        given = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "PS1": "$ ", "HOME": str(folder), **env}
        self("new-session", "-d", "-x", columns, "-y", rows, "-c", folder, "env", "-i", "TERM=screen", *(f"{k}={v}" for k, v in given.items()), "sh")
        wait_for("the shell", lambda: "$" in self.text())

    def __call__(self, *args):
        done = subprocess.run(["tmux", "-L", self.socket, "-f", "/dev/null", *map(str, args)], capture_output=True, check=True)
        return done.stdout.decode("utf-8", "surrogateescape")

    def text(self, *options):
        return self("capture-pane", "-p", *options)

    def lines(self):
        return self.text().split("\n")

    def keys(self, *keys):
        self("send-keys", *keys)

    def type(self, text):
        self("send-keys", "-l", text)

    def run(self, *words):
        """A command line; keys and signals go to it."""
        self.type(" ".join(f"'{w}'" for w in map(str, words)))
        self.keys("Enter")

    def shows(self, pattern):
        """Waits until a line has the pattern; returns its match."""
        try:
            return wait_for(pattern, lambda: re.search(pattern, self.text(), re.MULTILINE))
        except AssertionError:
            raise AssertionError(f"no {pattern!r} in\n{self.text()}") from None

    def flag(self, name):
        return self("display-message", "-p", f"#{{{name}}}").strip()

    def resize(self, columns, rows):
        self("resize-window", "-x", columns, "-y", rows)

    def close(self):
        with contextlib.suppress(subprocess.CalledProcessError):
            self("kill-server")


class Agent:
    def __init__(self, folder, agents, name, port=0, threads=1):
        self.name, path = name, folder / name
        path.write_text(AGENT)
        self.process = agents(PYTHON, path, port, threads, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.pid = self.process.pid
        self.said()

    def said(self):
        return json.loads(self.process.stdout.readline())

    def do(self, what, number):
        self.process.stdin.write(f"{what} {number}\n")
        self.process.stdin.flush()
        return self.said()

    def cpu_ns(self):
        return int(Path(f"/proc/{self.pid}/schedstat").read_text().split()[0])

    def status(self, key):
        return int(re.search(rf"^{key}:\s+(\d+)", Path(f"/proc/{self.pid}/status").read_text(), re.MULTILINE).group(1))


@pytest.fixture
def terminal(tmp_path):
    if not shutil.which("tmux"):
        pytest.skip("no tmux here")
    opened = []

    def start(*size, **env):
        opened.append(Terminal(tmp_path, *size, **env))
        return opened[-1]

    yield start
    for t in opened:
        t.close()


@pytest.fixture
def three(tmp_path, agents):
    """alpha, beta and gamma, who ask a server that takes 5 ms."""
    for services in open_services(tmp_path):
        port = services.server("--first-ms", 5, 5).port
        yield [Agent(tmp_path, agents, name, port, threads) for name, threads in (("alpha", 4), ("beta", 1), ("gamma", 2))]


def top(terminal, *targets):
    pids = ",".join(str(t.pid if isinstance(t, Agent) else t) for t in targets)
    terminal.run(STAKEOUT, "top", "-i", "0.2", "--budget", "off", "-p", pids)
    terminal.shows(r"^observer +\d+\.\d\d % CPU")
    terminal.shows(r"^.\S.*  +last \d+ ms")


def rows(terminal):
    """The list: its agents' names from the top, each with its figures by title."""
    lines = terminal.lines()
    at = next((i for i, line in enumerate(lines) if line.startswith(" agent ")), None)
    if at is None:
        return {}  # it is being painted
    titles = lines[at].replace("turn p99", "turn").replace("where the time goes", "").split()
    listed = itertools.takewhile(lambda line: line.strip() and line[0] in " >", lines[at + 1:])
    return {(values := line[1:].split())[0]: dict(zip(titles, values)) for line in listed}


def ns(text):
    value, unit = re.fullmatch(r"([\d.]+) ?(ns|us|ms|s)", text).groups()
    return float(value) * {"ns": 1, "us": 1e3, "ms": 1e6, "s": 1e9}[unit]


def size(text):
    value, unit = re.fullmatch(r"([\d.]+)([BKMG])", text).groups()
    return float(value) * 1024 ** "BKMG".index(unit)


@pytest.mark.parametrize("columns, lines", SIZES)
def test_figures(terminal, three, columns, lines):
    t, before = terminal(columns, lines), [agent.cpu_ns() for agent in three]
    top(t, *three)
    times = {}
    for n, agent in enumerate(three, 1):
        times[agent.name] = agent.do("calls", 40 - 10 * n)
        agent.do("tools", n)
        agent.do("burn", 0.05 + 0.1 * (n % 3))
    t.keys("s")
    wait_for("all tools", lambda: [row.get("tools") for row in sorted_rows(t)] == ["1", "2", "3"])
    t.shows("since the beginning")
    # The agents' own counts give the order.
    for key, order in (("T", "gamma beta alpha"), ("L", "alpha beta gamma"), ("H", "alpha gamma beta"), ("A", "alpha beta gamma"), ("C", "beta alpha gamma")):
        t.keys(key)
        wait_for(f"{order} by {key}", lambda order=order: list(rows(t)) == order.split())
    t.keys("A")
    for agent, spent in zip(three, before):
        row = rows(t)[agent.name]
        assert int(row["thr"]) == agent.status("Threads")
        assert abs(size(row["RSS"]) - agent.status("VmRSS") * 1024) <= 0.03 * size(row["RSS"]) + (1 << 20)
        t.keys("Enter")
        t.shows(rf"^{agent.name}  pid {agent.pid} ")
        t.keys("7")
        assert int(t.shows(r"^  execs +(\d+) ").group(1)) == three.index(agent) + 1
        cpu_ns = sum(map(ns, re.findall(r"^  cpu_(?:user|system)_ns +([\d.]+ \w+)", t.text(), re.MULTILINE)))
        assert cpu_ns >= 0.98 * (agent.cpu_ns() - spent) - 2e6  # and its tools' on top
        assert cpu_ns <= 1.05 * (agent.cpu_ns() - spent) + 20e6 * (three.index(agent) + 1)
        t.keys("2")
        said = times[agent.name]  # the last one counts when nothing came for a second
        p50 = t.shows(rf"^  http +model +(?:127\S+ +)?{len(said)} +[\d.]+ +([\d.]+ \w+)").group(1)
        assert abs(ns(p50) - said[len(said) // 2 - 1]) <= 0.05 * said[len(said) // 2 - 1] + 1e5, (p50, said)
        t.keys("Escape")
        t.shows(r"^ agent ")
        t.keys("Down")
    t.keys("q")
    t.shows(r"^\$ *$")


def sorted_rows(terminal):
    return [row for _, row in sorted(rows(terminal).items())]


def test_list(terminal, three, stakeout):
    """Filter, pause, resizing, help, and how an agent leaves."""
    t = terminal()
    top(t, *three)
    t.keys("A")
    wait_for("three agents", lambda: list(rows(t)) == ["alpha", "beta", "gamma"])
    t.type("/GAM")
    t.shows("filter: GAM_  1 of 3")
    assert list(rows(t)) == ["gamma"]
    t.keys("Enter")
    t.shows("filter: GAM  1 of 3")
    t.keys("Escape")
    wait_for("all again", lambda: len(rows(t)) == 3)
    t.type(f"/{three[1].pid}")
    wait_for("beta by its pid", lambda: list(rows(t)) == ["beta"])
    t.keys("Escape")
    # In a pause nothing moves, while a recording beside tells that time does.
    t.keys("s", "p")
    t.shows("^PAUSED")
    frozen = t.text()
    three[2].do("tools", 4)
    assert stakeout("record", "-q", "-i", "0.2", "-d", "1", "-o", "beside.ndjson", "-p", three[0].pid).returncode == 0
    assert t.text() == frozen
    t.keys("T")  # though keys still work on what there is
    t.shows("by tools$")
    assert {name: row["tools"] for name, row in rows(t).items()} == dict.fromkeys(("alpha", "beta", "gamma"), "0")
    t.keys("p")
    wait_for("gamma's tools", lambda: rows(t)["gamma"]["tools"] == "4")
    assert "PAUSED" not in t.text()
    # Sizes.
    for columns, lines in ((200, 50), (41, 9), (120, 30)):
        t.resize(columns, lines)
        wait_for(f"{columns}x{lines}", lambda lines=lines: t.lines()[lines - 1].startswith("Enter agent") and set(rows(t)) == {"alpha", "beta", "gamma"})
    t.resize(30, 5)
    t.shows("^30x5 is too small: at least")
    t.resize(80, 24)
    wait_for("the list", lambda: t.lines()[23].startswith("Enter agent"))
    t.keys("?")
    t.shows("^Keys")
    t.keys("x")
    wait_for("the list", lambda: t.lines()[23].startswith("Enter agent"))
    t.keys("A", "Home", "Down", "Enter", "7")  # at once: each key meets what the one before has done
    t.shows(rf"^beta  pid {three[1].pid} ")
    t.shows("^  All counters and gauges")
    t.keys("Escape")
    # An agent that ends stays for a while, and says so.
    three[1].process.stdin.close()
    t.shows("3 agents, 1 ended")
    assert three[1].process.wait() == 0


# A loop that is held up on purpose; tells how often.
BLOCKED = """
import asyncio, sys, time
async def task():
    for n in range(1, 100000):
        await asyncio.sleep(0.001)
        time.sleep(0.02)
        if n % 10 == 0:
            print(n, flush=True)
asyncio.run(task())
"""


def test_findings(terminal, agents):
    """The list says how many there are and how bad, the page what was found: as often as the program says itself."""
    blocked = agents(PYTHON, "-c", BLOCKED, stdout=subprocess.PIPE, text=True)
    t = terminal(80, 24)
    t.run(STAKEOUT, "top", "-i", "0.2", "-p", blocked.pid)
    t.shows(r"^>.* [1-9](warn|crit) ")
    t.keys("Enter")
    t.shows(r"^  (warning|critical): the event loop stands still in a call that blocks: a sleep$")
    t.keys("p")
    t.shows(r"^PAUSED")
    times = int(t.shows(r"^  evidence +(\d+) times it stood still").group(1))
    blocked.kill()
    assert 20 <= times <= int(blocked.stdout.read().split()[-1]) + 10
    t.keys("q")
    t.shows(r"^\$ *$")


def test_ways_out(terminal, sleeper):
    """Whatever ends it, the terminal is as it was."""
    t = terminal()
    settings = "stty -a > {}; echo settled"

    def settled(name):
        t.type(settings.format(name))
        t.keys("Enter")
        t.shows("^settled")
        t.type("clear")
        t.keys("Enter")
        wait_for("a clear screen", lambda: "settled" not in t.text())
        return (Path(t.flag("pane_current_path")) / name).read_text()

    def state():
        return [t.flag(name) for name in ("alternate_on", "cursor_flag", "keypad_flag", "keypad_cursor_flag")]

    fresh, quiet = settled("before"), state()
    for way in ("q", "C-c", "C-\\", signal.SIGTERM, signal.SIGHUP, signal.SIGSEGV, signal.SIGABRT, "time"):
        t.type(f"echo before; {STAKEOUT} top -i 0.2 {'-d 0.5' if way == 'time' else ''} -p {sleeper.pid}; echo status $?")
        t.keys("Enter")
        if way != "time":
            t.shows(r"^>sleep")
            assert state() != quiet
            if isinstance(way, str):
                t.keys(way)
            else:
                (pid,) = subprocess.run(["pgrep", "-f", f"top -i 0.2 .*-p {sleeper.pid}$"], capture_output=True, text=True).stdout.split()
                os.kill(int(pid), way)
        status = int(t.shows(r"^status (\d+)").group(1))
        assert status == {"C-\\": 128 + signal.SIGQUIT, signal.SIGSEGV: 128 + signal.SIGSEGV, signal.SIGABRT: 128 + signal.SIGABRT}.get(way, 0), way
        assert "before" in t.text() and "observer" not in t.text()  # what was there is there again
        assert state() == quiet, way
        assert settled("after") == fresh, way


def test_stopped_and_continued(terminal, sleeper):
    """Ctrl-Z gives the terminal back as it was, fg paints all of it again, as does Ctrl-L what something else has written over."""
    t = terminal()
    top(t, sleeper.pid)
    for _ in range(2):
        t.keys("C-z")
        t.shows("Stopped")
        t.shows(r"^\$ *$")
        assert (t.flag("alternate_on"), t.flag("cursor_flag")) == ("0", "1")
        t.type("stty -a | grep -c ' icanon.*'; stty -a | grep -c ' echo '")
        t.keys("Enter")
        t.shows(r"^1\n1$")
        t.type("clear; fg")
        t.keys("Enter")
        t.shows(r"^>sleep")
        wait_for("all lines", lambda: t.lines()[0].startswith("stakeout top") and t.lines()[23].startswith("Enter agent"))
        assert t.flag("alternate_on") == "1"
    t.keys("p")
    t.shows("^PAUSED")
    Path(t.flag("pane_tty")).write_text("\033[H\033[2JGARBAGE")
    t.shows("GARBAGE")
    t.keys("C-l")
    wait_for("all lines", lambda: "GARBAGE" not in t.text() and t.lines()[0].startswith("stakeout top") and t.lines()[23].startswith("Enter agent"))
    t.resize(100, 30)  # in a pause, too
    wait_for("30 lines", lambda: t.lines()[29].startswith("Enter agent") and "PAUSED" in t.text())
    t.keys("q")
    t.shows(r"^\$ *$")


@pytest.mark.parametrize("term, utf8, color", [("xterm-256color", True, True), ("xterm-256color", True, False), ("screen", False, True),
                                               ("linux", True, True), ("vt100", True, False)])
def test_terminals(terminal, agents, tmp_path, term, utf8, color):
    """Names that write on the screen if one lets them, on terminals of all kinds."""
    names = ["\033[2J\033[31mred", "two\nlines", "日本語エージェント", "bad\udcff"]
    t = terminal(80, 24, TERM=term, LC_ALL="C.UTF-8" if utf8 else "C", **({"NO_COLOR": "1"} if not color else {}))
    top(t, *(Agent(tmp_path, agents, name) for name in names))
    t.keys("A")
    t.shows("by agent")
    shown = [line for line in t.lines()[3:7]]
    for name in ("?[2J?[31mred", "two?lines", "日本語エージ" if utf8 else "????????", "bad?"):
        assert any(line[1:].startswith(name) for line in shown), shown
    # Whatever letters are wide, the second figure ends where its title does.
    def column(line, at):
        return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in line[:at])
    title = next(line for line in t.lines() if line.startswith(" agent "))
    for line in shown:
        figures = [m.end() for m in re.finditer(r" \d+\.\d(?= )", line)][:2]
        assert [column(line, at) for at in figures] == [title.index("CPU%") + 4, title.index("runq%") + 5], shown
    styled = t.text("-e")
    colors = set(re.findall(r"\x1b\[(?:\d+;)*(3[0-7]|9[0-7]|38;5;\d+)m", styled))
    assert bool(colors) == color, styled
    assert ("█" in styled or "░" in styled) == (utf8 and term == "xterm-256color" and color)  # eight colours are too few for states: letters
    if not utf8:
        assert styled.isascii()


def test_a_started_command_keeps_off_the_screen(terminal):
    t = terminal()
    t.run(STAKEOUT, "top", "-i", "0.2", "--", "sh", "-c", "echo GAR_BAGE | tr -d _ ; echo GAR_BAGE | tr -d _ >&2; exec sleep 1000")
    t.shows(r"^>s")
    assert "GARBAGE" not in t.text()
    t.keys("q")
    pid = int(t.shows(r"process (\d+) \(sh\) runs on, unobserved").group(1))  # what it has to say comes when the screen is free
    os.kill(pid, signal.SIGKILL)
    t.shows(r"^\$ *$")
    assert "GARBAGE" not in t.text("-S", "-100")


def test_refused(terminal, stakeout, sleeper):
    done = stakeout("top", "-p", sleeper.pid)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr == b"stakeout: standard input is not a terminal; `stakeout record` and `stakeout report` do without one\n"
    t = terminal(200, 24)
    for command, status, why in ((f"TERM=dumb {STAKEOUT} top -p {sleeper.pid}", 3, "a terminal of type 'dumb'"),
                                 (f"TERM=nosuchterminal {STAKEOUT} top -p {sleeper.pid}", 3, "a terminal of type 'nosuchterminal'"),
                                 (f"TERM= {STAKEOUT} top -p {sleeper.pid}", 3, "a terminal of type ''"),
                                 (f"{STAKEOUT} top -p {sleeper.pid} | cat; (exit 2)", 2, "standard output is not a terminal"),
                                 (f"{STAKEOUT} top -p 4194304", 4, "no process with pid"),
                                 (f"{STAKEOUT} top", 2, "no target"),
                                 (f"{STAKEOUT} top -q -p {sleeper.pid}", 2, "unknown option '-q'")):
        t.type(f"clear; {command}; echo status $?")
        t.keys("Enter")
        t.shows(f"^stakeout: {why}")
        t.shows(f"^status {status}")
        assert t.flag("alternate_on") == "0"
