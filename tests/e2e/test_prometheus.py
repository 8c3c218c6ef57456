# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""Pages of metrics: what Debian's Prometheus, promtool and node_exporter make of them, who else asks, and what strangers send."""
import contextlib
import gzip
import http.client
import itertools
import json
import math
import os
import re
import resource
import socket
import ssl
import stat
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest
from conftest import HANG_S, ROOT, STAKEOUT, Recording, buckets, rank, wait_for
from prometheus_client import parser as text_parser
from prometheus_client.openmetrics import parser as open_parser
from prometheus_stack import Networks, Process, Prometheus, Serve, UnixConnection, expressions, free_port, get

PYTHON = "/usr/bin/python3"
TOOLS = ROOT / "tools"
RULES = [TOOLS / "prometheus/recording.yml", TOOLS / "prometheus/alerts.yml"]
HOSTS = 3
CROWD = 10000  # connections, held open
HEADERS_BYTES = 17 * 1024  # of a connection: what its request may have, and what goes with it
OPENMETRICS = {"Accept": "application/openmetrics-text;version=1.0.0"}
BASE = 2 ** (1 / 32)  # a bucket
SHIFT = 957  # buckets: 10^9, nearly
QUANTILES = (0.5, 0.9, 0.99)


def config(listen, more="", targets="[{match: no-such-process-there}]", prometheus=""):
    # A busy machine must not take any detail.
    return f"interval: 200ms\nbudget: 100\ntargets: {targets}\nprometheus:\n  listen: {listen}\n{prometheus}{more}"


# --- three hosts, one Prometheus ---


class Fleet:
    """Three daemons in networks of their own, each with an agent, scraped by one Prometheus, from the agents' begin to their end."""

    def __init__(self, folder, networks):
        self.daemons, self.agents, self.folder = [], [], folder
        services = subprocess.run([PYTHON, TOOLS / "demo/services.py", "--daemon", "--while-pid", str(os.getpid())],
                                  stdout=subprocess.PIPE, check=True).stdout.decode().strip()
        ports = json.loads(services)
        peers = [f"127.0.0.1:{ports[name]}={kind}/{name}" for name, kind in (("model", "llm"), ("db", "db"), ("cache", "cache"))]
        for n, (name, address) in enumerate(networks.names):
            mark = f"{folder}/agent-{n}.json"
            self.daemons.append(Serve(folder, f"serve-{n}", config(
                f"{address}:9469", f"peers: {json.dumps(peers)}\nrecordings:\n  directory: {folder}/recordings-{n}\n  compress: false\n",
                f"[{{match: '{mark}', name: demo-agent}}]"), f"{address}:9469", name))
        for d in self.daemons:
            d.ready()
        self.prometheus = Prometheus(folder, [d.address for d in self.daemons], RULES)
        self.prometheus.ready()
        for n in range(len(self.daemons)):
            self.agents.append(Process(folder, f"agent-{n}", [
                PYTHON, TOOLS / "demo/agent.py", "--services", services, "--seconds", "9", "--model-delay-ms", 60 + 40 * n, "--cpu-ms", "30",
                "--tools", "6", "--json", f"{folder}/agent-{n}.json"]))

    def run(self):
        wait_for("an agent on each host", lambda: self.prometheus.value("sum(stakeout_agent_alive)") == HOSTS)
        for agent in self.agents:
            agent.process.wait(timeout=HANG_S)
        # A page says at once that an agent is over and what it came to.
        wait_for("the end of the agents", lambda: self.prometheus.value("sum(stakeout_agent_alive)") == 0)
        self.over = time.time()

    def had(self, expr):
        """The highest value that each series had while all of it ran."""
        return [value for _, value in self.prometheus.query(f"max_over_time(({expr})[3m:1s])", self.over)]

    def end(self):
        """Ends the daemons; the sums of their recordings, all hosts together."""
        for d in self.daemons:
            assert d.end() == 0, d.said()
        self.recordings = [Recording(path) for n in range(HOSTS) for path in sorted((self.folder / f"recordings-{n}").iterdir())]

    def close(self):
        for p in [*self.agents, *self.daemons, *([self.prometheus] if hasattr(self, "prometheus") else [])]:
            p.kill()


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    networks = Networks(HOSTS)
    f = None
    try:
        f = Fleet(tmp_path_factory.mktemp("fleet"), networks)
        f.run()
        yield f
    finally:
        if f:
            f.close()
        networks.close()


