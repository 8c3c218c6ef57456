#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""A demo agent in plain asyncio: it calls a model that streams tokens, a database and a cache, runs tools, allocates, computes.

At its end it prints, as JSON, what it measured and counted itself: an independent witness of what an observer says of it.
Without --services it starts its own mock services, as a process that is not its child.
"""
import argparse
import asyncio
import json
import math
import os
import random
import resource
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections import Counter, deque

HERE = os.path.dirname(os.path.abspath(__file__))
POOL = 3  # connections to the database
TOOLS = {name: shutil.which(name) or name for name in ("sh", "grep", "sort", "head", "wc", "sleep")}


def resident_bytes(field="VmRSS"):
    """Of this program; the peak that getrusage tells may be that of the program which started it."""
    with open("/proc/self/status", encoding="ascii") as f:
        return next(int(line.split()[1]) * 1024 for line in f if line.startswith(field + ":"))


class Ledger:
    """The agent's own books."""

    def __init__(self):
        self.timings = {}
        self.connects, self.sent, self.received, self.tools = Counter(), Counter(), Counter(), Counter()
        self.connects_failed = self.forks = self.execs = self.tools_failed = 0
        self.rss = []  # bytes, at the end of each step

    def time(self, kind, start_ns, end_ns=None):
        end_ns = end_ns or time.monotonic_ns()
        self.timings.setdefault(kind, []).append(end_ns - start_ns)
        return end_ns

    def summary(self, raw):
        out = {}
        for kind, values in sorted(self.timings.items()):
            ordered = sorted(values)
            # Nearest rank: the smallest value that a share q of all does not exceed.
            row = {"count": len(values), "sum_ns": sum(values)}
            for name, q in (("p50_ns", 0.50), ("p95_ns", 0.95), ("p99_ns", 0.99)):
                row[name] = ordered[max(0, math.ceil(q * len(ordered)) - 1)]
            if raw:
                row["raw_ns"] = values
            out[kind] = row
        return out


class Loop(asyncio.SelectorEventLoop):
    """The ordinary loop, but for counting the bytes by which it wakes itself through its own socket pair."""
    sent = received = 0

    def _write_to_self(self):
        super()._write_to_self()
        self.sent += 1

    def _process_self_data(self, data):
        super()._process_self_data(data)
        self.received += len(data)


class CountingProtocol(asyncio.StreamReaderProtocol):
    """Counts bytes as they leave the socket, read by the agent later or not."""

    def __init__(self, reader, ledger, kind):
        super().__init__(reader)
        self.ledger, self.kind = ledger, kind

    def data_received(self, data):
        self.ledger.received[self.kind] += len(data)
        super().data_received(data)


class Connection:
    def __init__(self, ledger, kind, port):
        self.ledger, self.kind, self.port = ledger, kind, port
        self.reader = self.writer = None

    async def open(self):
        loop = asyncio.get_running_loop()
        start = time.monotonic_ns()
        self.reader = asyncio.StreamReader()
        transport, protocol = await loop.create_connection(
            lambda: CountingProtocol(self.reader, self.ledger, self.kind), "127.0.0.1", self.port)
        self.writer = asyncio.StreamWriter(transport, protocol, self.reader, loop)
        self.ledger.time("connect", start)
        self.ledger.connects[self.kind] += 1
        return self

    async def send(self, data):
        self.ledger.sent[self.kind] += len(data)
        self.writer.write(data)
        await self.writer.drain()

    async def close(self):
        if self.writer:
            self.writer.close()
            try:
                await self.writer.wait_closed()
            except ConnectionError:
                pass
        self.reader = self.writer = None


