# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""Loads: something that works, whose progress can be read, and the process of it that is watched."""
import json
import mmap
import os
import resource
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

from . import kernel

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "../../.."))


def wait_for(what, condition, timeout=20):
    end = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > end:
            raise RuntimeError(f"bench: no {what} after {timeout} s")
        time.sleep(0.01)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Load:
    """A load that goes on until it is ended. pid is watched; progress() gives units done, CPU seconds of the load, and the time of both."""

    unit = "unit"

    def fresh(self):
        """Before each window, and before the tool is started that is to watch it."""

    def window(self, seconds):
        """Wall-clock and CPU seconds a unit, and units."""
        a = self.progress()
        time.sleep(seconds)
        b = self.progress()
        while b[2] == a[2]:  # it has not even told once: some tools make it that slow
            time.sleep(0.01)
            b = self.progress()
        units = max(1, b[0] - a[0])
        return {"wall": (b[2] - a[2]) / units, "cpu": max(1e-12, b[1] - a[1]) / units, "units": units, "seconds": b[2] - a[2]}


class Counted(Load):
    """One of tests/bench/loads.c. bystander: a sleeping process is watched in its place. own_libc: it has a copy of the C library, so that the probes of whatever else runs
    on the machine are not at the same place: the kernel refuses memleak's there."""

    def __init__(self, unit, *args, bystander=False, own_libc=False):
        self.unit = unit
        self.folder = tempfile.TemporaryDirectory(prefix="bench.")
        path, env = os.path.join(self.folder.name, "progress"), dict(os.environ)
        if own_libc:
            shutil.copy(kernel.libc_of("self"), self.folder.name)
            env["LD_LIBRARY_PATH"] = self.folder.name
        self.process = subprocess.Popen([kernel.program("loads"), path, *map(str, args)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env)
        self.process.stdout.readline()
        with open(path, "r+b") as f:
            self.memory = mmap.mmap(f.fileno(), 32)
        self.sleeper = subprocess.Popen(["sleep", "100000"]) if bystander else None
        self.pid = (self.sleeper or self.process).pid
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()
        wait_for("progress", lambda: self.progress()[0])

    def progress(self):
        while True:
            version, units, cpu_ns, time_ns = struct.unpack("4Q", self.memory[:32])
            if version % 2 == 0 and self.memory[:8] == struct.pack("Q", version):
                return units, cpu_ns / 1e9, time_ns / 1e9

    def end(self):
        for process in filter(None, (self.process, self.sleeper)):
            process.kill()
            process.wait()
        self.folder.cleanup()


class Twins(Load):
    """Two processes that do the same in short turns on one CPU (tests/bench/loads.c); the second is watched."""

    unit = "turn"
    SLICES, HEAD = 1 << 16, 32

    def __init__(self, kind):
        self.folder = tempfile.TemporaryDirectory(prefix="bench.")
        path = os.path.join(self.folder.name, "progress")
        self.process = subprocess.Popen([kernel.program("loads"), path, "twin", kind], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.pid = int(self.process.stdout.readline().split()[2])
        with open(path, "r+b") as f:
            self.memory = mmap.mmap(f.fileno(), self.HEAD + self.SLICES * 16)
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()
        wait_for("turns", lambda: self.turns() > 10)

    def turns(self):
        return struct.unpack("Q", self.memory[8:16])[0]

    def costs(self, seconds):
        """CPU time a unit of (one, other) in each pair of turns of so many seconds."""
        begin = self.turns()
        time.sleep(seconds)
        return [struct.unpack_from("2d", self.memory, self.HEAD + i % self.SLICES * 16) for i in range(begin, self.turns())]

    def end(self):
        self.process.kill()
        self.process.wait()
        self.folder.cleanup()


class Redis(Load):
    """redis-benchmark, which is watched, and a server that keeps nothing on disk, whose count is used."""

    unit = "exchange"

    def __init__(self, connections):
        port = free_port()
        self.server = subprocess.Popen(["redis-server", "--port", str(port), "--save", "", "--appendonly", "no", "--maxclients", "5000"],
                                       stdout=subprocess.DEVNULL)
        wait_for("redis-server", lambda: self.connects(port))
        self.process = subprocess.Popen(["redis-benchmark", "-p", str(port), "-c", str(connections), "-n", "1000000000", "-t", "get", "-q"],
                                        stdout=subprocess.DEVNULL)
        self.pid = self.process.pid
        wait_for("exchanges", lambda: self.progress()[0] > 10000)

    def connects(self, port):
        try:
            self.control = socket.create_connection(("127.0.0.1", port))
            return True
        except OSError:
            return False

    def progress(self):
        self.control.sendall(b"INFO STATS\r\n")
        text = b""
        while b"\r\n" not in text or len(text) < int(text[1:text.index(b"\r\n")]) + text.index(b"\r\n") + 4:
            text += self.control.recv(65536)
        # Of the server's own count: the questions after it are in it, one a window.
        done = next(int(line.split(b":")[1]) for line in text.splitlines() if line.startswith(b"total_commands_processed:"))
        return done, kernel.cpu_s(self.pid), time.monotonic()

    def end(self):
        for process in (self.process, self.server):
            process.kill()
            process.wait()


NGINX = """
daemon off; worker_processes 1; pid {folder}/pid; error_log stderr;
events {{ worker_connections 512; }}
http {{ access_log off; keepalive_requests 100000000; client_body_temp_path {folder}/a; proxy_temp_path {folder}/b; fastcgi_temp_path {folder}/c;
uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;
server {{ listen 127.0.0.1:{port}; location / {{ return 200 "hello\\n"; }} location /status {{ stub_status; }} }} }}
"""


class Wrk(Load):
    """wrk, which is watched, and nginx, whose count is used."""

    unit = "request"

    def __init__(self, connections):
        self.folder, port = tempfile.TemporaryDirectory(prefix="bench."), free_port()
        conf = os.path.join(self.folder.name, "conf")
        with open(conf, "w") as f:
            f.write(NGINX.format(folder=self.folder.name, port=port))
        nginx = shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin")
        self.server = subprocess.Popen([nginx, "-p", self.folder.name, "-c", conf, "-e", "stderr"], stderr=subprocess.DEVNULL)
        self.url = f"http://127.0.0.1:{port}/"
        wait_for("nginx", self.answers)
        self.process = subprocess.Popen(["wrk", "-t", "1", "-c", str(connections), "-d", "100000", self.url], stdout=subprocess.DEVNULL)
        self.pid = self.process.pid
        wait_for("requests", lambda: self.progress()[0] > 10000)

    def answers(self):
        try:
            return self.progress()
        except OSError:
            return None

    def progress(self):
        text = urllib.request.urlopen(self.url + "status", timeout=10).read().decode()
        return int(text.split("requests", 1)[1].split()[2]), kernel.cpu_s(self.pid) if hasattr(self, "pid") else 0, time.monotonic()

    def end(self):
        for process in (self.process, self.server):
            process.terminate()
            process.wait()
        self.folder.cleanup()


def reaped(process):
    """Waits for a process; (CPU seconds of it and of what it waited for, time it ended)."""
    _, code, used = os.wait4(process.pid, 0)
    process.returncode = code
    if code:
        raise RuntimeError(f"bench: the demo agent ended with {code}")
    return used.ru_utime + used.ru_stime, time.monotonic()


class Demo(Load):
    """The demo agent, a run of the same steps a window: it is the same process, whose program it becomes once the tool is attached. sibling: another one beside it, which
    nobody watches."""

    unit = "step"
    STEPS = 6

    def __init__(self, sibling=False):
        self.services = subprocess.run(["/usr/bin/python3", ROOT + "/tools/demo/services.py", "--daemon", "--while-pid", str(os.getpid())],
                                       stdout=subprocess.PIPE, check=True, text=True).stdout
        self.agents, self.sibling = [], sibling

    def fresh(self):
        self.end()
        agent = f"exec /usr/bin/python3 {ROOT}/tools/demo/agent.py --services '{self.services.strip()}' --steps {self.STEPS} --json /dev/null"
        self.agents = [subprocess.Popen(["sh", "-c", f"read go; {agent}"], stdin=subprocess.PIPE) for _ in range(1 + self.sibling)]
        self.pid = self.agents[0].pid

    def go(self, agents):
        """[(CPU seconds, wall-clock seconds)] of each; the order is that of their start."""
        begin = {}
        for agent in agents:
            begin[agent] = time.monotonic()
            agent.stdin.write(b"\n")
            agent.stdin.close()
        with ThreadPoolExecutor() as pool:
            ended = list(pool.map(reaped, agents))
        self.agents = []
        return [(cpu, end - begin[agent]) for agent, (cpu, end) in zip(agents, ended)]

    def window(self, seconds):
        """For a longer window than others': a run takes some 3 s."""
        if not self.agents:
            self.fresh()
        (cpu, wall), = self.go(self.agents)
        return {"wall": wall / self.STEPS, "cpu": cpu / self.STEPS, "units": self.STEPS, "seconds": wall}

    def end(self):
        for agent in self.agents:
            agent.kill()
            agent.wait()
        self.agents = []


class Pair(Load):
    """Two threads on one CPU that hand a byte to and fro for some seconds once told to, and end."""

    def __init__(self, seconds):
        self.process = subprocess.Popen([kernel.program("pingpong"), "pair", str(seconds), "0"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.process.stdout.readline()
        self.pid = self.process.pid

    def run(self):
        """Its own count of switches."""
        return json.loads(self.process.communicate("\n")[0])["switches"]


class Ring(Load):
    """N processes in a ring of pipes, at work once go() is called; as N agents, or as one."""

    def __init__(self, n):
        self.process = subprocess.Popen([kernel.program("pingpong"), "ring", "3600", str(n), str(min(8, max(1, n // 2)))],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.pids = self.process.stdout.readline().strip()
        self.pid = self.process.pid

    def go(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def end(self):
        for pid in [self.pid, *map(int, self.pids.split(","))]:  # the parent first, which would wait for them
            os.kill(pid, signal.SIGKILL)
        self.process.wait()


def files_unlimited():
    """Loads of 1,000 processes, and their watchers, hold many descriptors."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def synthetic_recording(path, agents, seconds):
    sys.path.insert(0, os.path.join(ROOT, "tests/e2e"))
    subprocess.run(["/usr/bin/python3", os.path.join(ROOT, "tests/e2e/make_recording.py"), path, "--agents", str(agents), "--seconds", str(seconds)], check=True)
    return os.path.getsize(path)


def produce(*args):
    """The synthetic producer against the collector (tests/bench/produce.c)."""
    return json.loads(subprocess.run([kernel.program("produce"), *map(str, args)], stdout=subprocess.PIPE, check=True).stdout)