def test_every_rule_evaluates_with_data(fleet):
    groups = fleet.prometheus.api("rules")["groups"]
    rules = [r for g in groups for r in g["rules"]]
    assert len(rules) > 20
    for rule in rules:
        assert rule["health"] == "ok", rule
        # What an alert compares has to be there; whether it is above its threshold is another matter.
        expr = rule["query"] if rule["type"] == "recording" else re.match(r"(?s)(.*) [<>] [\d.]+$", rule["query"]).group(1)
        assert fleet.had(expr), rule["query"]


def test_every_query_of_the_dashboard_has_data(fleet):
    dashboard = json.loads((TOOLS / "grafana/stakeout.json").read_text())
    queries = list(expressions(dashboard))
    assert len(queries) > 40
    for title, expr in queries:
        fleet.prometheus.query(expr)
        assert any(not math.isnan(value) for value in fleet.had(expr)), f"{title}: {expr}"
    ids = [p["id"] for p in dashboard["panels"]]
    assert len(ids) == len(set(ids))


def test_native_histograms_are_the_recordings(fleet):
    """Bucket by bucket over all hosts, and by quantiles as PromQL takes them."""
    fleet.end()
    ours = {}
    for recording in fleet.recordings:
        for interval in recording.intervals:
            for agent in interval["agents"]:
                for name, hist in agent["hist"].items():
                    whole = ours.setdefault(name, {"scale": 5, "count": 0, "sum": 0, "min": math.inf, "max": 0, "zero_count": 0, "buckets": Counter()})
                    assert hist["scale"] == 5
                    for key in ("count", "sum", "zero_count"):
                        whole[key] += hist[key]
                    whole["min"], whole["max"] = min(whole["min"], hist["min"]), max(whole["max"], hist["max"])
                    whole["buckets"].update(dict(enumerate(hist["bucket_counts"], hist["offset"])))
    assert {"oncpu_ns", "runq_ns", "exchange_ns", "ttfb_ns", "tool_ns", "send_bytes", "map_bytes"} <= set(ours)
    for name, whole in ours.items():
        unit, shift = (1e-9, SHIFT) if name.endswith("_ns") else (1, 0)
        metric = "stakeout_" + re.sub("_ns$", "_seconds", name)
        offset = min(whole["buckets"])
        whole["offset"], whole["bucket_counts"] = offset, [whole["buckets"][i] for i in range(offset, max(whole["buckets"]) + 1)]
        assert fleet.prometheus.value(f"histogram_count(sum({metric}))", fleet.over) == whole["count"], name
        total = fleet.prometheus.value(f"histogram_sum(sum({metric}))", fleet.over)
        assert total == pytest.approx(whole["sum"] * unit, rel=1e-9), name
        theirs = Counter()
        for _, low, high, count in fleet.prometheus.value(f"sum({metric})", fleet.over)["buckets"]:
            if float(low) > 0:
                theirs[round(32 * math.log2(float(high))) - 1 + shift] += int(float(count))
            else:
                assert int(float(count)) == whole["zero_count"]
        assert theirs == +whole["buckets"], name
        for q in QUANTILES:
            got = fleet.prometheus.value(f"histogram_quantile({q}, sum({metric}))", fleet.over) / unit
            want = rank(buckets(whole), q)
            assert got <= 1 if want < 1 else want / BASE ** 1.5 <= got <= want * BASE ** 1.5, (name, q)


# --- files and formats ---


