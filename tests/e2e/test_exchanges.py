# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""Exchanges against the clocks of those who made them: the clients' own, and the servers' that know when they wrote what."""
import csv
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest
from conftest import ROOT, Agents, Stakeout, buckets, quantile, rank, wait_for
from services import (ENV, PYTHON, Services, client, client_times, counter, exact, finish, free_port, hist_count, observe, open_services,
                      peer, same_time, watch)


@pytest.fixture
def services(tmp_path):
    yield from open_services(tmp_path)


def agrees(hist, said_ns, qs=(0.5, 0.99), **close):
    """The quantiles of exchange_ns are what a client measured itself."""
    for q in qs:
        same_time(quantile(hist, q), exact(said_ns, q), **close)


def same_sums(agent, one):
    """All that the agent exchanged, it exchanged with this peer."""
    for name in ("exchanges", "errors_unanswered", "errors_reset", "errors_other"):
        assert counter(agent, name) == counter(one, name)
    assert agent["hist"]["exchange_ns"] == one["hist"]["exchange_ns"]
    assert hist_count(one, "exchange_ns") == counter(one, "exchanges")


# Clients that others wrote.


@pytest.fixture
def redis(services):
    port = free_port()
    services.daemon(["redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", services.folder], port)
    return port


@pytest.mark.parametrize("connections,count", [(1, 20000), (50, 60000)])
def test_redis_benchmark(stakeout, redis, connections, count):
    recording, out = watch(stakeout, "redis-benchmark", "-p", redis, "-c", connections, "-n", count, "-t", "get", "--csv")
    (said,) = csv.DictReader(io.StringIO(out))
    seen = peer(recording.agent(), redis)
    # One more, by which it asks for the server's configuration, on a connection of its own.
    assert counter(seen, "exchanges") == count + 1
    assert counter(seen, "connects") == connections + 1
    assert counter(seen, "errors_unanswered") == 0
    assert not seen.get("multiplexed")
    for q in (50, 99):
        same_time(quantile(seen["hist"]["exchange_ns"], q / 100), float(said[f"p{q}_latency_ms"]) * 1e6)
    assert seen["hist"]["request_bytes"]["sum"] == counter(seen, "sent_bytes")
    assert seen["hist"]["answer_bytes"]["sum"] == counter(seen, "received_bytes")
    same_sums(recording.agent(), seen)


@pytest.fixture
def postgres(services):
    """A database whose server runs under no privileged user: (directory of its programs, port, environment)."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    assert programs, "no PostgreSQL here: tools/install-deps test"
    folder, port = Path(tempfile.mkdtemp(prefix="stakeout-pg-")), free_port()
    shutil.chown(folder, "postgres")
    user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    subprocess.run([*user, programs[-1] / "initdb", "-D", folder / "db", "-A", "trust", "-U", "postgres", "-N"], check=True,
                   stdout=subprocess.DEVNULL, cwd=folder)
    services.daemon([*user, programs[-1] / "postgres", "-D", folder / "db", "-p", port, "-h", "127.0.0.1", "-k", folder, "-F"], port,
                    cwd=folder, stderr=subprocess.DEVNULL)
    env = dict(ENV, PGHOST="127.0.0.1", PGPORT=str(port), PGUSER="postgres", PGSSLMODE="disable", PGGSSENCMODE="disable")
    ready = [programs[-1] / "psql", "-q", "-c", "create table t as select g id, g v from generate_series(1, 1000) g"]
    wait_for("the database", lambda: subprocess.run(ready, env=env, stderr=subprocess.DEVNULL).returncode == 0)
    yield programs[-1], port, env
    shutil.rmtree(folder, ignore_errors=True)


def test_pgbench(stakeout, postgres):
    """A transaction is one statement, hence one exchange; its time stands in the log."""
    programs, port, env = postgres
    script = Path(stakeout.folder) / "script.sql"
    script.write_text("\\set id random(1, 1000)\nSELECT v FROM t WHERE id = :id;\n")
    recording, _ = watch(stakeout, programs / "pgbench", "-n", "-M", "simple", "-c", 4, "-t", 3000, "-f", script, "--log", env=env)
    (log,) = Path(stakeout.folder).glob("pgbench_log.*")
    said = [int(line.split()[2]) * 1000 for line in log.read_text().splitlines()]
    seen = peer(recording.agent(), port)
    # Each connection begins with an exchange, and there is one more, on which it looks round.
    assert counter(seen, "connects") == 5
    assert counter(seen, "exchanges") == len(said) + 5 == 12005
    assert counter(seen, "errors_unanswered") == 0  # they end with a message that is not answered
    agrees(seen["hist"]["exchange_ns"], said)
    same_sums(recording.agent(), seen)


@pytest.fixture
def nginx(services):
    folder, port = services.folder, free_port()
    paths = "".join(f"{kind}_temp_path {folder}/{kind}; " for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    (folder / "conf").write_text(f"""
