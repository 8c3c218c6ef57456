# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""Connections by the hundred thousand, peers that misbehave, sockets that change hands: nothing leaks, nothing is lost, no time is negative or wrapped."""
import json
import os
import subprocess
from pathlib import Path

import pytest
from conftest import STAKEOUT, Agents, Recording, wait_for

PYTHON = "/usr/bin/python3"
SHORT, EARLY = 100_000, 10_000  # connections; and of them the first
HELD = 2000  # connections that are open when the recording begins
FLEET_ENDS = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (20000, 20000))\n"

SERVER = FLEET_ENDS + """
import select, socket
s = socket.create_server(("127.0.0.1", 0), backlog=4096)
print(s.getsockname()[1], flush=True)
held = [s.accept()[0] for _ in range(int(input()))]
print("holding", flush=True)
while True:
    c = s.accept()[0]
    request = c.recv(64)
    if request == b"end":
        break
    c.sendall(request * 10)
    c.recv(1)  # the client closes first
    c.close()
"""

# Connections that are there before; then short ones, one request each, in two parts at its reader's word.
CLIENT = FLEET_ENDS + """
import socket, sys
at, held = ("127.0.0.1", int(sys.argv[1])), []
for _ in range(int(sys.argv[2])):
    held.append(socket.create_connection(at))
print("holding", flush=True)
for part in map(int, input().split()):
    for c in held:
        c.close()
    held = []
    for _ in range(part):
        c = socket.create_connection(at)
        c.sendall(b"ping")
        got = b""
        while len(got) < 40:
            got += c.recv(64)
        c.close()
    print("done", flush=True)
    input()
socket.create_connection(at).sendall(b"end")
"""


def slabs():
    """Objects in use by slab of general use: BPF's storage is in such."""
    return {line.split()[0]: int(line.split()[1]) for line in Path("/proc/slabinfo").read_text().splitlines()[2:]
            if line.startswith("kmalloc")}


def map_bytes(pid):
    """Memory of the BPF maps that a process holds."""
    maps = {}
    for fd in os.listdir(f"/proc/{pid}/fdinfo"):
        try:
            lines = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/fdinfo/{fd}").read_text().splitlines() if ":\t" in line)
        except FileNotFoundError:
            continue
        if "map_id" in lines:
            maps[lines["map_id"]] = int(lines["memlock"])
    return sum(maps.values())


def times_check(recording):
    """No time of the recording is negative, wrapped, or longer than what was observed, however it is summed."""
    wall_s = recording.total["end_s"]
    lines = [(i["end_s"] - i["start_s"], i) for i in recording.intervals] + [(wall_s, recording.total)]
    for length_s, line in lines:
        for agent in line["agents"]:
            for group in (agent, *agent.get("peers", []), *agent.get("tools", [])):
                for name, h in group.get("hist", {}).items():
                    assert 0 <= h["min"] <= h["max"] and h["sum"] <= h["count"] * h["max"] and h["count"] * h["min"] <= h["sum"], (name, h)
                    assert sum(h["bucket_counts"]) + h["zero_count"] == h["count"]
                    if name.endswith("_ns"):
                        assert h["max"] <= wall_s * 1e9, (name, h["max"])
                for name, n in group.get("counters", {}).items():
                    assert 0 <= n < 2**62, name
            assert agent["observed_s"] <= length_s * 1.001 + 0.002
            for kind in ("main_s", "critical_s"):
                states = agent["ledger"].get(kind, {})
                assert all(s >= 0 for s in states.values())
                assert sum(states.values()) == pytest.approx(agent["observed_s"], rel=0.001, abs=1e-6), (kind, states)
            threads = agent["ledger"]["threads_s"]
            assert all(s >= 0 for s in threads.values())
            for name, c in agent.get("concurrency", {}).items():
                assert 0 <= c["busy_s"] <= length_s * 1.001 and c["busy_s"] <= c["outstanding_s"] * 1.001 + 1e-6, (name, c)


def lost(recording):
    return {k: n for k, n in recording.total["observer"]["lost"].items() if n}


def peers_sum(agent, side, counter):
    return sum(p["counters"].get(counter, 0) for p in agent.get("peers", []) if p["side"] == side)


def without_skips(record):
    """A recording in which the kernel left out no run of a program, which it does on a CPU where it preempts a thread within that program, and counts: what
    happened then is not seen."""
    for _ in range(4):
        r = record()
        if "skipped" not in lost(r):
            return r
    return pytest.skip(f"kernel: it left out {lost(r)['skipped']} runs of programs")