@pytest.fixture
def serve(tmp_path):
    started = []

    def start(text=None, prometheus="", **kwargs):
        address = kwargs.pop("address", None) or f"127.0.0.1:{free_port()}"
        started.append(Serve(tmp_path, f"serve-{len(started)}", text or config(address, prometheus=prometheus, **kwargs), address))
        return started[-1]

    yield start
    for s in started:
        s.kill()


HOSTILE = [b"x\"y", b"x\\y", b"new\nline", b"\xff\xfe", b"\xfd\xfe", b"\x1b[31mred", b"{}=,#", b"(other)", "h\u00fclle".encode()]


@pytest.fixture
def hostile_agent(agents, tmp_path):
    """It runs tools by names that no label may have as they are."""
    program = tmp_path / "hostile-agent.py"
    program.write_text("import subprocess, sys, time\n"
                       "while True:\n"
                       "    for name in sys.argv[1:]:\n"
                       "        subprocess.run([name], input=b'', check=True)\n"
                       "    time.sleep(0.05)\n")
    links = [os.fsencode(tmp_path) + b"/" + name for name in HOSTILE]
    for link in links:
        os.symlink("/bin/true", link)
    return agents(PYTHON, program, *map(os.fsdecode, links))


def samples(text, parse):
    """{name and labels: value}; a series that comes twice fails."""
    found = {}
    for family in parse.text_string_to_metric_families(text):
        for s in family.samples:
            key = (s.name, *sorted(s.labels.items()))
            assert key not in found, key
            found[key] = s.value
    return found


def test_text_file_for_node_exporter(serve, hostile_agent, tmp_path):
    folder = tmp_path / "textfiles"
    folder.mkdir()
    file = folder / "stakeout.prom"
    daemon = serve(prometheus=f"  textfile: {file}\n", targets=f"[{{pid: {hostile_agent.pid}, name: 'a \"b\" \\c'}}]").ready()

    def tools():
        return file.exists() and file.read_text().count("stakeout_tool_execs_total{") >= len(HOSTILE) - 1

    wait_for("a file with all tools", tools)
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    text = file.read_text()
    done = subprocess.run(["promtool", "check", "metrics"], input=text.encode(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    assert (done.returncode, done.stdout) == (0, b"")
    ours = samples(text, text_parser)
    names = {dict(key[1:])["tool"] for key in ours if key[0] == "stakeout_tool_execs_total"}
    assert names == {'x"y', "x\\y", "new?line", "??", "?[31mred", "{}=,#", "(other)", "h\u00fclle"}  # two of them are ??
    address = f"127.0.0.1:{free_port()}"
    exporter = Process(tmp_path, "node_exporter", ["prometheus-node-exporter", "--collector.disable-defaults", "--collector.textfile",
                                                   f"--collector.textfile.directory={folder}", f"--web.listen-address={address}"])
    try:
        def page():
            exporter.alive()
            try:
                return get(f"http://{address}/metrics")[2].decode()
            except OSError:
                return None

        told = samples(wait_for("node_exporter", page), text_parser)
        assert told[("node_textfile_scrape_error",)] == 0
        newer = samples(file.read_text(), text_parser)
        for key in ours:
            assert key in told or key not in newer, key
    finally:
        exporter.kill()
    assert daemon.end() == 0
    assert daemon.said() == ""
    assert list(folder.iterdir()) == []


def test_formats_agree(serve, sleeper):
    """The page as text and as OpenMetrics, by other people's readers."""
    daemon = serve(targets=f"[{{pid: {sleeper.pid}}}]", more="labels: {site: 'b\"1', rack: r}\n").ready()
    status, headers, body = get(daemon.url(), OPENMETRICS)
    assert status == 200 and headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
    opened = samples(body.decode(), open_parser)
    status, headers, body = get(daemon.url())
    assert headers["Content-Type"].startswith("text/plain; version=0.0.4")
    plain = samples(body.decode(), text_parser)
    assert {key[0] for key in plain} == {key[0] for key in opened}
    assert all(dict(key[1:])["site"] == 'b"1' and dict(key[1:])["rack"] == "r" for key in plain)
    status, headers, packed = get(daemon.url(), {"Accept-Encoding": "gzip", **OPENMETRICS})
    assert headers["Content-Encoding"] == "gzip" and len(packed) < len(body) / 3
    assert gzip.decompress(packed).endswith(b"# EOF\n")


# --- who asks ---


def test_password_and_tls(serve, tmp_path):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                    "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", tmp_path / "key.pem", "-out", tmp_path / "certificate.pem"],
                   check=True, stderr=subprocess.DEVNULL)
    (tmp_path / "password").write_text("s3cret:\u00fc\nnot this line\n")
    daemon = serve(prometheus=f"  user: scraper\n  password_file: {tmp_path}/password\n  tls_certificate: {tmp_path}/certificate.pem\n"
                              f"  tls_key: {tmp_path}/key.pem\n")
    trust = ssl.create_default_context(cafile=tmp_path / "certificate.pem")
    host, port = daemon.address.split(":")

    def ask(path, *auth):
        c = http.client.HTTPSConnection(host, int(port), context=trust, timeout=HANG_S)
        c.request("GET", path, headers={"Authorization": auth[0]} if auth else {})
        answer = c.getresponse()
        answer.read()
        c.close()
        return answer.status

    def basic(text):
        return subprocess.run(["base64", "-w0"], input=text.encode(), stdout=subprocess.PIPE, check=True).stdout.decode()

    def ready():
        daemon.alive()
        try:
            return ask("/readyz") == 200
        except OSError:
            return False

    wait_for("the daemon", ready)
    assert ask("/healthz") == 200
    assert ask("/metrics", "Basic " + basic("scraper:s3cret:\u00fc")) == 200
    wrong = ["", "Basic", "Basic ", "Basic !!!", "Bearer x", "Basic " + basic("scraper"), "Basic " + basic("scraper:s3cret:"), "Basic " + basic("scraper:s3cret:\u00fc\0"),
             "Basic " + basic("scraper:s3cret:\u00fcscraper:s3cret:\u00fc"), "Basic " + "A" * 5000]
    for auth in wrong:
        assert ask("/metrics", auth) == 401, auth
    assert ask("/metrics") == 401 and ask("/") == 401
    with socket.create_connection((host, int(port)), timeout=HANG_S) as s:  # somebody without TLS
        s.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        assert b"stakeout_" not in s.recv(1000)
    assert ask("/healthz") == 200
    assert daemon.end() == 0
    assert daemon.said() == ""