daemon off; worker_processes 1; pid {folder}/pid; error_log stderr;
events {{ worker_connections 512; }}
http {{ access_log off; keepalive_requests 100000000; {paths}
server {{ listen 127.0.0.1:{port}; location / {{ return 200 "hello\\n"; }} }} }}
""")
    services.daemon(["nginx", "-p", folder, "-c", folder / "conf", "-e", "stderr"], port, stderr=subprocess.DEVNULL)
    return port


WRK_SCRIPT = """
done = function(summary, latency)
  io.write(string.format('{"p50_us": %d, "p99_us": %d, "requests": %d, "duration_us": %d}\\n', latency:percentile(50),
           latency:percentile(99), summary.requests, summary.duration))
end
"""


def corrected(pairs, interval):
    """wrk adds, for each answer that took longer than two intervals between requests, those that would have waited for it."""
    added = list(pairs)
    for value, count in pairs:
        if value >= 2 * interval:
            while (value := value - interval) > interval:
                added.append((value, count))
    return sorted(added)


@pytest.mark.parametrize("headers", [[], ["-H", "Connection: close"]], ids=["keep-alive", "close"])
def test_wrk(stakeout, nginx, headers):
    connections, script = 4, Path(stakeout.folder) / "script.lua"
    script.write_text(WRK_SCRIPT)
    recording, out = watch(stakeout, "wrk", "-t", 1, "-c", connections, "-d", "2s", "--latency", "-s", script, *headers,
                           f"http://127.0.0.1:{nginx}/")
    said = json.loads(out.splitlines()[-1])
    seen = peer(recording.agent(), nginx)
    assert counter(seen, "exchanges") == said["requests"]
    # One connection only tries whether there is a server; those at work when the time is up count for wrk only with their answer.
    if headers:
        assert said["requests"] < counter(seen, "connects") <= said["requests"] + 1 + connections
    else:
        assert counter(seen, "connects") == connections + 1
    assert counter(seen, "errors_unanswered") <= connections
    interval_ns = said["duration_us"] // (said["requests"] // connections) * 1000
    pairs = corrected(list(buckets(seen["hist"]["exchange_ns"])), interval_ns)
    for q in (50, 99):
        same_time(rank(pairs, q / 100), said[f"p{q}_us"] * 1000)
    same_sums(recording.agent(), seen)


# The demo agent stamps when its own code goes on; this adds when its bytes were written and read.
DEMO = f"""
import runpy, sys, time
agent = runpy.run_path({str(ROOT / "tools/demo/agent.py")!r}, run_name="agent")
times = {{}}
class Connection(agent["Connection"]):
    async def send(self, data):
        self.reader.exchange = [self.kind, time.monotonic_ns(), 0]
        times.setdefault(self.kind, []).append(self.reader.exchange)
        await super().send(data)
class CountingProtocol(agent["CountingProtocol"]):
    def __init__(self, reader, *args):
        self.answered = reader
        super().__init__(reader, *args)
    def data_received(self, data):
        self.answered.exchange[2] = time.monotonic_ns()
        super().data_received(data)
