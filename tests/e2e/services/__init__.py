# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""Servers that know what they did and clients that know how long it took, for the tests of exchanges and peers."""
import contextlib
import functools
import json
import os
import socket
import subprocess
import tempfile
import threading
from pathlib import Path

import pytest
from conftest import HANG_S, Agents, Recording, free_port, rank, wait_for

HERE = Path(__file__).parent
PYTHON = "/usr/bin/python3"
ENV = dict(os.environ, NODE_TLS_REJECT_UNAUTHORIZED="0", NODE_NO_WARNINGS="1")
FOLDER = tempfile.TemporaryDirectory(prefix="stakeout-e2e-")  # for what is made once, and gone at the end
CLOSE_NS, CLOSE = 50_000, 0.05  # how well two clocks of one thing must agree


@functools.cache
def pem():
    """A certificate that nobody signed, with its key."""
    folder = Path(FOLDER.name)
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", folder / "key", "-out", folder / "cert",
                    "-days", "30", "-subj", "/CN=stakeout.test"], check=True, stderr=subprocess.DEVNULL)
    (folder / "pem").write_bytes((folder / "key").read_bytes() + (folder / "cert").read_bytes())
    return folder / "pem"


@functools.cache
def compiled(name):
    """The C or Rust client: "c", "c-static" or "rust"."""
    out = Path(FOLDER.name) / name
    if name == "rust":
        command = ["rustc", "-O", "-C", "target-feature=+crt-static", "-o", out, HERE / "client.rs"]
    else:
        command = ["cc", "-O2", "-w", "-D_GNU_SOURCE", *(["-static"] if name == "c-static" else []), "-pthread", "-o", out, HERE / "client.c",
                   "-lssl", "-lcrypto"]
    try:
        subprocess.run(command, check=True, stderr=subprocess.PIPE)
    except FileNotFoundError:
        pytest.skip(f"no {command[0]} here")
    return str(out)


def client(name, *args):
    """Command line of the client called name, which takes [OPTIONS] COUNT URL.."""
    start = {"sync": [PYTHON, HERE / "client.py"], "asyncio": [PYTHON, HERE / "client.py", "--asyncio"],
             "node": ["node", HERE / "client.js"]}.get(name)
    return [*map(str, start or [compiled(name)]), *map(str, args)]


def client_times(text):
    """What a client printed, by the URL's number: nanoseconds."""
    times = {}
    for line in text.splitlines():
        if line[:1].isdigit():
            number, ns = line.split()
            times.setdefault(int(number), []).append(int(ns))
    return times


class Server:
    def __init__(self, process, ports, truth):
        self.process, self.ports, self.port, self.file = process, ports, ports[0], truth

    def truth(self):
        """Its books: what it read and wrote when, an entry an answer."""
        return [json.loads(line) for line in self.file.read_text().splitlines()]