def test_unix_socket(serve, tmp_path):
    path = tmp_path / "metrics.sock"
    left = socket.socket(socket.AF_UNIX)  # of a daemon that was killed
    left.bind(str(path))
    left.close()
    daemon = serve(config(f"unix:{path}"))

    def ask(wish):
        daemon.alive()
        c = UnixConnection(path)
        try:
            c.request("GET", wish)
            return c.getresponse().read()
        except OSError:
            return b""
        finally:
            c.close()

    wait_for("the daemon", lambda: ask("/readyz") == b"ready\n")
    assert b"stakeout_build_info" in ask("/metrics")
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    assert daemon.end() == 0
    assert not path.exists()


@pytest.mark.parametrize("what, said", [
    ("  textfile: /nonexistent/stakeout.prom\n", "cannot write /nonexistent/stakeout.prom: No such file or directory"),
    ("  user: u\n  password_file: /nonexistent/password\n", "cannot read /nonexistent/password: No such file or directory"),
    ("  tls_certificate: /etc/hostname\n  tls_key: /etc/hostname\n", "tls_certificate and tls_key have to be PEM"),
    ("taken", "Address already in use"),
])
def test_what_cannot_be_served_is_told(serve, what, said):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        taken = "127.0.0.1:%d" % s.getsockname()[1]
        daemon = serve(address=taken) if what == "taken" else serve(prometheus=what)
        assert daemon.process.wait(timeout=HANG_S) == 5
    (line,) = daemon.said().splitlines()
    assert said in line


# --- strangers ---


