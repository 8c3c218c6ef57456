# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""What the end-to-end tests share: the program under test, agents to watch, and waiting for events instead of for time."""
import json
import os
import select
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STAKEOUT = str(Path(os.environ.get("STAKEOUT") or ROOT / (os.environ.get("O") or "build") / "stakeout").resolve())
HANG_S = 120  # only a hanging program takes this long

# A shell without job control has what it runs in the background ignore it, and programs inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


def wait_for(what, condition):
    """Waits until condition() is true, and returns its value."""
    end = time.monotonic() + HANG_S
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.005)
    raise AssertionError(f"waited in vain for {what}")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def buckets(hist):
    """(value, count) of a histogram, a value being the middle of its bucket, within [min, max]."""
    base = 2 ** (2 ** -hist["scale"])
    if hist["zero_count"]:
        yield 0, hist["zero_count"]
    for n, count in enumerate(hist["bucket_counts"], hist["offset"]):
        if count:
            yield min(max((base ** n + base ** (n + 1)) / 2, hist["min"]), hist["max"]), count


def rank(pairs, q):
    """The value at or below which a share q lies, of (value, count) in rising order."""
    pairs = list(pairs)
    left = q * sum(count for _, count in pairs)
    for value, count in pairs:
        left -= count
        if left <= 0:
            return value
    raise AssertionError("of nothing there is no quantile")


def quantile(hist, q):
    return rank(buckets(hist), q)


def line_of(process):
    """The next line of its standard output; "" when there is none to come."""
    assert select.select([process.stdout], [], [], HANG_S)[0], f"{process.args[:3]} said nothing"
    return process.stdout.readline().decode()


def without_budget(args):
    """Tests look at each event, whatever that costs: no budget, unless a test names one."""
    args = list(map(str, args))
    return ["record", "--budget", "off", *args[1:]] if args[:1] == ["record"] and "--budget" not in args else args


class Stakeout:
    """Runs the program in a directory of the test's own."""

    def __init__(self, folder):
        self.path, self.folder = STAKEOUT, folder

    def __call__(self, *args, wrap=(), **kwargs):
        kwargs.setdefault("cwd", self.folder)
        kwargs.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.run([*wrap, self.path, *without_budget(args)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              timeout=HANG_S, **kwargs)

    def start(self, *args, **kwargs):
        kwargs.setdefault("cwd", self.folder)
        kwargs.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.Popen([self.path, *without_budget(args)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, **kwargs)

    def files(self):
        return sorted(str(p.relative_to(self.folder)) for p in self.folder.rglob("*"))


def node(script, *args):
    """What a script of tests/e2e/npm prints, as JSON: another program's reading of a format. The packages it needs are in the build directory."""
    build = Path(STAKEOUT).parent
    subprocess.run(["make", "-s", "--no-print-directory", f"O={build}", "readers"], cwd=ROOT, check=True)
    env = dict(os.environ, NODE_PATH=str(build / "tests" / "npm" / "node_modules"))
    done = subprocess.run(["node", ROOT / "tests" / "e2e" / "npm" / script, *map(str, args)], env=env, stdout=subprocess.PIPE, timeout=HANG_S, check=True)
    return json.loads(done.stdout)


def peak_kib(*argv, **kwargs):
    """The most memory that a program had resident. It is started by a small process: one that forks hands its own peak on."""
    meter = ("import resource, subprocess, sys; done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL); "
             "print(done.returncode, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)")
    done = subprocess.run(["/usr/bin/python3", "-S", "-c", meter, *map(str, argv)], stdout=subprocess.PIPE, timeout=HANG_S, check=True, **kwargs)
    status, peak = map(int, done.stdout.split())
    assert not status, argv
    return peak


class Recording:
    """The lines of a recording; every one must be whole."""

    def __init__(self, path):
        text = Path(path).read_text(encoding="utf-8")
        assert text.endswith("\n")
        self.lines = [json.loads(line) for line in text.splitlines()]
        self.header = self.lines[0]
        self.agents = self.header["agents"] + [line for line in self.lines if line["kind"] == "agent"]
        self.intervals = [line for line in self.lines if line["kind"] == "interval"]
        self.total = next((line for line in self.lines if line["kind"] == "total"), None)

    def pids(self):
        return sorted(a["pid"] for a in self.agents)

    def agent(self, pid=None):
        """What the total says of an agent: of the only one, or of the one with this pid."""
        (found,) = [a for a in self.agents if pid in (None, a["pid"])]
        return next(a for a in self.total["agents"] if a["id"] == found["id"])

    def probe(self, name):
        return next(p for p in self.header["probes"] if p["name"] == name)

    def need(self, name):
        """Skips the test where the kernel has no such probe."""
        if self.probe(name)["state"] == "unavailable":
            pytest.skip(f"kernel: {name}: {self.probe(name)['why']}")


class Agents:
    """Starts processes, and ends those that are left, with all that they started."""

    def __init__(self):
        self.started = []

    def __call__(self, *argv, **kwargs):
        """Returns when the program runs: Popen comes back after the exec."""
        kwargs.setdefault("stdin", subprocess.DEVNULL)
        kwargs.setdefault("stdout", subprocess.DEVNULL)
        p = subprocess.Popen(list(map(str, argv)), start_new_session=True, **kwargs)
        self.started.append(p)
        return p

    def close(self):
        for p in self.started:
            try:
                os.killpg(p.pid, 9)
            except ProcessLookupError:
                pass
            p.wait()
            for stream in (p.stdin, p.stdout, p.stderr):
                if stream:
                    stream.close()


@pytest.fixture
def stakeout(tmp_path):
    folder = tmp_path / "work"
    folder.mkdir()
    return Stakeout(folder)


@pytest.fixture
def agents():
    a = Agents()
    yield a
    a.close()


@pytest.fixture
def sleeper(agents):
    """A process that does nothing."""
    return agents("sleep", "1000")
