# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""What the programs in Python share. Each is called with `faulty` or `healthy` and the ports of server.py as JSON; it prints a line when it is ready, waits for a
line, does the same work either way, and prints what that took."""
import itertools
import json
import socket
import ssl
import sys
import time

HOST = "127.0.0.1"
FAULTY = sys.argv[1] == "faulty"
PORTS = json.loads(sys.argv[2])
JUDGED_S = 2.2  # of less, stakeout judges nothing
number = itertools.count(100_000).__next__  # for a request like no other
more = {}  # to be said at the end


def tls():
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


class Connection:
    def __init__(self, port="plain", context=None):
        far = PORTS.get(port)  # of other networks: the address there
        self.socket = socket.create_connection((HOST, far) if isinstance(far, int) else (far if FAULTY else HOST, PORTS["plain"]))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if context:
            self.socket = context.wrap_socket(self.socket)

    def call(self, **wish):
        self.socket.sendall(json.dumps(wish).encode() + b"\n")
        got = b""
        while not got.endswith(b"\n"):
            got = self.socket.recv(65536)
        return got

    def close(self):
        self.socket.close()


def runq_s():
    """How long the main thread has waited for a CPU, by the scheduler's own books."""
    with open("/proc/self/schedstat", encoding="ascii") as f:
        return int(f.read().split()[1]) / 1e9


def run(work):
    """work() returns how much it did. What is healthy must be judged to be so: it goes on, unmeasured, until it has been watched for long enough."""
    print("ready", flush=True)
    sys.stdin.readline()
    begin, cpu, runq = time.monotonic(), time.process_time(), runq_s()
    done = work()
    said = {"done": done, "wall_s": time.monotonic() - begin, "cpu_s": time.process_time() - cpu, "runq_s": runq_s() - runq, **more}
    while not FAULTY and time.monotonic() - begin < JUDGED_S:
        work()
    print(json.dumps(said), flush=True)