def send(address, data, end=True):
    """What comes back for these bytes."""
    host, port = address.split(":")
    back = b""
    with socket.create_connection((host, int(port)), timeout=HANG_S) as s:
        try:
            s.sendall(data)
            if end:
                s.shutdown(socket.SHUT_WR)
            while chunk := s.recv(65536):
                back += chunk
        except OSError:  # it was let go before all was said
            pass
    return back


def descriptors(daemon):
    return len(os.listdir(f"/proc/{daemon.process.pid}/fd"))


MALFORMED = [
    b"\r\n\r\n", b"GET\r\n\r\n", b"GET /metrics\r\n\r\n", b"\x00" * 4096, b"\xff" * 100000, b"GET /metrics HTTP/9.9\r\n\r\n",
    b"GET /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", b"GET /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n",
    b"POST /metrics HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", b"GET " + b"/" * 100000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /metrics HTTP/1.1\r\nHost: x\r\n" + b"X: " + b"y" * 1000000 + b"\r\n\r\n", b"GET /metrics HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 100000 + b"\r\n",
    b"GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: " + b",;=" * 4000 + b"\r\nConnection: close\r\n\r\n", b"DELETE / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", b"GET /%00%ff HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    b"GET http://[::1/metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 500,
    b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 200,
]


def test_strangers_do_no_harm(serve):
    daemon = serve(prometheus="  max_connections: 16\n  timeout: 2s\n").ready()
    before = descriptors(daemon)
    for data in MALFORMED:
        answer = send(daemon.address, data)
        assert not answer or re.match(rb"HTTP/1\.[01] (200|4\d\d|5\d\d) ", answer), (data[:60], answer[:100])
        daemon.alive()
    assert get(daemon.url("/healthz"))[0] == 200
    status, headers, _ = get(daemon.url("/none"))
    assert status == 404
    host, port = daemon.address.split(":")
    c = http.client.HTTPConnection(host, int(port), timeout=HANG_S)  # kept, for several requests
    for method, path, want in (("HEAD", "/metrics", 200), ("GET", "/metrics", 200), ("GET", "/", 200), ("PUT", "/metrics", 405)):
        c.request(method, path)
        answer = c.getresponse()
        body = answer.read()
        assert answer.status == want and bool(body) == (method != "HEAD")
    assert answer.headers["Allow"] == "GET, HEAD"
    c.close()
    wait_for("the end of all connections", lambda: descriptors(daemon) <= before)
    assert daemon.end() == 0
    assert daemon.said() == ""


def test_slow_clients_keep_nobody_out(serve):
    """Four times as many as may connect, who send a byte now and then."""
    daemon = serve(prometheus="  max_connections: 16\n  timeout: 5s\n").ready()
    before = descriptors(daemon)
    host, port = daemon.address.split(":")
    slow = [socket.create_connection((host, int(port)), timeout=HANG_S) for _ in range(64)]
    request = b"GET /metrics HTTP/1.1\r\nHost: x\r\nX: "
    for n in range(len(request) + 20):
        for s in slow:
            try:
                s.send(request[n:n + 1] or b"y")
            except ConnectionError:
                pass
        if n % 10 == 0:
            status, _, body = get(daemon.url())
            assert status == 200 and b"stakeout_build_info" in body
    assert descriptors(daemon) < before + 40
    for s in slow:
        s.close()
    assert get(daemon.url())[0] == 200
    wait_for("the end of all connections", lambda: descriptors(daemon) <= before)
    assert daemon.end() == 0
    assert daemon.said() == ""


