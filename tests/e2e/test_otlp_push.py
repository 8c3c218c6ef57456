# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""The daemon's push of OTLP: endpoints that are away, slow, refuse, or are not to be trusted; reloads."""
import json
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading

import pytest

from conftest import free_port
from otlp_daemon import field, receiver, serve  # noqa: F401: fixtures
from otlp_messages import read

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
