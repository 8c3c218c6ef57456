# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""OpenTelemetry: recordings as OTLP/JSON lines, and the daemon's file and push, read by OpenTelemetry's own messages (npm/otlp.cjs)."""
import gzip
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

import make_recording as make
from conftest import HANG_S, Recording, node, wait_for

CUMULATIVE = 2
SECONDS_SHIFT = 957  # buckets of scale 5 between nanoseconds and seconds, rounded
UNITS = {"_ns": "ns", "_bytes": "By"}
CONVENTIONS = {"llm": "gen_ai.client.operation.duration", "db": "db.client.operation.duration", "cache": "db.client.operation.duration",
               "vector": "db.client.operation.duration", "http": "http.client.request.duration"}
OF_AGENTS = {  # metric: name, attribute, what a unit of ours is in theirs
    "cpu_user_ns": ("process.cpu.time", {"cpu.mode": "user"}, 1e-9), "cpu_system_ns": ("process.cpu.time", {"cpu.mode": "system"}, 1e-9),
    "rss_bytes": ("process.memory.usage", {}, 1), "threads": ("process.thread.count", {}, 1),
    "switches_voluntary": ("process.context_switches", {"process.context_switch.type": "voluntary"}, 1),
    "switches_involuntary": ("process.context_switches", {"process.context_switch.type": "involuntary"}, 1),
    "faults_minor": ("process.paging.faults", {"system.paging.fault.type": "minor"}, 1),
    "faults_major": ("process.paging.faults", {"system.paging.fault.type": "major"}, 1),
    "sent_bytes": ("process.network.io", {"network.io.direction": "transmit"}, 1),
    "received_bytes": ("process.network.io", {"network.io.direction": "receive"}, 1)}


def attributes(of):
    return {a["key"]: int(a["value"]["intValue"]) if "intValue" in a["value"] else a["value"]["stringValue"] for a in of.get("attributes", [])}


class Resource:
    """One ResourceMetrics: its attributes and its points, by name and attributes."""

    def __init__(self, metrics):
        self.attributes = attributes(metrics["resource"])
        (scope,) = metrics["scopeMetrics"]
        assert scope["scope"]["name"] == "stakeout"
        self.metrics = {m["name"]: m for m in scope["metrics"]}
        assert len(self.metrics) == len(scope["metrics"]), "a name twice"
        self.points = {}
        for name, m in self.metrics.items():
            (data,) = [m[kind] for kind in ("sum", "gauge", "exponentialHistogram") if kind in m]
            assert m["description"] and m["unit"] and data["dataPoints"]
            assert data.get("aggregationTemporality", CUMULATIVE) == CUMULATIVE
            for p in data["dataPoints"]:
                key = (name, frozenset(attributes(p).items()))
                assert key not in self.points, "a series twice"
                self.points[key] = p

    def series(self, name, **having):
        """Points of a name with these attributes (dots as two underlines), and maybe others."""
        having = {k.replace("__", "."): v for k, v in having.items()}
        return [p for (n, a), p in self.points.items() if n == name and having.items() <= dict(a).items()]

    def point(self, name, exactly=None, **having):
        if exactly is not None:
            return self.points[(name, frozenset(exactly.items()))]
        (p,) = self.series(name, **having)
        return p

    def value(self, name, exactly=None, **having):
        p = self.point(name, exactly, **having)
        return int(p["asInt"]) if "asInt" in p else p["asDouble"]

    def unit(self, name):
        return self.metrics[name]["unit"]


class Request:
    def __init__(self, message):
        self.resources = [Resource(r) for r in message["resourceMetrics"]]
        self.observer, self.agents = self.resources[0], self.resources[1:]
        assert self.observer.attributes["service.name"] == "stakeout"
        self.intervals = self.observer.value("stakeout.observer.intervals")

    def agent(self, name=None):
        (a,) = [a for a in self.agents if name in (None, a.attributes["service.name"])]
        return a


def read(*files):
    return [Request(m) for m in node("otlp.cjs", *files)]


def name_of(metric, scope=""):
    ending = next((e for e in UNITS if metric.endswith(e)), "")
    return f"stakeout.{scope}{metric.removesuffix(ending)}", UNITS.get(ending, "{count}")


def add_hist(into, h):
    """Sums of the recording's own histograms, bucket by bucket."""
    for key in ("count", "sum", "zero_count"):
        into[key] = into.get(key, 0) + h[key]
    into["min"] = min(into.get("min", h["min"]), h["min"])
    into["max"] = max(into.get("max", 0), h["max"])
    buckets = into.setdefault("buckets", {})
    for i, n in enumerate(h["bucket_counts"], h["offset"]):
        if n:
            buckets[i] = buckets.get(i, 0) + n