BEGUN = [b"", b"G", b"GET /metrics HT", b"GET /metrics HTTP/1.1\r\nHost: x\r\nX: ", b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nabc"]


@pytest.fixture
def many_files():
    """This process may have a crowd's descriptors."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < CROWD + 500:
        pytest.skip(f"limit: {hard} open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (CROWD + 500, hard))
    yield soft, hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def resident_bytes(daemon):
    return int(re.search(r"VmRSS:\s+(\d+)", (Path("/proc") / str(daemon.process.pid) / "status").read_text()).group(1)) * 1024


@pytest.mark.parametrize("most", [64, CROWD], ids=["64", "all"])
def test_a_crowd_that_stays(serve, many_files, tmp_path, most):
    """Ten thousand who connect, begin a request or not, and hold on; scrapes in between are served each time, with the limit as it comes and with one that lets all in."""
    more = f"recordings: {{directory: {tmp_path}/recordings, compress: false}}\n"
    daemon = serve(prometheus=f"  max_connections: {most}\n  timeout: 60s\n", more=more).ready()
    get(daemon.url())  # what the page needs is there
    host, port = daemon.address.split(":")
    before, resident, held, seen = descriptors(daemon), resident_bytes(daemon), [], []
    try:
        for n in range(CROWD):
            s = socket.socket()
            held.append(s)
            s.setblocking(False)
            s.connect_ex((host, int(port)))
            with contextlib.suppress(OSError):  # let go already
                s.send(BEGUN[n % len(BEGUN)])
            if n % 500:
                continue
            for slow in held[-250:]:
                with contextlib.suppress(OSError):
                    slow.send(b"y")
            status, _, body = get(daemon.url())
            assert status == 200 and b"stakeout_build_info" in body
            seen.append((descriptors(daemon), resident_bytes(daemon)))
        if most == CROWD:
            stay = CROWD - CROWD // len(BEGUN)  # POST is answered
            wait_for("all of them", lambda: descriptors(daemon) - before >= stay)
            seen.append((descriptors(daemon), resident_bytes(daemon)))
        assert get(daemon.url())[0] == 200
    finally:
        for s in held:
            s.close()
    assert max(n for n, _ in seen) <= before + most + 10
    assert max(n for _, n in seen) <= resident + (8 << 20) + most * HEADERS_BYTES
    wait_for("the end of all connections", lambda: descriptors(daemon) <= before)
    wait_for("what they took to be given back", lambda: resident_bytes(daemon) <= resident + (8 << 20))
    assert get(daemon.url())[0] == 200
    assert daemon.end() == 0
    assert daemon.said() == ""
    (recording,) = [Recording(path) for path in (tmp_path / "recordings").iterdir()]
    assert [i["seq"] for i in recording.intervals] == list(range(len(recording.intervals)))
    for one, next_one in itertools.pairwise(recording.intervals):
        assert one["end_s"] == next_one["start_s"]


def test_connections_leave_descriptors_for_the_rest(tmp_path):
    """A limit that the process can't have is refused at once: without descriptors no interval could be closed."""
    (tmp_path / "c.yaml").write_text(config(f"127.0.0.1:{free_port()}", prometheus="  max_connections: 10000\n"))
    done = subprocess.run([STAKEOUT, "serve", "-c", tmp_path / "c.yaml"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False, timeout=HANG_S,
                          preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024)))
    assert done.returncode == 5 and done.stdout == b""
    (line,) = done.stderr.decode().splitlines()
    assert "max_connections 10000: the limit of open files, 1024, leaves 504" in line


def test_a_silent_client_is_let_go(serve):
    daemon = serve(prometheus="  timeout: 1s\n").ready()
    assert send(daemon.address, b"GET /metrics HT", end=False) == b""  # ends, for its own part


def test_a_signal_in_between_changes_nothing(serve, sleeper):
    """The page's sums go on when the configuration is read anew."""
    daemon = serve(targets=f"[{{pid: {sleeper.pid}}}]").ready()

    def intervals():
        daemon.alive()
        return samples(get(daemon.url())[2].decode(), text_parser)[("stakeout_intervals_total",)]

    first = intervals()
    daemon.process.send_signal(1)
    wait_for("further intervals", lambda: intervals() > first + 3)


def test_rules_and_configuration_by_promtool():
    for words in (["check", "config", TOOLS / "prometheus/prometheus.yml"], ["test", "rules", TOOLS / "prometheus/tests.yml"]):
        done = subprocess.run(["promtool", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        assert done.returncode == 0, done.stdout.decode()
