#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""Writes synthetic recordings (`stakeout/1`), from values that the caller knows. Shares no code with stakeout.

As a program: make_recording.py FILE [--agents N] [--seconds N] [--seed N] [--deep] writes one that looks like a real one; --deep: with
stacks, a heap, rivals and notes.
"""
import argparse
import json
import math
import random

SCALE = 5
CLASSES = ["llm", "db", "cache", "vector", "http", "other"]
STATES = ["running", "runnable", *(f"net.{c}" for c in CLASSES), "disk", "lock", "pipe", "child", "sleep", "input", "fault",
          "idle", "poll", "other"]
PROBES = ["core", "sched", "proc", "mem", "sock", "names"]


def bucket(value, scale=SCALE):
    """Index i with b^i < value <= b^(i+1), b = 2^(2^-scale)."""
    return math.ceil(math.log2(value) * 2**scale) - 1


def hist(values, scale=SCALE):
    """H of the recording from a list of integers."""
    counts = {}
    for v in values:
        if v:
            i = bucket(v, scale)
            counts[i] = counts.get(i, 0) + 1
    first = min(counts, default=0)
    last = max(counts, default=-1)
    return {"scale": scale, "count": len(values), "sum": sum(values), "min": min(values, default=0),
            "max": max(values, default=0), "zero_count": values.count(0), "offset": first,
            "bucket_counts": [counts.get(i, 0) for i in range(first, last + 1)]}


def quantile(values, q):
    """The smallest value with at least a share q of the values at or below it."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(q * len(ordered)) - 1)]


# Samples that are states: each interval has them as they are (the others are dealt out).
STATES_OF_SAMPLES = {"live_bytes", "live_blocks", "leak_bytes"}


def frame(name, module="", kind="native", file="", line=0):
    """A frame of a stack; hashable. A stack is a tuple of them, innermost first; () is the one that is not known."""
    return (kind, name, file, line, module)


class Stacks:
    """Numbers of frames and stacks as in a recording, given in the order in which they are asked for."""

    def __init__(self):
        self.frames, self.stacks = {("native", "(other)", "", 0, ""): 0}, {(): 0}

    def number(self, stack):
        for f in stack:
            self.frames.setdefault(f, len(self.frames))
        return self.stacks.setdefault(stack, len(self.stacks))

    def lines(self, per_line=1000):
        """All of them; per_line: frames or stacks."""
        keys = ("kind", "name", "file", "line", "module")
        frames = [{k: v for k, v in zip(keys, f) if v} for f in self.frames]
        stacks = [[self.frames[f] for f in s] for s in self.stacks]
        return [{"kind": "stacks", f"first_{what[:-1]}": at, what: of[at:at + per_line]}
                for what, of in (("frames", frames), ("stacks", stacks)) for at in range(1, len(of), per_line)]