def assert_hist(point, known, seconds=False):
    """Each bucket has the same count, and stands for the same values (in seconds: moved, by less than 1 %)."""
    unit, shift = (1e9, SECONDS_SHIFT) if seconds else (1, 0)
    first = point["positive"].get("offset", 0)
    got = {i + shift: int(n) for i, n in enumerate(point["positive"].get("bucketCounts", []), first) if int(n)}
    assert point["scale"] == make.SCALE and got == known["buckets"]
    assert (int(point["count"]), int(point.get("zeroCount", 0))) == (known["count"], known["zero_count"])
    assert sum(got.values()) + known["zero_count"] == known["count"]
    assert (point["sum"], point["min"], point["max"]) == tuple(pytest.approx(known[k] / unit, rel=1e-15) for k in ("sum", "min", "max"))
    base = 2 ** 2 ** -point["scale"]
    assert base ** (max(got) - shift) * 0.99 <= point["max"] <= base ** (max(got) - shift + 1) * 1.01


class Known:
    """Sums over a recording's intervals, as they stand in its lines."""

    def __init__(self):
        self.counters, self.gauges, self.hists, self.ledger, self.peaks = {}, {}, {}, {}, {}
        self.peers, self.tools = {}, {}

    def add(self, d):
        for c, n in d["counters"].items():
            self.counters[c] = self.counters.get(c, 0) + n
        for g, n in d.get("gauges", {}).items():
            self.gauges[g] = n
            self.peaks[g] = max(self.peaks.get(g, 0), n)
        for m, h in d["hist"].items():
            add_hist(self.hists.setdefault(m, {}), h)
        for view, states in d.get("ledger", {}).items():
            for state, s in states.items():
                key = (view.removesuffix("_s"), state)
                self.ledger[key] = self.ledger.get(key, 0) + round(s * 1e9)
        for p in d.get("peers", []):
            known = self.peers.setdefault((p["side"], p["peer"], p["name"]), Known())
            known.kind = p["class"]
            known.add(p)
        for t in d.get("tools", []):
            self.tools.setdefault(t["name"], Known()).add(t)


def assert_peer(agent, key, known):
    side, peer, name = key
    address, _, port = peer.rpartition(":")
    having = {"server__address": name or (address if port.isdigit() else peer).strip("[]"), "stakeout__peer__side": side,
              "stakeout__peer__class": known.kind}
    for c, n in known.counters.items():
        if n:
            assert agent.value(name_of(c, "peer.")[0], **having) == n
    for m, h in known.hists.items():
        convention = CONVENTIONS.get(known.kind) if m == "exchange_ns" and side == "client" else None
        own, unit = name_of(m, "peer.")
        assert agent.unit(convention or own) == ("s" if convention else unit)
        assert_hist(agent.point(convention or own, **having), h, seconds=bool(convention))


def assert_agent(agent, known):
    for metric, n in {**known.counters, **known.gauges}.items():
        if metric in OF_AGENTS:
            name, exactly, unit = OF_AGENTS[metric]
            assert agent.value(name, exactly) == pytest.approx(n * unit, rel=1e-15), metric
        else:
            name, unit = name_of(metric)
            assert (agent.value(name, {}), agent.unit(name)) == (n, unit), metric
    for m, h in known.hists.items():
        assert agent.unit(name_of(m)[0]) == name_of(m)[1]
        assert_hist(agent.point(name_of(m)[0], {}), h)
    for (view, state), ns in known.ledger.items():
        assert agent.value(f"stakeout.ledger.{view}", stakeout__state=state) == ns
    for key, peer in known.peers.items():
        assert_peer(agent, key, peer)
    for tool, of in known.tools.items():
        for c, n in of.counters.items():
            assert not n or agent.value(name_of(c, "tool.")[0], {"stakeout.tool.name": tool}) == n
        for m, h in of.hists.items():
            assert_hist(agent.point(name_of(m, "tool.")[0], {"stakeout.tool.name": tool}), h)


def monotonic(name, agent):
    return agent.metrics[name].get("sum", {}).get("isMonotonic", False)