names = agent["main"].__globals__
names.update(Connection=Connection, CountingProtocol=CountingProtocol)
agent["main"]()
for kind, all in times.items():
    print(kind, *(end - start for kind, start, end in all))
"""


def test_demo_agent(stakeout):
    services = subprocess.run([PYTHON, ROOT / "tools/demo/services.py", "--daemon", "--while-pid", str(os.getpid())],
                              stdout=subprocess.PIPE, check=True, text=True).stdout.strip()
    ports, books = json.loads(services), Path(stakeout.folder) / "books.json"
    recording, out = watch(stakeout, PYTHON, "-c", DEMO, "--services", services, "--steps", 25, "--tools", 1, "--threads", 0,
                           "--model-delay-ms", 60, "--cpu-ms", 5, "--raw", "--json", books)
    timings = json.loads(books.read_text())["timings"]
    read = {kind: list(map(int, ns)) for kind, *ns in map(str.split, out.splitlines()) if kind in ports}
    for kind, timing in (("model", "model"), ("db", "query"), ("cache", "cache")):
        seen, said = peer(recording.agent(), ports[kind]), timings[timing]["raw_ns"]
        assert counter(seen, "exchanges") == len(said) == len(read[kind])
        assert counter(seen, "errors_unanswered") == 0
        agrees(seen["hist"]["exchange_ns"], read[kind], ns=150_000)  # Python's own steps between its clock and the socket
        if kind != "cache":  # takes less than the turns of the event loop between reading and going on
            agrees(seen["hist"]["exchange_ns"], said, [0.5], ns=150_000)
        # No answer is there before it was read.
        assert seen["hist"]["exchange_ns"]["sum"] < sum(said)
    model = peer(recording.agent(), ports["model"])
    same_time(quantile(model["hist"]["chunk_gap_ns"], 0.5), exact(timings["token_gap"]["raw_ns"], 0.5), ns=1_000_000)
    same_time(quantile(model["hist"]["ttfb_ns"], 0.5), exact(timings["model_first_byte"]["raw_ns"], 0.5), ns=1_000_000)


def test_node_fetch_over_tls(stakeout, services):
    count, server = 150, services.server("--first-ms", 20, 60, tls=True)
    recording, out = watch(stakeout, *client("node", count, f"https://127.0.0.1:{server.port}/"))
    seen, said = peer(recording.agent(), server.port), client_times(out)[0]
    assert counter(seen, "exchanges") == len(said) == count
    assert counter(seen, "errors_unanswered") == 0
    agrees(seen["hist"]["exchange_ns"], said)
    if recording.probe("names")["state"] == "on":
        assert hist_count(seen, "handshake_ns") == counter(seen, "connects")


# A model that streams, and what it says of when it wrote what.

CHUNKS, REQUESTS, CONNECTIONS = 24, 6, 6
STREAMED = {  # client, options, URL scheme
    "sync-plain": ("sync", ["--threads"], "http"),
    "sync-tls": ("sync", ["--threads"], "https"),
    "sync-tls-close": ("sync", ["--threads", "--close"], "https"),
    "node-plain": ("node", ["--threads"], "http"),
    "node-tls": ("node", ["--threads"], "https"),
}


@pytest.fixture(scope="module")
def streamed(tmp_path_factory):
    """All clients at once, as agents of one recording: (what was seen of the peer, the server's books) of each."""
    folder = tmp_path_factory.mktemp("stream")
    agents = Agents()
    try:
        services, clients, servers = Services(folder, agents), {}, {}
        for seed, (name, (kind, options, scheme)) in enumerate(STREAMED.items()):
            servers[name] = services.server("--first-ms", 20, 5000, "--gap-ms", 5, 200, "--chunks", CHUNKS, "--seed", seed,
                                            tls=scheme == "https")
            url = f"{scheme}://127.0.0.1:{servers[name].port}/v1/messages"
            clients[name] = services.gated(*client(kind, *options, REQUESTS, *[url] * CONNECTIONS))
        observer, out = observe(Stakeout(folder), clients.values())
        for process in clients.values():
            process.stdin.write("go\n")
            process.stdin.flush()
        for process in clients.values():
            process.communicate(timeout=300)
            assert process.returncode == 0
        recording = finish(observer, out)
    finally:
        agents.close()
    return recording, {name: (peer(recording.agent(clients[name].pid), servers[name].port), servers[name].truth()) for name in STREAMED}


@pytest.mark.parametrize("name", STREAMED)
def test_streamed_requests_are_counted(streamed, name):
    seen, truth = streamed[1][name]
    assert counter(seen, "exchanges") == len(truth) == REQUESTS * CONNECTIONS
    assert counter(seen, "errors_unanswered") == 0
    assert not seen.get("multiplexed")


def agree_with_server(name, hist, said_ns):
    """The median closely, the tails roughly. First bytes are few and far between, and one of them, or some where TLS session tickets
    come ahead of every answer, may be in a neighbour's place: a client that is preempted within its send begins late."""
    places = 0.1 if name == "sync-tls-close" else 0.04
    for q, share, ns in ((0.1, 0.05, 3e6), (0.5, 0.02, 1e6), (0.9, 0.05, 3e6)):
        seen_ns = quantile(hist, q)
        nearest_ns = min(max(seen_ns, exact(said_ns, q - places)), exact(said_ns, q + places))
        same_time(seen_ns, nearest_ns, share, ns)


@pytest.mark.parametrize("name", STREAMED)
def test_time_to_first_byte(streamed, name):
    seen, truth = streamed[1][name]
    said = [t["sent_ns"][0] - t["received_ns"] for t in truth]
    assert hist_count(seen, "ttfb_ns") == len(said)
    agree_with_server(name, seen["hist"]["ttfb_ns"], said)


@pytest.mark.parametrize("name", STREAMED)
def test_gaps_between_chunks(streamed, name):
    seen, truth = streamed[1][name]
    said = [b - a for t in truth for a, b in zip(t["sent_ns"], t["sent_ns"][1:])]
    # Chunks that arrive before the client, which may want for CPU, gets to read are one burst.
    tickets = counter(seen, "connects") if "tls" in name else 0
    assert 0.9 * len(said) <= hist_count(seen, "chunk_gap_ns") <= len(said) + tickets
    agree_with_server(name, seen["hist"]["chunk_gap_ns"], said)


@pytest.mark.parametrize("name", STREAMED)
def test_whole_streams(streamed, name):
    seen, truth = streamed[1][name]
    said = [t["sent_ns"][-1] - t["received_ns"] for t in truth]
    agree_with_server(name, seen["hist"]["exchange_ns"], said)


@pytest.mark.parametrize("name", [name for name in STREAMED if "tls" in name])
def test_handshakes_are_no_exchanges(streamed, name):
    recording, of = streamed
    if recording.probe("names")["state"] != "on":
        pytest.skip(f"kernel: names: {recording.probe('names')['why']}")
    seen, _ = of[name]
    assert hist_count(seen, "handshake_ns") == counter(seen, "connects") > 0


# Whose fault is it?


def test_blocked_event_loop(stakeout, services):
    """The server answers at once; the client's loop is blocked. That is the client's time, not the server's."""
    count, block_ns, server = 10, 300e6, services.server()
    recording, _ = watch(stakeout, *client("asyncio", "--block-ms", block_ns / 1e6, count, f"http://127.0.0.1:{server.port}/"))
    agent, truth = recording.agent(), server.truth()
    seen = peer(agent, server.port)
    assert counter(seen, "exchanges") == len(truth) == count
    assert hist_count(seen, "pickup_ns") == hist_count(seen, "ttfb_ns") == count
    said = [t["sent_ns"][0] - t["received_ns"] for t in truth]
    same_time(quantile(seen["hist"]["ttfb_ns"], 0.5), exact(said, 0.5), 0.02, 1_000_000)
    assert seen["hist"]["ttfb_ns"]["max"] < block_ns / 2
    same_time(quantile(seen["hist"]["pickup_ns"], 0.5), block_ns, 0.02)
    same_time(seen["hist"]["pickup_ns"]["sum"], count * block_ns, 0.02)
    same_time(quantile(seen["hist"]["exchange_ns"], 0.5), block_ns, 0.02)
    blocked = agent["hist"]["loop_blocked_sleep_ns"]
    assert blocked["count"] == count
    same_time(blocked["sum"], count * block_ns, 0.02)
    assert agent["hist"]["loop_blocked_ns"]["sum"] >= blocked["sum"]
    assert sum(n for ns, n in buckets(agent["hist"]["loop_busy_ns"]) if ns > block_ns * 0.98) in (count - 1, count)  # the last ends it
    assert agent["ledger"]["main_s"]["sleep"] > 0.98 * count * block_ns / 1e9


# Connections that were there before.


def test_attach_to_open_connections(stakeout, services):
    """On each, one exchange was before: what counts begins with the first send that is seen, and on which side, is seen too."""
    count, plain, tls, echo = 50, services.server(), services.server(tls=True), services.server("--speak", "echo")
    urls = [f"http://127.0.0.1:{plain.port}/", f"https://127.0.0.1:{tls.port}/", f"line://127.0.0.1:{echo.port}/"]
    process = services.agents(*client("sync", "--wait", "--warm", count, *urls), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    observer, out = observe(stakeout, [process, echo.process])
    process.stdin.write("go\n")
    process.stdin.flush()
    said = []
    while (line := process.stdout.readline()) != "done\n":
        said.append(line)
    recording = finish(observer, out, signal.SIGINT)
    said = client_times("".join(said))
    agent, served = recording.agent(process.pid), recording.agent(echo.process.pid)
    assert counter(agent, "connects") == 0 == counter(served, "accepts")
    for number, server in enumerate((plain, tls, echo)):
        seen = peer(agent, server.port)
        assert counter(seen, "exchanges") == len(said[number]) == count
        assert seen["hist"]["exchange_ns"]["sum"] < sum(said[number])
    agrees(seen["hist"]["exchange_ns"], said[number], [0.5])  # of the last: the other protocols take time of the client's own
    assert counter(agent, "exchanges") == 3 * count
    assert counter(agent, "exchanges_served") == 0 == counter(served, "exchanges")
    assert counter(served, "exchanges_served") == count
    assert counter(peer(served, echo.port, "server"), "exchanges_served") == count
    truth = [t["sent_ns"][0] - t["received_ns"] for t in echo.truth()][1:]
    assert hist_count(served, "serve_ns") == count
    # Served is from the request's arrival on, which is before it was read.
    assert quantile(served["hist"]["serve_ns"], 0.5) > 0.98 * exact(truth, 0.5)
    assert quantile(served["hist"]["serve_ns"], 0.5) < quantile(agent["hist"]["exchange_ns"], 0.99)


def test_attach_in_the_middle_of_an_exchange(stakeout, agents):
    """Its request was not seen, so its answer is none; from the next on all are."""
    count = 5
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        process = agents(*client("sync", count, f"line://127.0.0.1:{port}/"), stdout=subprocess.PIPE, text=True)
        connection, _ = listener.accept()
        with connection, connection.makefile("rwb", 0) as stream:
            assert stream.readline() == b"hello\n"
            observer, out = observe(stakeout, [process])
            stream.write(b"hello\n")
            for _ in range(count - 1):
                assert stream.readline() == b"hello\n"
                stream.write(b"hello\n")
            assert not stream.readline()
        recording = finish(observer, out)
    seen = peer(recording.agent(process.pid), port)
    assert counter(seen, "exchanges") == hist_count(seen, "exchange_ns") == count - 1
    assert counter(seen, "errors_unanswered") == 0


# Errors, by kind.

FAIL = """
import socket, struct, sys
count, port, kind = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
for _ in range(count):
    try:
        s = socket.create_connection(("127.0.0.1", port))
        s.sendall(b"hello")
        answer = s.recv(100)
        print("closed" if not answer else "answered")
    except ConnectionRefusedError:
        print("refused")
    except ConnectionResetError:
        print("reset")
"""
KINDS = ("refused", "timed_out", "unreachable", "reset", "unanswered", "other")


def only_error(of, kind, count):
    assert {k: counter(of, f"errors_{k}") for k in KINDS} == {k: count if k == kind else 0 for k in KINDS}


def test_refused(stakeout):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))  # and does not listen
        port = s.getsockname()[1]
        recording, out = watch(stakeout, PYTHON, "-c", FAIL, 7, port, "refused")
    assert out.split() == ["refused"] * 7
    agent = recording.agent()
    only_error(agent, "refused", 7)
    only_error(peer(agent, port), "refused", 7)
    assert counter(agent, "connects") == 0 and counter(agent, "connects_failed") == 7
    assert counter(agent, "exchanges") == 0