class Stage:
    """A process that talks with the test by lines."""

    def __init__(self, agents, *argv):
        self.process = agents(*argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.pid = self.process.pid

    def line(self):
        text = self.process.stdout.readline()
        assert text, self.process.stderr.read()
        return text.strip()

    def tell(self, text=""):
        self.process.stdin.write(f"{text}\n")
        self.process.stdin.flush()


@pytest.fixture(scope="module")
def churn(tmp_path_factory):
    """100,000 short connections between two agents."""
    if not os.path.exists("/proc/slabinfo"):
        pytest.skip("kernel: no /proc/slabinfo")
    return without_skips(lambda: churn_once(tmp_path_factory))


def churn_once(tmp_path_factory):
    out, agents = tmp_path_factory.mktemp("churn") / "out.ndjson", Agents()
    seen = {}

    def look(name):
        """Once an interval has passed, so that what was freed late is gone."""
        intervals = lambda: out.read_bytes().count(b'"interval"') if out.exists() else 0
        now = intervals()
        wait_for("two intervals", lambda: intervals() >= now + 2 or stakeout.poll() is not None)
        assert stakeout.poll() is None, stakeout.stderr.read()
        seen[name] = {"slabs": slabs(), "maps": map_bytes(stakeout.pid), "intervals": intervals()}
    try:
        server = Stage(agents, PYTHON, "-c", SERVER)
        port = server.line()
        server.tell(HELD)
        client = Stage(agents, PYTHON, "-c", CLIENT, port, HELD)
        assert (client.line(), server.line()) == ("holding", "holding")
        before = slabs()
        stakeout = agents(STAKEOUT, "record", "-q", "--budget", "off", "-i", "0.5", "-o", out, "-p", f"{server.pid},{client.pid}", stderr=subprocess.PIPE)
        look("held")
        client.tell(f"{EARLY} {SHORT - EARLY}")
        for name in ("early", "late"):
            assert client.line() == "done"
            look(name)
            client.tell()
        assert client.process.wait() == server.process.wait() == 0
        assert stakeout.wait() == 0, stakeout.stderr.read()
    finally:
        agents.close()
    r = Recording(out)
    r.server, r.client = (next(t for t in r.total["agents"] if t["id"] == a["id"]) for pid in (server.pid, client.pid)
                          for a in r.agents if a["pid"] == pid)
    r.seen, r.before, r.port = seen, before, port
    return r


def test_short_connections_are_counted_exactly(churn):
    assert lost(churn) == {}
    client, server = churn.client["counters"], churn.server["counters"]
    assert client["connects"] == server["accepts"] == SHORT + 1
    assert client["exchanges"] == server["exchanges_served"] == SHORT
    assert client["sent_bytes"] == server["received_bytes"] == SHORT * 4 + 3
    assert client["received_bytes"] == server["sent_bytes"] == SHORT * 40
    assert peers_sum(churn.client, "client", "exchanges") == peers_sum(churn.server, "server", "exchanges_served") == SHORT
    assert churn.client["hist"]["exchange_ns"]["count"] == churn.server["hist"]["serve_ns"]["count"] == SHORT
    assert churn.client["hist"]["connect_ns"]["count"] == SHORT + 1


def test_short_connections_have_one_peer(churn):
    (peer,) = churn.client["peers"]
    assert (peer["peer"], peer["side"]) == (f"127.0.0.1:{churn.port}", "client")
    (peer,) = churn.server["peers"]
    assert (peer["peer"].rpartition(":")[2], peer["side"]) == (churn.port, "server")


def test_sockets_leave_nothing_in_the_kernel(churn):
    """The storage of the sockets held at first shows which slabs it is in: those have grown by two ends a connection."""
    held, early, late = (churn.seen[name] for name in ("held", "early", "late"))
    ours = [name for name, n in held["slabs"].items() if n - churn.before.get(name, 0) >= 2 * HELD * 0.9]
    assert ours, "the storage of the connections held doesn't show in any slab"
    for name in ours:
        print(name, *((when, churn.seen[when]["slabs"][name]) for when in churn.seen), "before", churn.before.get(name, 0))
        assert late["slabs"][name] - early["slabs"][name] < HELD, name
        assert late["slabs"][name] < held["slabs"][name], name  # those are gone
    assert held["maps"] == early["maps"] == late["maps"]


def test_memory_is_bounded(churn):
    early, late = (max(i["observer"]["rss_bytes"] for i in churn.intervals[:churn.seen[name]["intervals"]]) for name in ("early", "late"))
    print(f"resident memory after {EARLY} connections {early / 2**20:.1f} MiB, after {SHORT} {late / 2**20:.1f} MiB")
    assert late - early < 4 << 20, (early, late)


def test_short_connections_keep_time(churn):
    times_check(churn)


# Peers that misbehave. Each kind is a port of its own; they are nobody's agents.
PEERS = """
import json, socket, struct, threading
KINDS = ("answers", "resets", "resets_in_answer", "resets_unread", "closes", "is_silent", "half_closes", "hears_the_end", "babbles")

def abort(c):
    c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    c.close()

def serve(kind, listener):
    kept = []
    while True:
        c = listener.accept()[0]
        if kind == "babbles":  # before it is asked
            c.sendall(b"x" * 100)
        if not c.recv(64):
            c.close()
            continue
        if kind == "answers" or kind == "babbles":
            c.sendall(b"y" * 100)
            c.recv(1)
            c.close()
        elif kind == "resets":
            abort(c)
        elif kind == "resets_unread":
            c.sendall(b"y" * 100)
            abort(c)
        elif kind == "hears_the_end":  # answers when there is no more to come
            while c.recv(64):
                pass
            c.sendall(b"y" * 100)
            c.close()
        elif kind == "resets_in_answer":
            c.sendall(b"y" * 100)
            c.recv(1)  # the client has it
            abort(c)
        elif kind == "closes":
            c.close()
        elif kind == "half_closes":
            c.sendall(b"y" * 100)
            c.shutdown(socket.SHUT_WR)
            c.recv(1)
            c.close()
        else:
            kept.append(c)

ports = {}
for kind in KINDS:
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    ports[kind] = listener.getsockname()[1]
    threading.Thread(target=serve, args=(kind, listener), daemon=True).start()
refusing = socket.socket()
refusing.bind(("127.0.0.1", 0))
ports["refuses"] = refusing.getsockname()[1]
print(json.dumps(ports), flush=True)
input()
"""

# Waits at most 20 ms for an answer, where none comes.
VICTIM = """
import json, select, socket, sys
ports, times = json.loads(sys.argv[1]), int(sys.argv[2])
input()
for _ in range(times):
    for kind, port in ports.items():
        c = socket.socket()
        try:
            c.connect(("127.0.0.1", port))
            if kind == "babbles":
                c.recv(100, socket.MSG_WAITALL)
            c.sendall(b"request")
            if kind == "is_silent":
                c.settimeout(0.02)
            elif kind == "hears_the_end":
                c.shutdown(socket.SHUT_WR)
            if kind in ("resets_unread", "hears_the_end"):  # reads when all is over
                p = select.poll()
                p.register(c, 0)  # the end of both directions, or an error
                p.poll()
            c.recv(100, socket.MSG_WAITALL)
            if kind == "resets_in_answer":
                c.sendall(b"!")
                c.recv(1)
            if kind == "half_closes":
                assert c.recv(1) == b""
        except (ConnectionError, TimeoutError):
            pass
        c.close()
"""
TIMES = 50


def misbehave(tmp_path_factory):
    out, agents = tmp_path_factory.mktemp("peers") / "out.ndjson", Agents()
    try:
        peers = Stage(agents, PYTHON, "-c", PEERS)
        ports = json.loads(peers.line())
        victim = Stage(agents, PYTHON, "-c", VICTIM, json.dumps(ports), TIMES)
        stakeout = agents(STAKEOUT, "record", "-q", "--budget", "off", "-o", out, "-p", victim.pid, stderr=subprocess.PIPE)
        wait_for("the recording to begin", lambda: out.exists() and b"\n" in out.read_bytes())
        victim.tell()
        assert victim.process.wait() == 0, victim.process.stderr.read()
        assert stakeout.wait() == 0, stakeout.stderr.read()
    finally:
        agents.close()
    r = Recording(out)
    (r.agent,) = r.total["agents"]
    by_port = {p["peer"]: p for p in r.agent["peers"]}
    r.peers = {kind: by_port[f"127.0.0.1:{port}"] for kind, port in ports.items()}
    return r


@pytest.fixture(scope="module")
def misbehaved(tmp_path_factory):
    return without_skips(lambda: misbehave(tmp_path_factory))


# counters of the peer of each kind, a connection; what is not named is 0
MISBEHAVIOUR = {
    "answers": {"connects": 1, "exchanges": 1},
    "resets": {"connects": 1, "errors_reset": 1},
    "resets_in_answer": {"connects": 1, "exchanges": 1, "errors_reset": 1},
    "resets_unread": {"connects": 1, "exchanges": 1, "errors_reset": 1},
    "closes": {"connects": 1, "errors_unanswered": 1},
    "is_silent": {"connects": 1},
    "half_closes": {"connects": 1, "exchanges": 1},
    "hears_the_end": {"connects": 1, "exchanges": 1},
    "babbles": {"connects": 1, "exchanges": 1},
    "refuses": {"connects_failed": 1, "errors_refused": 1},
}


@pytest.mark.parametrize("kind", MISBEHAVIOUR)
def test_misbehaving_peers(misbehaved, kind):
    told = {k: n for k, n in misbehaved.peers[kind]["counters"].items()
            if n and k.startswith(("connects", "exchanges", "errors_"))}
    assert told == {k: n * TIMES for k, n in MISBEHAVIOUR[kind].items()}


def test_misbehaving_peers_keep_time(misbehaved):
    assert lost(misbehaved) == {}
    times_check(misbehaved)
    errors = sum(n for k, n in misbehaved.agent["counters"].items() if k.startswith("errors_"))
    assert errors == sum(n for p in misbehaved.agent["peers"] for k, n in p["counters"].items() if k.startswith("errors_"))


# Everything that one may do to a socket, at random: threads that close what others read from, children that inherit, descriptors passed on to another
# process, resets, half-open ends, connects that nobody answers. It counts the requests that it saw answered.
SHUFFLE = """
import array, errno, os, random, select, signal, socket, struct, sys, threading, time
random.seed(int(sys.argv[1]))
input()
END = time.monotonic() + 3
FAMILIES = [socket.AF_INET, socket.AF_INET6, socket.AF_UNIX]
signal.signal(signal.SIGPIPE, signal.SIG_IGN)

def patient(ends):
    # Blocks, but not for ever.
    for s in ends:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, 20000))
    return ends

def pair():
    family = random.choice(FAMILIES)
    if family == socket.AF_UNIX:
        return socket.socketpair()
    try:
        listener = socket.create_server(("127.0.0.1" if family == socket.AF_INET else "::1", 0), family=family)
    except OSError:
        return socket.socketpair()
    c = socket.socket(family)
    c.connect(listener.getsockname()[:2])
    s = listener.accept()[0]
    listener.close()
    return c, s

def talk(a, b):
    for _ in range(random.randrange(4)):
        a.sendall(b"q" * random.choice([1, 100, 5000]))
        if random.random() < 0.7:
            b.recv(10000)
            for _ in range(random.randrange(1, 3)):
                b.sendall(b"a" * random.choice([1, 100, 5000]))
            a.recv(10000)

def reset(a, b):
    a.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    a.close()

def close_under_a_reader(a, b):
    def read():
        try:
            os.read(a.fileno(), 100)
        except OSError:
            pass
    t = threading.Thread(target=read)
    t.start()
    time.sleep(random.random() / 1000)
    fd = a.detach()
    os.close(fd)
    b.sendall(b"z")
    b.close()
    t.join()

def inherit(a, b):
    if os.fork() == 0:
        try:
            talk(a, b)
        finally:
            os._exit(0)
    os.wait()

def vanish(a, b):
    if a.family != socket.AF_UNIX:
        a.setsockopt(socket.IPPROTO_TCP, 19, 1)  # TCP_REPAIR: gone without a word
    a.close()
    try:
        b.sendall(b"is anybody there?")
        b.recv(1)
    except OSError:
        pass

def pass_on(a, b):
    left, right = socket.socketpair()
    if os.fork() == 0:
        try:
            left.close()
            _, fds, _, _ = socket.recv_fds(right, 1, 1)
            os.write(fds[0], b"from another process")
        finally:
            os._exit(0)
    try:
        socket.send_fds(left, [b"x"], [a.fileno()])
    finally:
        left.close()
        right.close()
        os.wait()

def half_close(a, b):
    a.shutdown(socket.SHUT_WR)
    talk(b, a)

def polled(a, b):
    e = select.epoll()
    e.register(a, select.EPOLLIN)
    e.poll(random.random() / 500)
    b.sendall(b"k")
    e.poll(0.02)
    e.close()

def connect_in_vain(a, b):
    c = socket.socket()
    c.setblocking(False)
    c.connect_ex(("127.0.0.1", random.choice([1, 9, 65000])))
    c.close()

while time.monotonic() < END:
    a, b = patient(pair())
    for deed in random.choices([talk, reset, close_under_a_reader, inherit, vanish, pass_on, half_close, polled, connect_in_vain], k=3):
        try:
            deed(a, b)
        except (OSError, ValueError):  # closed by an earlier deed
            pass
    a.close()
    b.close()
"""


@pytest.mark.parametrize("seed", range(20 if os.environ.get("LONG") else 3))
def test_sockets_of_all_fates(stakeout, agents, seed):
    out = stakeout.folder / "out.ndjson"
    shuffle = Stage(agents, PYTHON, "-c", SHUFFLE, seed)
    run = stakeout.start("record", "-q", "-i", "0.25", "-o", out, "-p", shuffle.pid)
    wait_for("the recording to begin", lambda: out.exists() and b"\n" in out.read_bytes())
    shuffle.tell()
    assert shuffle.process.wait() == 0, shuffle.process.stderr.read()
    _, said = run.communicate()
    assert (run.returncode, said) == (0, b"")
    recording = Recording(out)
    assert lost(recording) == {}
    times_check(recording)
    (agent,) = recording.total["agents"]
    assert agent["counters"]["connects"] > 0 and agent["counters"]["exchanges"] > 0