@pytest.mark.parametrize("intervals", [25, 5], ids=["1s", "5s"])
def test_a_recording(stakeout, intervals):
    """Every ten seconds, and at the end, what its intervals add up to by then."""
    path = make.write(stakeout.folder / "r.ndjson", [make.typical(1, 25.0, 3, name="one"), make.typical(2, 25.0, 4, name="two", pid=77,
                      **make.deep(25.0, 4))], seconds=25.0, intervals=intervals)
    done = stakeout("report", path, "--otlp", "out.jsonl")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    requests, lines = read(stakeout.folder / "out.jsonl"), Recording(path).intervals
    assert [r.intervals for r in requests] == [n * intervals // 25 for n in (10, 20, 25)]
    for r in requests:
        known = {1: Known(), 2: Known()}
        for line in lines[:r.intervals]:
            for d in line["agents"]:
                known[d["id"]].add(d)
        assert_agent(r.agent("one"), known[1])
        assert_agent(r.agent("two"), known[2])
        start = datetime.fromisoformat("2026-01-02T03:04:05.678+00:00").timestamp()
        for key, p in r.agent("one").points.items():
            assert int(p["timeUnixNano"]) == round(start * 1000) * 10**6 + r.intervals * 25 * 10**9 // intervals
            assert "gauge" in r.agent("one").metrics[key[0]] or int(p["startTimeUnixNano"]) == round(start * 1000) * 10**6
    one = requests[-1].agent("one")
    assert one.attributes == {
        "service.name": "one", "service.instance.id": "00000000-0000/4242/1001", "process.pid": 4242,
        "process.command_line": make.typical(1, 1, 1).cmdline, "process.linux.cgroup": "/system.slice/agent.service",
        "host.name": "testhost", "host.arch": "amd64", "stakeout.host.boot_id": "00000000-0000", "os.type": "linux", "os.version": "6.18.0"}
    assert monotonic("process.cpu.time", one) and monotonic("stakeout.forks", one) and "gauge" in one.metrics["stakeout.processes"]
    assert "sum" in one.metrics["process.memory.usage"] and not monotonic("process.memory.usage", one)
    assert one.point("db.client.operation.duration", db__system__name="postgresql", server__address="db.internal", server__port=5432,
                     network__peer__address="10.0.0.5", network__peer__port=5432)
    assert "stakeout.kernel_alloc" not in one.metrics, "its probe was off"
    two = requests[-1].agent("two")
    assert two.value("stakeout.rival.time", {"stakeout.rival.name": "postgres"}) == int(2.1e7 * 25)
    assert two.value("stakeout.heap.alloc_rate") > 0
    assert requests[-1].observer.value("stakeout.observer.lost", stakeout__reason="ring_full") == 0


def test_peaks_are_those_since_the_last_request(stakeout):
    """A gauge tells the present; a peak in any of the ten intervals must not be lost in between."""
    lines = [json.loads(line) for line in make.lines([make.Agent(1)], seconds=20.0, intervals=20, total=False)]
    rss = {4: 900, 9: 100, 14: 700, 19: 200}
    for line in lines[1:]:
        n = rss.get(line["seq"], 50)
        line["agents"][0]["gauges"] = {"rss_bytes": n, "rss_peak_bytes": n + 1}
    (stakeout.folder / "r.ndjson").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert stakeout("report", "r.ndjson", "--otlp", "out.jsonl").returncode == 0
    seen = [(r.agent().value("process.memory.usage"), r.agent().value("stakeout.rss_peak")) for r in read(stakeout.folder / "out.jsonl")]
    assert seen == [(100, 901), (200, 701)]


def test_hostile_texts(stakeout):
    """Names and command lines that are no text come out as valid, harmless strings."""
    name, command = 'a"b\\c\n\x1b[31m{}\u2028é', "x\t'y' \x7fz"
    peers = [{"peer": '"evil"\n:80', "name": 'h"\x1b]0;t\x07', "class": "http", "counters": {"exchanges": 1}, "values": {"exchange_ns": [5]}}]
    path = make.write(stakeout.folder / "r.ndjson", [make.Agent(1, name=name, cmdline=command, peers=peers, tools={"\x1b[1mt": {"counters": {"execs": 1}}})])
    done = stakeout("report", path, "--otlp", "-")
    assert done.returncode == 0
    (stakeout.folder / "out.jsonl").write_bytes(done.stdout)
    for request in read(stakeout.folder / "out.jsonl"):
        for value in re.findall(r'"stringValue":"((?:[^"\\]|\\.)*)"', done.stdout.decode()):
            assert not re.search(r"[\x00-\x1f\x7f]|\\u00[01]|\\n|\\t", value), value
        assert request.agent().attributes["service.name"].startswith('a"b\\c?')


@pytest.mark.parametrize("args, what", [
    (["-", "--otlp", "o"], "reads the recording twice"), (["r", "r", "--otlp", "o"], "one recording"),
    (["r", "--otlp", "o", "--json"], "exclude each other"), (["r", "--otlp"], "needs a value")])
def test_bad_usage(stakeout, args, what):
    make.write(stakeout.folder / "r", [make.Agent(1)])
    done = stakeout("report", *args)
    assert done.returncode == 2 and what in done.stderr.decode() and not (stakeout.folder / "o").exists()


def test_output_is_whole_or_not_there(stakeout):
    make.write(stakeout.folder / "r", [make.typical(1, 10.0, 1)])
    (stakeout.folder / "there").write_text("mine")
    done = stakeout("report", "r", "--otlp", "there")
    assert done.returncode == 5 and b"--force" in done.stderr and (stakeout.folder / "there").read_text() == "mine"
    assert stakeout("report", "r", "--otlp", "there", "--force").returncode == 0 and read(stakeout.folder / "there")
    done = stakeout("report", "r", "--otlp", "/dev/full", "--force")
    assert done.returncode == 5 and b"No space left" in done.stderr
    limited = stakeout("report", "r", "--otlp", "cut", wrap=["sh", "-c", 'ulimit -f 8; trap "" XFSZ; exec "$@"', "sh"])
    assert limited.returncode == 5 and not (stakeout.folder / "cut").exists()


# The daemon.

def varint(n):
    out = b""
    while n > 127:
        out, n = out + bytes([n & 127 | 128]), n >> 7
    return out + bytes([n])


def field(number, value):
    """One of a message in protobuf, by hand: a number, bytes or a text."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


class Receiver:
    """An OTLP/HTTP endpoint: keeps what it takes. answer(n) tells status, headers and body of the n-th request; None: it never answers."""

    def __init__(self, folder, port=0, answer=lambda n: (200, {}, b""), tls=None):
        self.folder, self.answer, self.seen, self.taken, self.gone = folder, answer, [], [], threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                receiver.take(self)

            def log_message(self, *args):
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads, block_on_close, allow_reuse_address = True, False, True

            def finish_request(self, request, client_address):
                if tls:  # in the connection's own thread; a client that trusts nobody leaves here
                    try:
                        request = tls.wrap_socket(request, server_side=True)
                    except OSError:
                        return
                super().finish_request(request, client_address)

        self.server = Server(("127.0.0.1", port), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def take(self, h):
        body = h.rfile.read(int(h.headers["Content-Length"]))
        n = len(self.seen)
        self.seen.append((time.monotonic(), h.path, dict(h.headers.items())))
        answer = self.answer(n)
        if answer is None:
            self.gone.wait()
            return
        status, headers, text = answer
        if status == 200:
            path = self.folder / f"{self.port}-{n:04}.pb"
            path.write_bytes(gzip.decompress(body))
            self.taken.append(path)
        h.send_response(status)
        for key, value in {**headers, "Content-Length": len(text)}.items():
            h.send_header(key, value)
        h.end_headers()
        h.wfile.write(text)

    def requests(self):
        return read(*self.taken)

    def close(self):
        self.gone.set()
        self.server.shutdown()
        self.server.server_close()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@pytest.fixture
def receiver(tmp_path):
    started = []

    def start(*args, **kwargs):
        started.append(Receiver(tmp_path, *args, **kwargs))
        return started[-1]

    yield start
    for r in started:
        r.close()


class Serve:
    """The daemon on some agents. Its OTLP file has a line whenever it pushes: what there was to send."""

    def __init__(self, stakeout, pids, otlp, interval="100ms", more=""):
        self.folder = stakeout.folder
        self.file = stakeout.folder / "m.jsonl"
        settings = {"file": self.file, "interval": "100ms", **otlp}
        section = "".join(f"  {k}: {v}\n" for k, v in settings.items() if v is not None)
        config = stakeout.folder / "stakeout.yaml"
        pids = ",".join(map(str, pids))
        config.write_text(f"targets: [{{pid: '{pids}', name: known}}]\ninterval: {interval}\nbudget: off\n{more}otlp:\n{section}")
        self.err = open(stakeout.folder / "err", "wb")
        self.process = subprocess.Popen([stakeout.path, "serve", "-c", config], stdin=subprocess.DEVNULL, stderr=self.err, cwd=stakeout.folder)

    def said(self):
        return (self.folder / "err").read_text()

    def lines(self):
        return self.file.read_bytes().count(b"\n") if self.file.exists() else 0

    def wait(self, what, condition):
        """Waits for it, as long as the daemon runs."""
        wait_for(what, lambda: self.process.poll() is not None or condition())
        assert self.process.poll() is None, self.said()

    def wait_lines(self, n):
        self.wait(f"{n} lines", lambda: self.lines() >= n)

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(HANG_S) == 0, self.said()
        return self.said()

    def close(self):
        self.process.kill()
        self.process.wait()
        self.err.close()


@pytest.fixture
def serve(stakeout):
    started = []

    def start(pids, **kwargs):
        started.append(Serve(stakeout, pids, **kwargs))
        return started[-1]

    yield start
    for s in started:
        s.close()


AGENT = """
import os, socket, subprocess, sys
port, calls, children = map(int, sys.argv[1:])
sys.stdin.readline()
s = socket.create_connection(("127.0.0.1", port))
for n in range(calls):
    s.sendall(b"GET /v1/things HTTP/1.1\\r\\nHost: things.internal\\r\\n\\r\\n")
    s.recv(4096)
for n in range(children):
    subprocess.run(["/bin/true"])
print("done", flush=True)
sys.stdin.readline()
"""


def answering():
    """A server that answers each request on its one connection at once; its port."""
    s = socket.create_server(("127.0.0.1", 0))

    def run():
        c, _ = s.accept()
        c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while c.recv(4096):
            c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    threading.Thread(target=run, daemon=True).start()
    return s.getsockname()[1]


def test_push_and_file(serve, receiver, agents):
    """What the agent did is in both, told by two encodings; the last request has it all."""
    calls, children = 40, 5
    r = receiver()
    agent = agents(sys.executable, "-c", AGENT, answering(), calls, children, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    s = serve([agent.pid], otlp={"endpoint": f"http://127.0.0.1:{r.port}/", "headers": "{X-Scope: lab, Authorization: 'Bearer: a b'}"},
              more="labels: {site: 'lab \"1\"'}\n")
    s.wait("a push", lambda: r.taken)
    agent.stdin.write(b"\n")
    agent.stdin.flush()
    assert agent.stdout.readline() == b"done\n"
    s.wait_lines(s.lines() + 3)
    assert s.end() == ""
    pushed, written = r.requests(), read(s.file)
    assert all(path == "/v1/metrics" and h["Content-Type"] == "application/x-protobuf" and h["X-Scope"] == "lab" and
               h["Authorization"] == "Bearer: a b" for _, path, h in r.seen)
    assert [p.intervals for p in pushed] == [w.intervals for w in written]
    last = pushed[-1].agent("known")
    assert last.value("stakeout.exchanges") == last.value("stakeout.peer.exchanges") == calls
    assert int(last.point("stakeout.exchange")["count"]) == calls
    duration = last.point("http.client.request.duration", http__request__method="_OTHER")
    assert int(duration["count"]) == calls and duration["sum"] == pytest.approx(last.point("stakeout.exchange")["sum"] / 1e9)
    assert last.value("stakeout.forks") == children and last.value("stakeout.tool.execs", {"stakeout.tool.name": "true"}) == children
    assert last.attributes["process.pid"] == agent.pid and last.attributes["site"] == 'lab "1"'
    assert last.attributes["host.name"] == socket.gethostname() and last.attributes["process.command_line"].startswith(sys.executable)
    for p, w in zip(pushed, written):  # but for what is told of the push itself, the same by protobuf and by JSON
        ours = {k: v for k, v in p.observer.points.items() if not k[0].startswith("stakeout.otlp.")}
        assert ours == w.observer.points and [a.points for a in p.agents] == [a.points for a in w.agents]
    counts = [p.observer.value("stakeout.otlp.sent") for p in pushed]
    assert counts == sorted(counts) and counts[-1] <= len(pushed) - 1
    starts = {v["startTimeUnixNano"] for p in pushed for k, v in p.agent().points.items() if "startTimeUnixNano" in v}
    assert len(starts) == 1, "a series begins once"


def test_endpoint_away_for_a_while(serve, receiver, sleeper):
    """Within the queue's bound nothing is lost, and each request comes once, in order; it is said once that it fails, and once that it works again."""
    port = free_port()
    s = serve([sleeper.pid], otlp={"endpoint": f"http://127.0.0.1:{port}", "queue": 1000})
    s.wait_lines(12)
    r = receiver(port=port)
    s.wait("what waited", lambda: len(r.taken) >= 12)
    s.wait_lines(s.lines() + 2)
    said = s.end().splitlines()
    pushed, written = r.requests(), read(s.file)
    assert [p.intervals for p in pushed] == [w.intervals for w in written]
    assert len(said) == 2 and said[0].startswith(f"stakeout: OTLP push: http://127.0.0.1:{port}/v1/metrics: ") and "works again" in said[1], said
    assert "Connection refused" in said[0] and "requests wait" in said[0], said
    last = pushed[-1].observer
    assert all(p["asInt"] == "0" for p in last.series("stakeout.otlp.dropped")) and last.value("stakeout.otlp.retries") >= 1


def test_queue_full(serve, receiver, sleeper):
    """The oldest go, and their number is told exactly."""
    keep, open_again = 3, threading.Event()
    r = receiver(answer=lambda n: (200, {}, b"") if open_again.is_set() else (503, {}, b""))
    s = serve([sleeper.pid], otlp={"endpoint": f"http://127.0.0.1:{r.port}", "queue": keep})
    s.wait_lines(15)
    open_again.set()
    s.wait("a push", lambda: len(r.taken) > keep)
    s.wait_lines(s.lines() + 3)
    said = s.end()
    pushed, written = [p.intervals for p in r.requests()], [w.intervals for w in read(s.file)]
    dropped = r.requests()[-1].observer.value("stakeout.otlp.dropped", stakeout__reason="queue_full")
    missing = [n for n in written if n not in pushed]
    assert pushed == sorted(set(pushed)) and set(pushed) <= set(written)
    assert dropped == len(missing) > 5, (dropped, missing)
    assert "HTTP status 503" in said and f"of at most {keep}" in said, said


def test_retry_after(serve, receiver, sleeper):
    """A busy endpoint is asked again when it said, not before; what came after waits."""
    r = receiver(answer=lambda n: (429, {"Retry-After": "2"}, b"") if n == 0 else (200, {}, b""))
    s = serve([sleeper.pid], otlp={"endpoint": f"http://127.0.0.1:{r.port}"})
    s.wait("the second attempt", lambda: len(r.taken) >= 3)
    s.end()
    assert r.seen[1][0] - r.seen[0][0] >= 1.99
    assert [p.intervals for p in r.requests()] == [w.intervals for w in read(s.file)]


def test_refused(serve, receiver, sleeper):
    """What the endpoint does not take is given up and counted, requests and points; the reason is told."""
    status, partial = field(1, 3) + field(2, "no such \x1b[1m tenant"), field(1, field(1, 7) + field(2, "too old"))
    r = receiver(answer=lambda n: (400, {}, status) if n < 4 else (200, {}, partial if n == 6 else b""))
    s = serve([sleeper.pid], otlp={"endpoint": f"http://127.0.0.1:{r.port}"})
    s.wait("pushes", lambda: len(r.taken) >= 5)
    said = s.end()
    last = r.requests()[-1].observer
    assert last.value("stakeout.otlp.dropped", stakeout__reason="refused") == 4 and last.value("stakeout.otlp.retries") == 0
    assert last.value("stakeout.otlp.rejected") == 7
    assert [p.intervals for p in r.requests()] == [w.intervals for w in read(s.file)][4:]
    assert "HTTP status 400: no such ?[1m tenant" in said and said.count("400") == 1, said
    assert "7 data points rejected: too old" in said, said


def test_answers_that_are_none(serve, receiver, sleeper):
    """It was taken, whatever else the answer says."""
    garbage = [b"\xff" * 300, b"<html>proxy</html>", field(1, field(2, "x" * 100000))]
    r = receiver(answer=lambda n: (200, {}, garbage[n % len(garbage)]))
    s = serve([sleeper.pid], otlp={"endpoint": f"http://127.0.0.1:{r.port}"})
    s.wait("pushes", lambda: len(r.taken) >= 2 * len(garbage))
    s.end()
    assert len(r.requests()) == len(read(s.file))


def test_endpoint_that_hangs(serve, receiver, sleeper):
    """Nobody waits for it but the thread: intervals go on, and the end comes all the same, with the loss told."""
    r = receiver(answer=lambda n: None)
    s = serve([sleeper.pid], otlp={"endpoint": f"http://127.0.0.1:{r.port}", "timeout": "1s", "queue": 4})
    s.wait("a request", lambda: r.seen)
    s.wait_lines(s.lines() + 10)
    s.wait("the second attempt", lambda: len(r.seen) >= 2)
    said = s.end()
    assert "requests were not sent" in said and re.search("timed out|Timeout", said), said
    intervals = [w.intervals for w in read(s.file)]
    assert intervals[-1] >= len(intervals) >= 10


def reload(s, old, new):
    """Another configuration, which it has read when this returns."""
    config, before = s.folder / "stakeout.yaml", s.said().count("read anew")
    text = config.read_text()
    assert old in text
    config.write_text(text.replace(old, new))
    s.process.send_signal(signal.SIGHUP)
    s.wait("the reload", lambda: s.said().count("read anew") > before)


def longest_interval(folder):
    """Of those recorded, in seconds; and that none is missing."""
    (path,) = (folder / "r").iterdir()
    intervals = [i for i in map(json.loads, path.read_text().splitlines()) if i["kind"] == "interval"]
    assert [i["seq"] for i in intervals] == list(range(len(intervals)))
    return max(i["end_s"] - i["start_s"] for i in intervals)


CLOSE_S = 5  # what an output takes at most to come to its end


def test_reload_moves_what_waits(serve, receiver, sleeper, tmp_path):
    """Another endpoint while the first one hangs: all that waits goes there, in order, with new labels from then on, and no interval waited for it."""
    r, good = receiver(answer=lambda n: None), receiver()
    s = serve([sleeper.pid], otlp={"endpoint": f"http://127.0.0.1:{r.port}", "queue": 1000, "timeout": "60s"},
              more=f"labels: {{turn: first}}\nrecordings: {{directory: {tmp_path}/r, compress: false}}\n")
    s.wait("a request", lambda: r.seen)
    s.wait_lines(8)
    reload(s, "turn: first", "turn: second")
    s.wait_lines(s.lines() + 3)
    assert len(r.seen) == 1  # which is not asked twice for labels' sake
    reload(s, f"endpoint: http://127.0.0.1:{r.port}", f"endpoint: http://127.0.0.1:{good.port}")
    s.wait("what waited", lambda: len(good.taken) >= 12)
    s.wait_lines(s.lines() + 2)
    s.end()
    pushed, written = good.requests(), read(s.file)
    assert [p.intervals for p in pushed] == sorted({w.intervals for w in written})
    turns = [p.observer.attributes["turn"] for p in pushed]
    assert turns == sorted(turns) and set(turns) == {"first", "second"}
    assert longest_interval(tmp_path) < 0.8 * CLOSE_S


def test_reload_without_an_endpoint(serve, receiver, sleeper, tmp_path):
    """It is let go of in its own time, while intervals go on; what could not be sent is told then."""
    r = receiver(answer=lambda n: None)
    s = serve([sleeper.pid], otlp={"endpoint": f"http://127.0.0.1:{r.port}", "timeout": "60s"},
              more=f"recordings: {{directory: {tmp_path}/r, compress: false}}\n")
    s.wait("a request", lambda: r.seen)
    reload(s, f"endpoint: http://127.0.0.1:{r.port}", "file_size: 1M")
    lines = s.lines()
    assert "were not sent" not in s.said()
    s.wait("its end", lambda: "requests were not sent" in s.said())
    assert s.lines() > lines + 10
    s.end()
    assert longest_interval(tmp_path) < 0.8 * CLOSE_S


def certificate(folder, name):
    """Self-signed, of one host; its file, and a server's side of TLS."""
    pem, key = folder / f"{name}.pem", folder / f"{name}-key.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=collector",
                    "-addext", f"subjectAltName={name}", "-keyout", key, "-out", pem], check=True, stderr=subprocess.DEVNULL)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(pem, key)
    return pem, tls