class Agent:
    def __init__(self, args, ports):
        self.args, self.ports, self.ledger = args, ports, Ledger()
        self.random = random.Random(args.seed)
        self.model, self.model_calls = None, 0
        self.db, self.cache = [], None
        self.history = deque(maxlen=3)  # what the agent remembers: memory that lives for some steps
        self.stop = asyncio.Event()
        self.lock = threading.Lock()
        self.steps = 0
        self.notes = None

    def vary(self, value):
        """value, more or less: real services and real work are never twice the same."""
        return value * self.random.uniform(0.7, 1.3)

    # One exchange with each service.

    async def call_model(self):
        args, ledger = self.args, self.ledger
        if self.model and args.model_reconnect and self.model_calls % args.model_reconnect == 0:
            await self.model.close()
            self.model = None
        if not self.model:
            self.model = await Connection(ledger, "model", self.ports["model"]).open()
        self.model_calls += 1
        prompt = " ".join(self.random.choice(("read", "write", "plan", "check")) for _ in range(200))
        body = json.dumps({"model": "mock-1", "stream": True, "prompt": prompt, "tokens": args.tokens,
                           "first_ms": self.vary(args.model_delay_ms), "gap_ms": self.vary(args.token_gap_ms)}).encode()
        start = time.monotonic_ns()
        await self.model.send(b"POST /v1/messages HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
                              b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        reader, before = self.model.reader, None
        await reader.readline()
        ledger.time("model_first_byte", start)
        while (await reader.readline()).strip():
            pass
        tokens = []
        while size := int(await reader.readline(), 16):
            tokens.append(await reader.readexactly(size + 2))
            now = time.monotonic_ns()
            if before:
                ledger.time("token_gap", before, now)
            before = now
        await reader.readline()
        ledger.time("model", start)
        return tokens

    async def query(self, connection):
        body = json.dumps({"sql": "select id, name, score from items", "rows": self.random.randint(1, 60),
                           "ms": self.vary(self.args.query_ms)}).encode()
        start = time.monotonic_ns()
        await connection.send(struct.pack("!I", len(body)) + body)
        (length,) = struct.unpack("!I", await connection.reader.readexactly(4))
        rows = json.loads(await connection.reader.readexactly(length))
        self.ledger.time("query", start)
        return rows

    async def cache_command(self, *words):
        words = [w if isinstance(w, bytes) else str(w).encode() for w in words]
        start = time.monotonic_ns()
        await self.cache.send(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words))
        line = await self.cache.reader.readline()
        value = None
        if line.startswith(b"$") and not line.startswith(b"$-1"):
            value = (await self.cache.reader.readexactly(int(line[1:]) + 2))[:-2]
        self.ledger.time("cache", start)
        return value

    # The parts of a step.

    async def query_all(self):
        """The first half one after the other, as code that nobody tuned does; the rest side by side."""
        serial = (self.args.queries + 1) // 2
        for _ in range(serial):
            await self.query(self.db[0])
        shares = [range(serial + n, self.args.queries, POOL) for n in range(POOL)]

        async def run(connection, share):
            for _ in share:
                await self.query(connection)
        await asyncio.gather(*(run(c, s) for c, s in zip(self.db, shares)))

    async def use_cache(self):
        for n in range(self.args.cache_gets):
            key = f"key{self.random.randint(0, 20)}"
            if await self.cache_command("GET", key) is None:
                await self.cache_command("SET", key, "x" * self.random.randint(10, 4000))

    async def run_tool(self, pipeline, kind="tool"):
        """Runs commands [argv..] as `sh -c 'a | b | c'`, or one command directly. A shell forks once a command."""
        if len(pipeline) == 1:
            argv, names = pipeline[0], [pipeline[0][0]]
        else:
            argv = ["sh", "-c", " | ".join(" ".join(command) for command in pipeline)]
            names = ["sh"] + [command[0] for command in pipeline]
        start = time.monotonic_ns()
        child = await asyncio.create_subprocess_exec(
            TOOLS[argv[0]], *argv[1:], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.ledger.forks += len(names)
        self.ledger.execs += len(names)
        self.ledger.tools.update(names)
        try:
            await child.communicate()
        except asyncio.CancelledError:
            child.kill()
            await child.wait()
            raise
        finally:
            self.ledger.time(kind, start)
        self.ledger.tools_failed += child.returncode != 0

    async def use_tools(self):
        word = self.random.choice(("alpha", "beta", "gamma"))
        kinds = (
            [["grep", "-c", word, self.notes]],
            [["grep", word, self.notes], ["sort", "-r"], ["head", "-n", "3"]],
            [["sort", self.notes], ["wc", "-l"]],
        )
        for n in range(self.args.tools):
            await self.run_tool(kinds[(self.steps + n) % len(kinds)])
        if self.args.tool_wait_ms > 0:  # as one that asks a service itself
            await self.run_tool([["sleep", f"{self.vary(self.args.tool_wait_ms) / 1000:.4f}"]], "tool_wait")

    def allocate(self):
        if self.args.alloc_mib > 0:
            block = bytearray(int(self.args.alloc_mib * 2**20))
            block[::4096] = b"\1" * len(range(0, len(block), 4096))  # touch every page
            self.history.append((block, [{"step": self.steps, "n": n} for n in range(2000)]))

    def burn(self, cpu_ms):
        """Spends that much CPU time of this thread, as parsing and templating do."""
        if cpu_ms <= 0:
            return
        start, end, n = time.monotonic_ns(), time.thread_time_ns() + int(cpu_ms * 1e6), 0
        while time.thread_time_ns() < end:
            n += len(json.dumps({"text": "x" * 200, "n": n, "list": list(range(50))}))
        self.ledger.time("burn", start)

    def thread_work(self):
        """A worker thread: compresses without the interpreter's lock, and meets the others at a mutex."""
        text = os.urandom(1 << 16)
        end = time.thread_time_ns() + int(self.args.cpu_ms * 1e6 / 4)
        while time.thread_time_ns() < end:
            zlib.compress(text, 6)
        with self.lock:
            time.sleep(0.001)

    async def use_threads(self):
        loop = asyncio.get_running_loop()
        await asyncio.gather(*(loop.run_in_executor(None, self.thread_work) for _ in range(self.args.threads)))

    async def sleep(self):
        if self.args.sleep_ms > 0:
            start = time.monotonic_ns()
            await asyncio.sleep(self.vary(self.args.sleep_ms) / 1000)
            if self.steps % 5 == 4:  # the mistake of every other agent: a sleep that blocks the loop
                time.sleep(self.args.sleep_ms / 4000)
            self.ledger.time("sleep", start)

    async def refused(self):
        """Connects to ports where nobody listens."""
        for _ in range(self.args.refused):
            with socket.socket() as s:  # bound, not listening: nobody else can come to listen there
                s.bind(("127.0.0.1", 0))
                try:
                    await asyncio.get_running_loop().create_connection(asyncio.Protocol, *s.getsockname())
                except ConnectionRefusedError:
                    self.ledger.connects_failed += 1

    async def step(self):
        start = time.monotonic_ns()
        await self.use_cache()
        await self.query_all()
        for _ in range(self.args.model_calls):
            await self.call_model()
        await self.use_tools()
        self.allocate()
        self.burn(self.vary(self.args.cpu_ms))
        await self.use_threads()
        await self.sleep()
        self.ledger.time("step", start)
        self.ledger.rss.append(resident_bytes())
        self.steps += 1

    async def work(self):
        args = self.args
        end = time.monotonic() + args.seconds if args.seconds else math.inf
        self.cache = await Connection(self.ledger, "cache", self.ports["cache"]).open()
        for _ in range(POOL):
            self.db.append(await Connection(self.ledger, "db", self.ports["db"]).open())
        await self.refused()
        while (not args.steps or self.steps < args.steps) and time.monotonic() < end:
            await self.step()

    async def run(self):
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.interrupt)
        with tempfile.NamedTemporaryFile("w", prefix="demo-agent-") as notes:
            for n in range(self.args.tool_lines):
                notes.write(f"{self.random.getrandbits(32):08x} {('alpha', 'beta', 'gamma', 'delta')[n % 4]} note {n}\n")
            notes.flush()
            self.notes = notes.name
            work, stop = asyncio.ensure_future(self.work()), asyncio.ensure_future(self.stop.wait())
            await asyncio.wait((work, stop), return_when=asyncio.FIRST_COMPLETED)
            interrupted = not work.done()
            for task in (work, stop):
                task.cancel()
            (failure, _) = await asyncio.gather(work, stop, return_exceptions=True)
        for connection in (self.model, self.cache, *self.db):
            if connection:
                await connection.close()
        if failure and not interrupted:
            raise failure
        return interrupted

    def interrupt(self):
        asyncio.get_running_loop().sent += 1  # the signal handler's byte into the loop's own socket pair
        self.stop.set()


