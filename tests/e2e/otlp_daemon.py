# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""The daemon with OTLP outputs, and an endpoint for it to push to."""
import gzip
import signal
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from conftest import HANG_S, wait_for
from otlp_messages import read


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