def test_https(serve, receiver, sleeper, tmp_path):
    """With the authority named all arrives, password and all; without it, or under another name, nothing, and one line says why."""
    pem, tls = certificate(tmp_path, "IP:127.0.0.1")
    r = receiver(tls=tls)
    s = serve([sleeper.pid], otlp={"endpoint": f"https://127.0.0.1:{r.port}", "ca": pem, "headers": "{Authorization: Basic dTpw}"})
    s.wait("pushes", lambda: len(r.taken) >= 3)
    assert s.end() == ""
    assert [p.intervals for p in r.requests()] == [w.intervals for w in read(s.file)]
    assert all(h["Authorization"] == "Basic dTpw" for _, _, h in r.seen)


@pytest.mark.parametrize("trusted, host", [(False, "IP:127.0.0.1"), (True, "DNS:elsewhere.example")], ids=["self-signed", "another host's"])
def test_https_that_is_not_trusted(serve, receiver, sleeper, tmp_path, trusted, host):
    pem, tls = certificate(tmp_path, host)
    r = receiver(tls=tls)
    s = serve([sleeper.pid], otlp={"endpoint": f"https://127.0.0.1:{r.port}", **({"ca": pem} if trusted else {})})
    s.wait_lines(10)
    said = s.end().splitlines()
    assert not r.seen, "nothing was sent to a stranger"
    assert len(said) == 2 and "requests were not sent" in said[1], said
    assert re.search("does not match" if trusted else "certificate verification failed", said[0]) and "the key ca" in said[0] and "CAfile" not in said[0], said