def start_services():
    """Mock services as a process of their own that ends with us."""
    done = subprocess.run([sys.executable, os.path.join(HERE, "services.py"), "--daemon", "--while-pid", str(os.getpid())],
                          stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def parse_ports(text):
    """MODEL,DB,CACHE or the JSON line of services.py."""
    try:
        if text.lstrip().startswith("{"):
            ports = json.loads(text)
            return {kind: int(ports[kind]) for kind in ("model", "db", "cache")}
        return dict(zip(("model", "db", "cache"), [int(p) for p in text.split(",")], strict=True))
    except (ValueError, KeyError, TypeError):
        raise argparse.ArgumentTypeError(f"{text!r}: three ports MODEL,DB,CACHE, or the line that services.py prints") from None


def amount(text):
    value = float(text)
    if not 0 <= value < 1e9:
        raise ValueError
    return value


def count(text):
    value = int(text)
    if not 0 <= value < 10**9:
        raise ValueError
    return value


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    option = parser.add_argument
    option("--services", type=parse_ports, metavar="PORTS", help="MODEL,DB,CACHE: services that run already")
    option("--steps", type=count, default=0, help="end after so many steps (0: no limit)")
    option("--seconds", type=amount, default=0, help="start no step later than this (0: no limit)")
    option("--model-calls", type=count, default=1, help="model calls a step")
    option("--model-delay-ms", type=amount, default=150, help="until the model's first byte")
    option("--token-gap-ms", type=amount, default=8, help="between two tokens")
    option("--tokens", type=count, default=25, help="a model call")
    option("--model-reconnect", type=count, default=4, help="new connection every so many model calls (0: never)")
    option("--queries", type=count, default=6, help="a step, half of them serial")
    option("--query-ms", type=amount, default=4, help="the database takes")
    option("--cache-gets", type=count, default=10, help="a step")
    option("--tools", type=count, default=2, help="tool runs a step: grep, and pipelines of sh, grep, sort, head, wc")
    option("--tool-lines", type=count, default=5000, help="lines of the file that the tools work on")
    option("--tool-wait-ms", type=amount, default=0, help="one more tool a step, which waits that long (0: none)")
    option("--alloc-mib", type=amount, default=4, help="a step; three steps' worth is kept")
    option("--cpu-ms", type=amount, default=20, help="CPU time a step")
    option("--sleep-ms", type=amount, default=30, help="a step")
    option("--threads", type=count, default=2, help="worker threads that share the work of a step")
    option("--refused", type=count, default=0, help="connects to closed ports, at the start")
    option("--seed", type=int, default=1, help="of everything random")
    option("--raw", action="store_true", help="every single timing in the output")
    option("--json", metavar="FILE", default="-", help="where the output goes (default: stdout)")
    args = parser.parse_args()
    if not args.steps and not args.seconds:
        args.seconds = 10
    return args


def result(agent, loop, interrupted, start_ns):
    ledger = agent.ledger
    usage = {who: resource.getrusage(number) for who, number in
             (("self", resource.RUSAGE_SELF), ("children", resource.RUSAGE_CHILDREN))}
    ledger.sent["wakeup"], ledger.received["wakeup"] = loop.sent, loop.received
    return {
        "format": "demo-agent/1", "pid": os.getpid(), "interrupted": interrupted, "steps": agent.steps,
        "wall_ns": time.monotonic_ns() - start_ns, "timings": ledger.summary(agent.args.raw),
        "connects": dict(ledger.connects), "connects_failed": ledger.connects_failed,
        "sent_bytes": dict(ledger.sent), "received_bytes": dict(ledger.received),
        "forks": ledger.forks, "execs": ledger.execs, "tools": dict(ledger.tools), "tools_failed": ledger.tools_failed,
        "cpu_user_s": {who: u.ru_utime for who, u in usage.items()},
        "cpu_system_s": {who: u.ru_stime for who, u in usage.items()},
        "faults_minor": {who: u.ru_minflt for who, u in usage.items()},
        "rss_bytes": {"mean": sum(ledger.rss) / max(1, len(ledger.rss)), "peak": resident_bytes("VmHWM")},
    }


def main():
    start_ns, args = time.monotonic_ns(), parse_args()
    loop = Loop()
    asyncio.set_event_loop(loop)
    if sys.version_info < (3, 12):  # later ones wait for children by pidfd anyway; threads would be noise of the runtime
        watcher = asyncio.PidfdChildWatcher()
        watcher.attach_loop(loop)
        asyncio.get_event_loop_policy().set_child_watcher(watcher)

    async def run():
        agent = Agent(args, args.services or start_services())
        return agent, await agent.run()

    try:
        agent, interrupted = loop.run_until_complete(run())
        loop.run_until_complete(loop.shutdown_default_executor())
    except (ConnectionError, asyncio.IncompleteReadError) as err:
        sys.exit(f"agent.py: a service went away: {err}")
    out = json.dumps(result(agent, loop, interrupted, start_ns))
    if args.json == "-":
        print(out, flush=True)
    else:
        with open(args.json, "w", encoding="utf-8") as f:
            print(out, file=f)


if __name__ == "__main__":
    main()