@pytest.mark.parametrize("speak,said,kind", [("reset", "reset", "reset"), ("close", "closed", "unanswered")])
def test_no_answer(stakeout, services, speak, said, kind):
    server = services.server("--speak", speak)
    recording, out = watch(stakeout, PYTHON, "-c", FAIL, 7, server.port, kind)
    assert out.split() == [said] * 7
    agent = recording.agent()
    only_error(agent, kind, 7)
    only_error(peer(agent, server.port), kind, 7)
    assert counter(agent, "connects") == 7
    assert counter(agent, "exchanges") == 0 == hist_count(agent, "exchange_ns")


NOBODY = '''
import errno, socket, subprocess, sys
def ip(*args):
    subprocess.run(["ip", *args], check=True)
def connect(address):
    s = socket.socket()
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 500)
    s.connect(address)
    return s
def answer(address):
    client, (server, _) = connect(address), listener.accept()
    client.sendall(b"one"), server.recv(3), server.sendall(b"two"), client.recv(3)
    ip("link", "set", "lo", "down")
    client.sendall(b"three")
    client.recv(5)
def nobody(address):
    """On a link, but nobody answers when the kernel asks who has the address."""
    ip("link", "add", "left", "type", "veth", "peer", "name", "right")
    ip("addr", "add", "192.0.2.1/24", "dev", "left")
    for end in ("left", "right"):
        ip("link", "set", end, "up")
    for name, value in (("retrans_time_ms", 20), ("mcast_solicit", 1)):
        with open(f"/proc/sys/net/ipv4/neigh/left/{name}", "w") as f:
            f.write(str(value))
    connect(address)
ip("link", "set", "lo", "up")
listener = socket.create_server(("127.0.0.1", 0), backlog=8)
address = listener.getsockname()
try:
    if sys.argv[1] == "answer":
        answer(address)
    elif sys.argv[1] == "connect":
        listener.listen(0)
        queue = [connect(address) for _ in range(3)]
    else:
        address = ("192.0.2.2", 80)
        nobody(address)
except OSError as err:
    print(address[1], errno.errorcode[err.errno])
'''


@pytest.mark.parametrize("what,kind,said", [("connect", "timed_out", "ETIMEDOUT"), ("answer", "timed_out", "ETIMEDOUT"),
                                            ("unreachable", "unreachable", "EHOSTUNREACH")])
def test_nobody_there(stakeout, what, kind, said):
    """In a network of its own, whose only link goes down; or a listener whose queue is full."""
    recording, out = watch(stakeout, "unshare", "-n", PYTHON, "-c", NOBODY, what)
    port, error = re.fullmatch(r"(\d+) (\w+)\n", out).groups()
    assert error == said
    agent = recording.agent()
    assert counter(agent, f"errors_{kind}") == 1
    assert counter(peer(agent, port), f"errors_{kind}") == 1
    assert counter(agent, "connects_failed") == (what != "answer")
    assert counter(agent, "exchanges") == (what == "answer")