def test_https_without_the_authorities_file(stakeout, sleeper):
    config = stakeout.folder / "c.yaml"
    config.write_text(f"targets: [{{pid: {sleeper.pid}}}]\notlp: {{endpoint: 'https://127.0.0.1:1', ca: /nonexistent/ca.pem}}\n")
    done = stakeout("serve", "-c", config)
    assert done.returncode == 5 and done.stderr == b"stakeout: OTLP push: cannot read /nonexistent/ca.pem: No such file or directory\n"


@pytest.mark.parametrize("url", ["ftp://x", "127.0.0.1:4318", "http://", "http://a b/", "http://x:99999", "http://x/?a=b"])
def test_bad_endpoint(stakeout, sleeper, url):
    config = stakeout.folder / "c.yaml"
    config.write_text(f"targets: [{{pid: {sleeper.pid}}}]\notlp:\n  endpoint: '{url}'\n")
    done = stakeout("serve", "-c", config)
    said = done.stderr.decode()
    assert done.returncode in (2, 5) and len(said.splitlines()) == 1 and url in said and "http://" in said, said


def test_file_is_rotated_by_size(serve, sleeper, stakeout):
    s = serve([sleeper.pid], otlp={"file_size": "64K"})
    older = stakeout.folder / "m.jsonl.1"
    s.wait("the second rotation", lambda: older.exists() and s.lines() and json.loads(older.open().readline()) and read(older)[0].intervals > 1)
    s.end()
    before, now = read(older), read(s.file)
    intervals = [r.intervals for r in before + now]
    assert intervals == list(range(intervals[0], intervals[0] + len(intervals))), "none is missing in between"
    assert older.stat().st_size <= 65536 and s.file.stat().st_size <= 65536
    assert {f for f in stakeout.files() if f.startswith("m.")} == {"m.jsonl", "m.jsonl.1"}