class Agent:
    """values: {metric: integers}, ledger, threads, critical: {state: seconds}, tools: {name: {"counters", "values", "live", "ledger"}},
    concurrency: {class: {"outstanding_s", "busy_s", "max"}}, peers: [{"peer", "name", "class", "side", "multiplexed", "summed",
    "counters", "values"}] (all but "peer" may be missing), samples: {name: {stack: value}} (see frame()), heap: {"mode", "kept",
    sums}, rivals: {name: ns}, notes: [text]; all for the whole time, dealt out over the intervals."""

    def __init__(self, id, name="agent", pid=4242, cmdline="python3 agent.py", values=None, counters=None, gauges=None,
                 ledger=None, threads=None, critical=None, concurrency=None, peers=None, tools=None, exit_code=None,
                 samples=None, heap=None, rivals=None, rivals_other_ns=0, notes=None):
        self.id, self.name, self.pid, self.cmdline = id, name, pid, cmdline
        self.values, self.counters, self.gauges = values or {}, counters or {}, gauges or {}
        self.ledger, self.threads, self.tools = ledger or {}, threads or ledger or {}, tools or {}
        self.critical, self.concurrency, self.peers = critical or ledger or {}, concurrency or {}, peers or []
        self.exit_code = exit_code
        self.samples, self.heap, self.rivals = samples or {}, heap or {}, rivals or {}
        self.rivals_other_ns, self.notes = rivals_other_ns, notes or []

    def header(self):
        return {"id": self.id, "name": self.name, "pid": self.pid, "start_ticks": 1000 + self.id, "cmdline": self.cmdline,
                "cgroup": "/system.slice/agent.service"}

    def data(self, n, seconds, stacks, total=False):
        """Share 1/n of everything (the k-th by stride for values: the caller sums over k), or the whole."""
        return [self._part(k, n, seconds / n, stacks) for k in range(n)] if not total else self._part(0, 1, seconds, stacks)

    def _part(self, k, n, observed_s, stacks):
        share = lambda value: value // n + (value % n if k == n - 1 else 0)
        counters = lambda of: {c: share(v) for c, v in of.items()}
        hists = lambda of: {m: hist(v[k::n]) for m, v in of.items() if v[k::n]}
        states = lambda of: {s: round(v / n, 9) for s, v in of.items()}
        last = k == n - 1
        d = {"id": self.id, "alive": not (last and self.exit_code is not None), "observed_s": observed_s,
             "counters": counters(self.counters), "gauges": self.gauges, "hist": hists(self.values),
             "ledger": {"main_s": states(self.ledger), "threads_s": states(self.threads), "critical_s": states(self.critical)},
             "concurrency": {c: {"outstanding_s": round(v["outstanding_s"] / n, 9), "busy_s": round(v["busy_s"] / n, 9),
                                 "mean": v["outstanding_s"] / v["busy_s"], "max": v["max"]} for c, v in self.concurrency.items()},
             "peers": [], "tools": []}
        for peer in self.peers:
            part = {"peer": peer["peer"], "name": peer.get("name", ""), "class": peer.get("class", "other"), "side": peer.get("side", "client"),
                    **({"multiplexed": True} if peer.get("multiplexed") else {}),
                    **({"summed": share(peer["summed"])} if peer.get("summed") else {}),
                    "counters": {c: v for c, v in counters(peer.get("counters", {})).items() if v}, "hist": hists(peer.get("values", {}))}
            if part["counters"] or part["hist"]:
                d["peers"].append(part)
        for name, tool in self.tools.items():
            d["tools"].append({"name": name, "runs_live": tool.get("live", 0), "live": tool.get("live", 0),
                               "counters": counters(tool.get("counters", {})), "gauges": {}, "hist": hists(tool.get("values", {})),
                               "ledger": {"main_s": states(tool.get("ledger", {}))}})
        weigh = lambda name, value: value if name in STATES_OF_SAMPLES else share(value)
        samples = {name: sorted([stacks.number(stack), weigh(name, value)] for stack, value in weights.items())
                   for name, weights in self.samples.items()}
        heap = {key: value if isinstance(value, str) or key == "kept" else value / n if isinstance(value, float) else share(value)
                for key, value in self.heap.items()}
        rivals = [{"name": name, "ns": share(ns)} for name, ns in sorted(self.rivals.items(), key=lambda r: -r[1])]
        more = {"samples": samples, "heap": heap, "rivals": rivals, "rivals_other_ns": share(self.rivals_other_ns), "notes": self.notes}
        return {**d, **{key: value for key, value in more.items() if value}}