class Services:
    """Starts servers that are no descendants of what is observed."""

    def __init__(self, folder, agents):
        self.folder, self.agents = folder, agents

    def server(self, *args, tls=False):
        truth = self.folder / f"truth-{len(self.agents.started)}"
        truth.touch()
        process = self.agents(PYTHON, HERE / "server.py", "--truth", truth, *(["--tls", pem()] if tls else []), *args,
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return Server(process, json.loads(process.stdout.readline())["ports"], truth)

    def daemon(self, argv, port, **kwargs):
        """A server that doesn't say when it listens."""
        process = self.agents(*argv, **kwargs)
        wait_for(f"{argv[0]} to listen", lambda: process.poll() is not None or listens(port))
        assert process.poll() is None, argv
        return process

    def gated(self, *argv):
        """A process that becomes argv when a line is written to it; so it can be attached to before."""
        return self.agents("/bin/sh", "-c", 'read -r go && exec "$@"', "sh", *argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                           text=True, env=ENV)


@contextlib.contextmanager
def listening(serve, count=1):
    """A server in the test itself: serve(connection) on a thread, for count connections. Yields its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        def run():
            for _ in range(count):
                connection, _ = listener.accept()
                with connection:
                    serve(connection)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(HANG_S)
        assert not thread.is_alive()


def listens(port):
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


def open_services(folder):
    """For fixtures: Services that end with the block."""
    agents = Agents()
    try:
        yield Services(folder, agents)
    finally:
        agents.close()


def watch(stakeout, *command, options=(), **kwargs):
    """Runs the command as an agent. Returns its recording, in which nothing may be lost, and what it printed."""
    out = Path(stakeout.folder) / f"out-{len(stakeout.files())}.ndjson"
    kwargs.setdefault("env", ENV)
    done = stakeout("record", "-q", "-o", out, *options, "--", *command, **kwargs)
    assert done.returncode == 0, (done.stdout[-2000:], done.stderr[-2000:])
    return opened(out), done.stdout.decode()


# Spans that begin and end within a recording.
SPANS = ("exchange_ns", "ttfb_ns", "pickup_ns", "chunk_gap_ns", "handshake_ns", "serve_ns", "serve_pickup_ns", "loop_busy_ns",
         "loop_blocked_ns")


def places(recording):
    """Everything that has counters and histograms: agents, their peers and tools, in the intervals and in the total."""
    for line in (*recording.intervals, recording.total):
        for agent in line["agents"]:
            yield agent
            yield from agent.get("peers", [])
            yield from agent.get("tools", [])


def opened(path):
    """A recording, in which nothing may be lost, no time be longer than the recording, and no counter have gone below 0."""
    recording = Recording(path)
    recording.need("sock")
    observer = recording.total["observer"]
    lost = dict(observer["lost"])
    # The kernel leaves out a program's run within another of the same program: rare, told, and it may be a stranger's.
    assert lost.pop("skipped", 0) <= 10 + observer["records"] / 10000
    assert not any(lost.values()), observer
    whole_ns = (recording.intervals[-1]["end_s"] - recording.intervals[0]["start_s"]) * 1e9
    for place in places(recording):
        assert all(0 <= n < 1 << 62 for n in place["counters"].values()), place["counters"]
        for name in SPANS:
            assert place["hist"].get(name, {"max": 0})["max"] <= whole_ns, (name, place["hist"][name])
    return recording


def observe(stakeout, processes, *options):
    """Attaches to processes; returns, once the first interval is there, the observer and the recording's path."""
    out = Path(stakeout.folder) / f"out-{len(stakeout.files())}.ndjson"
    observer = stakeout.start("record", "-q", "-i", "0.2", "-o", out, *options, "-p", ",".join(str(p.pid) for p in processes))
    wait_for("the first interval", lambda: observer.poll() is not None or out.exists() and '"interval","seq"' in out.read_text())
    return observer, out


def finish(observer, out, number=None):
    """Waits for the end of an observer, or ends it with the signal."""
    if number:
        observer.send_signal(number)
    _, err = observer.communicate(timeout=300)
    assert observer.returncode == 0, err
    return opened(out)


def peers(agent, port, side="client"):
    return [p for p in agent.get("peers", []) if p["peer"].endswith(f":{port}") and p["side"] == side]


def peer(agent, port, side="client"):
    (found,) = peers(agent, port, side)
    return found


def counter(of, name):
    return of["counters"].get(name, 0)


def hist_count(of, name):
    return of["hist"].get(name, {"count": 0})["count"]


def same_time(seen_ns, said_ns, share=CLOSE, ns=CLOSE_NS):
    assert abs(seen_ns - said_ns) <= max(share * said_ns, ns), f"seen {seen_ns / 1e6:.3f} ms, said {said_ns / 1e6:.3f} ms"


def exact(values, q):
    """Quantile of plain values."""
    return rank([(value, 1) for value in sorted(values)], q)