def test_file_goes_on_where_it_ended(serve, sleeper, stakeout):
    """A line that was cut off when the machine ended is taken out; lines before stay; who moves the file gets a new one."""
    file = stakeout.folder / "m.jsonl"
    first = serve([sleeper.pid], otlp={})
    first.wait_lines(3)
    first.end()
    whole = file.read_bytes()
    file.write_bytes(whole + whole[:1000])
    second = serve([sleeper.pid], otlp={})
    second.wait_lines(whole.count(b"\n") + 3)
    assert file.read_bytes().startswith(whole) and file.read_bytes()[len(whole):len(whole) + 1000] != whole[:1000]
    file.rename(stakeout.folder / "moved")
    second.wait("a new file", lambda: second.lines() >= 2)
    second.end()
    intervals = [r.intervals for r in read(stakeout.folder / "moved", file)][whole.count(b"\n"):]
    assert intervals == list(range(1, len(intervals) + 1))


def test_file_of_another_kind_is_left_alone(stakeout, sleeper):
    (stakeout.folder / "m").write_text("precious")
    config = stakeout.folder / "c.yaml"
    config.write_text(f"targets: [{{pid: {sleeper.pid}}}]\notlp: {{file: {stakeout.folder}/m}}\n")
    done = stakeout("serve", "-c", config)
    assert done.returncode == 5 and b"something else" in done.stderr and (stakeout.folder / "m").read_text() == "precious"


def test_disk_full(serve, sleeper, stakeout):
    """No half a line; it goes on when there is room again."""
    disk = stakeout.folder / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k", "none", disk]).returncode:
        pytest.skip("kernel: no tmpfs can be mounted")
    try:
        file, filler = disk / "m.jsonl", disk / "filler"
        filler.write_bytes(b"x" * 65536)
        s = serve([sleeper.pid], otlp={"file": file})
        s.wait("the disk to be full", lambda: "No space left" in s.said())
        assert read(file)
        filler.unlink()
        s.wait("room to be used", lambda: file.stat().st_size > 65536)
        said = s.end()
        assert said.count("No space left") <= 2, said  # it may be full once more
        intervals = [r.intervals for r in read(file)]
        assert intervals == sorted(set(intervals)) and intervals[0] == 1
    finally:
        subprocess.run(["umount", "-l", disk], check=True)