def lines(agents, seconds=10.0, intervals=10, lost=None, bpf_s=0.021, probes=None, total=True, format="stakeout/1", host="testhost"):
    """The recording as a list of lines without their ends."""
    observer = lambda n: {"cpu_s": 0.12 / n, "bpf_s": bpf_s / n if bpf_s is not None else None, "records": 120000 // n,
                          "lost": {r: c // n for r, c in (lost or {"ring_full": 0}).items()}, "rss_bytes": 9 << 20}
    probes = probes or [{"name": p, "state": "on", "why": ""} for p in PROBES] + [{"name": "kmem", "state": "off", "why": ""}]
    out = [{"kind": "header", "format": format, "start": "2026-01-02T03:04:05.678Z", "interval_s": seconds / intervals,
            "host": {"name": host, "kernel": "6.18.0", "arch": "x86_64", "cpus": 2, "boot_id": "00000000-0000"},
            "probes": probes, "agents": [a.header() for a in agents]}]
    stacks = Stacks()
    parts = [a.data(intervals, seconds, stacks) for a in agents]
    out += stacks.lines()
    for k in range(intervals):
        out.append({"kind": "interval", "seq": k, "start_s": seconds / intervals * k, "end_s": seconds / intervals * (k + 1),
                    "agents": [p[k] for p in parts], "observer": observer(intervals)})
    if total:
        whole = [a.data(intervals, seconds, stacks, total=True) for a in agents]
        for a, d in zip(agents, whole):
            if a.exit_code is not None:
                d["exit_code"] = a.exit_code
        out.append({"kind": "total", "seq": intervals, "start_s": 0.0, "end_s": seconds, "agents": whole, "observer": observer(1)})
    return [json.dumps(o, ensure_ascii=False) for o in out]


def write(path, agents, **how):
    with open(path, "w", encoding="utf-8") as f:
        f.write("".join(line + "\n" for line in lines(agents, **how)))
    return str(path)


def client(r, peer, name, kind, exchanges, ttfb_ns, rest_ns, connects, request=300, answer=900, gaps=None, tls=False, errors=None, **more):
    """A peer that the agent calls: first bytes after about ttfb_ns, the rest of the answer within about rest_ns."""
    spread = lambda n, median, sigma: [max(1, int(r.lognormvariate(math.log(median), sigma))) for _ in range(n)]
    ttfb, rest = spread(exchanges, ttfb_ns, 0.5), spread(exchanges, rest_ns, 0.7)
    values = {"exchange_ns": [t + x for t, x in zip(ttfb, rest)], "ttfb_ns": ttfb, "pickup_ns": spread(exchanges, 35e3, 1.2),
              "request_bytes": spread(exchanges, request, 0.6), "answer_bytes": spread(exchanges, answer, 0.8),
              "connect_ns": spread(connects, 9e4, 0.7), "rtt_ns": spread(exchanges, 38e3, 0.3)}
    if gaps:
        values["chunk_gap_ns"] = spread(exchanges * gaps, rest_ns / gaps, 0.2)
    if tls:
        values["handshake_ns"] = spread(connects, 1.8e7, 0.2)
    counters = {"exchanges": exchanges, "connects": connects, "sent_bytes": sum(values["request_bytes"]),
                "received_bytes": sum(values["answer_bytes"]), **(errors or {})}
    return {"peer": peer, "name": name, "class": kind, "side": "client", "counters": counters, "values": values, **more}


def served(r, peer, name, kind, exchanges, accepts):
    """An address at which the agent answers."""
    spread = lambda n, median, sigma: [max(1, int(r.lognormvariate(math.log(median), sigma))) for _ in range(n)]
    values = {"serve_ns": spread(exchanges, 2.5e6, 0.6), "serve_pickup_ns": spread(exchanges, 6e4, 0.9),
              "request_bytes": spread(exchanges, 200, 0.4), "answer_bytes": spread(exchanges, 1500, 0.4)}
    return {"peer": peer, "name": name, "class": kind, "side": "server", "values": values,
            "counters": {"exchanges_served": exchanges, "accepts": accepts, "sent_bytes": sum(values["answer_bytes"]),
                         "received_bytes": sum(values["request_bytes"])}}


def summed(peers):
    """Counters and values of all peers together, as their agent has them."""
    counters, values = {}, {}
    for peer in peers:
        for c, v in peer["counters"].items():
            counters[c] = counters.get(c, 0) + v
        for m, v in peer["values"].items():
            values.setdefault(m, []).extend(v)
    return counters, values


def deep(seconds, seed):
    """What an agent's data may have besides: samples of stacks, a sampled heap, rivals, notes."""
    r = random.Random(seed)
    process = frame("python3", kind="process")
    python = lambda name, file, line: frame(name, kind="python", file=file, line=line)
    main = (python("main", "/srv/agent/agent.py", 212), python("<module>", "/srv/agent/agent.py", 1), process)
    step = (python("Agent.step", "/srv/agent/agent.py", 140),) + main
    dumps = (python("JSONEncoder.iterencode", "/usr/lib/python3.11/json/encoder.py", 204),
             python("dumps", "/usr/lib/python3.11/json/__init__.py", 183)) + step
    rank = (python("rank", "/srv/agent/search.py", 77),) + step
    native = (frame("memcpy@plt", "libcrypto.so.3"), frame("EVP_EncryptUpdate", "libcrypto.so.3"), frame("SSL_write_ex", "libssl.so.3"),
              python("SSLSocket.send", "/usr/lib/python3.11/ssl.py", 1180)) + step
    kernel = (frame("tcp_sendmsg", kind="kernel"), frame("do_syscall_64", kind="kernel")) + native[1:]
    grep = (frame("[grep+0x4a10]", "grep"), frame("grep", kind="process"))
    cache = (frame("malloc", "libc.so.6"), python("Cache.put", "/srv/agent/cache.py", 31)) + step
    ns = lambda share: int(share * 1.4e8 * seconds)
    cpu = {dumps: ns(0.31), rank: ns(0.27), native: ns(0.14), kernel: ns(0.12), grep: ns(0.09), step: ns(0.05), (): ns(0.02)}
    rates = [r.lognormvariate(math.log(52000), 0.2) for _ in range(40)]
    sizes = [x * 96 for x in rates]
    return {
        "samples": {"cpu_ns": cpu, "offcpu_ns": {step: ns(1.9), main: ns(0.4), kernel: ns(0.2)},
                    "alloc_bytes": {dumps: int(3.1e7 * seconds), cache: int(8e6 * seconds), rank: int(2e6 * seconds)}},
        "heap": {"mode": "sampled", "windows": len(rates), "windows_thin": 3, "samples": 1840, "open_s": 0.042, "trapped_s": 0.0034,
                 "allocs_per_s_sum": sum(rates), "allocs_per_s_squares": sum(x * x for x in rates), "allocs_per_s_error": 400.0 * len(rates),
                 "bytes_per_s_sum": sum(sizes), "bytes_per_s_squares": sum(x * x for x in sizes), "bytes_per_s_error": 38400.0 * len(rates)},
        "rivals": {"postgres": int(2.1e7 * seconds), "kworker/0:1": int(3e6 * seconds), "cc1": int(6.2e7 * seconds)},
        "rivals_other_ns": int(4e5 * seconds),
        "notes": ["heap: no allocator symbols in codex (pid 4711)", "gc: node 18 has no symbols for its collector (pid 4712)"],
    }


def typical(id, seconds, seed, **changes):
    """An agent whose figures look like those of a real one."""
    r = random.Random(seed)
    spread = lambda n, median, sigma: [max(1, int(r.lognormvariate(math.log(median), sigma))) for _ in range(n)]
    peers = [client(r, "203.0.113.10:443", "llm.example.com", "llm", 24, 6.2e7, 1.2e8, 24, request=4200, answer=6800, gaps=6, tls=True,
                    errors={"errors_reset": 1}),
             client(r, "10.0.0.5:5432", "db.internal", "db", 412, 1.3e6, 9e4, 2),
             client(r, "10.0.0.6:6379", "", "cache", 903, 1.9e5, 2e4, 1, request=60, answer=120, multiplexed=True),
             client(r, "[2001:db8::7]:6333", "qdrant.internal", "vector", 46, 5.1e6, 4e5, 1, request=6200),
             client(r, "198.51.100.7:443", "tools.example.com", "http", 14, 8e7, 2e7, 6, tls=True,
                    errors={"connects_failed": 1, "errors_timed_out": 1, "errors_unanswered": 2}),
             client(r, "/run/agent/broker.sock", "", "other", 31, 4e5, 3e4, 3),
             client(r, "(other)", "", "other", 17, 2e7, 1e6, 12, summed=12, errors={"connects_failed": 2, "errors_refused": 2}),
             served(r, "127.0.0.1:8090", "", "http", 58, 20)]
    counters, values = summed(peers)
    ledger = {"running": 1.312, "runnable": 0.081, "net.llm": 3.8, "net.db": 0.62, "net.cache": 0.19, "net.vector": 0.24, "net.http": 0.71,
              "net.other": 0.05, "lock": 0.25, "pipe": 0.04, "child": 0.55, "sleep": 1.2, "fault": 0.0003, "other": 0.002}
    ledger["idle"] = round(10 - sum(ledger.values()), 9)
    critical = dict(ledger, running=2.104, runnable=0.06, child=0.11)
    critical["idle"] += sum(ledger.values()) - sum(critical.values())
    per_10s = lambda states: {s: v * seconds / 10 for s, v in states.items()}
    settings = dict(
        name="demo", pid=4242, cmdline="python3 tools/demo/agent.py --seconds 10 --model http://127.0.0.1:8080/v1/chat --tools 4",
        values={"oncpu_ns": spread(6000, 180e3, 1.4), "runq_ns": spread(6000, 9e3, 1.8), "wait_poll_ns": spread(4000, 1.2e6, 1.1),
                "wait_lock_ns": spread(300, 4e5, 1.5), "wait_sleep_ns": spread(30, 5e7, 0.4), "wait_child_ns": spread(12, 4e7, 0.8),
                "loop_busy_ns": spread(4000, 2.1e5, 1.3), "loop_blocked_ns": spread(60, 9e5, 1.2),
                "loop_blocked_disk_ns": spread(40, 6e5, 0.9), "loop_blocked_net_ns": spread(20, 2e6, 0.9),
                "wake_period_ns": [100000000 + r.randrange(100000) for _ in range(64)],
                "tool_ns": spread(46, 2.1e7, 0.9), "launch_ns": spread(46, 9e5, 0.3), "map_bytes": spread(210, 9e5, 2.0),
                "send_bytes": spread(1600, 420, 1.2), "recv_bytes": spread(4100, 180, 1.3), **values},
        counters={"switches_voluntary": 4342, "switches_involuntary": 1658, "wakeups": 4342, "migrations": 231,
                  "cpu_user_ns": 1402000000, "cpu_system_ns": 318000000, "wakeups_idle": 64, "spins_poll": 3,
                  "forks": 52, "execs": 46, "exits": 50, "exits_failed": 3,
                  "faults_minor": 48211, "faults_major": 2, "retransmits": 0, **counters},
        gauges={"threads": 6, "processes": 2, "rss_bytes": 61 << 20, "rss_peak_bytes": 88 << 20, "outstanding_max": 3},
        ledger=per_10s(ledger), threads={s: v * 6 for s, v in per_10s(ledger).items()}, critical=per_10s(critical),
        concurrency={"llm": {"outstanding_s": 4.6, "busy_s": 4.6, "max": 1}, "db": {"outstanding_s": 0.9, "busy_s": 0.6, "max": 3},
                     "cache": {"outstanding_s": 0.21, "busy_s": 0.2, "max": 2}, "http": {"outstanding_s": 1.5, "busy_s": 0.8, "max": 2}},
        peers=peers,
        tools={"sh": {"counters": {"exits_failed": 1, "cpu_user_ns": 31000000, "cpu_system_ns": 22000000},
                      "values": {"tool_ns": spread(23, 3.0e7, 0.9), "launch_ns": spread(23, 9e5, 0.3)},
                      "ledger": {"running": 0.05, "runnable": 0.011, "child": 0.62, "pipe": 0.08}},
               "grep": {"counters": {"exits_failed": 2, "cpu_user_ns": 12000000, "cpu_system_ns": 9000000},
                        "values": {"tool_ns": spread(12, 1.1e7, 0.6), "launch_ns": spread(12, 8e5, 0.3)},
                        "ledger": {"running": 0.02, "runnable": 0.004, "disk": 0.09, "pipe": 0.02}},
               "sort": {"counters": {"cpu_user_ns": 84000000, "cpu_system_ns": 15000000}, "live": 1,
                        "values": {"tool_ns": spread(11, 2.4e7, 0.6), "launch_ns": spread(11, 8e5, 0.3)},
                        "ledger": {"running": 0.098, "runnable": 0.01, "pipe": 0.17, "net.http": 0.03}}})
    settings.update(changes)
    return Agent(id, **settings)


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("file")
    p.add_argument("--agents", type=int, default=1)
    p.add_argument("--seconds", type=float, default=10.0)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--deep", action="store_true")
    a = p.parse_args()
    more = lambda seed: deep(a.seconds, seed) if a.deep else {}
    write(a.file, [typical(i + 1, a.seconds, a.seed + i, pid=4242 + i, **more(a.seed + i)) for i in range(a.agents)], seconds=a.seconds)


if __name__ == "__main__":
    main()
