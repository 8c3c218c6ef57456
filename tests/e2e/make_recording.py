#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""Writes synthetic recordings (`stakeout/1`), from values that the caller knows. Shares no code with stakeout.

As a program: make_recording.py FILE [--agents N] [--seconds N] [--seed N] writes one that looks like a real one.
"""
import argparse
import json
import math
import random

SCALE = 5
STATES = ["running", "runnable", "net", "disk", "lock", "sleep", "poll", "pipe", "child", "fault", "input", "other"]
PROBES = ["core", "sched", "proc", "mem", "sock"]


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


class Agent:
    """values: {metric: integers}, ledger: {state: seconds}, tools: {name: {"counters", "values", "live"}}; all for the whole time,
    dealt out over the intervals."""

    def __init__(self, id, name="agent", pid=4242, cmdline="python3 agent.py", values=None, counters=None, gauges=None,
                 ledger=None, threads=None, tools=None, exit_code=None):
        self.id, self.name, self.pid, self.cmdline = id, name, pid, cmdline
        self.values, self.counters, self.gauges = values or {}, counters or {}, gauges or {}
        self.ledger, self.threads, self.tools = ledger or {}, threads or ledger or {}, tools or {}
        self.exit_code = exit_code

    def header(self):
        return {"id": self.id, "name": self.name, "pid": self.pid, "start_ticks": 1000 + self.id, "cmdline": self.cmdline,
                "cgroup": "/system.slice/agent.service"}

    def data(self, n, seconds, total=False):
        """Share 1/n of everything (the k-th by stride for values: the caller sums over k), or the whole."""
        return [self._part(k, n, seconds / n, n) for k in range(n)] if not total else self._part(0, 1, seconds, n)

    def _part(self, k, n, observed_s, intervals):
        share = lambda value: value // n + (value % n if k == n - 1 else 0)
        last = k == n - 1
        d = {"id": self.id, "alive": not (last and self.exit_code is not None), "observed_s": observed_s,
             "counters": {c: share(v) for c, v in self.counters.items()}, "gauges": self.gauges,
             "hist": {m: hist(v[k::n]) for m, v in self.values.items() if v[k::n]},
             "ledger": {"main_s": {s: round(v / n, 9) for s, v in self.ledger.items()},
                        "threads_s": {s: round(v / n, 9) for s, v in self.threads.items()}},
             "peers": [], "tools": []}
        for name, tool in self.tools.items():
            d["tools"].append({"name": name, "runs_live": tool.get("live", 0), "live": tool.get("live", 0),
                               "counters": {c: share(v) for c, v in tool.get("counters", {}).items()}, "gauges": {},
                               "hist": {m: hist(v[k::n]) for m, v in tool.get("values", {}).items() if v[k::n]}})
        return d


def lines(agents, seconds=10.0, intervals=10, lost=None, bpf_s=0.021, probes=None, total=True, format="stakeout/1", host="testhost"):
    """The recording as a list of lines without their ends."""
    observer = lambda n: {"cpu_s": 0.12 / n, "bpf_s": bpf_s / n if bpf_s is not None else None, "records": 120000 // n,
                          "lost": {r: c // n for r, c in (lost or {"ring_full": 0}).items()}, "rss_bytes": 9 << 20}
    probes = probes or [{"name": p, "state": "on", "why": ""} for p in PROBES] + [{"name": "kmem", "state": "off", "why": ""}]
    out = [{"kind": "header", "format": format, "start": "2026-01-02T03:04:05.678Z", "interval_s": seconds / intervals,
            "host": {"name": host, "kernel": "6.18.0", "arch": "x86_64", "cpus": 2, "boot_id": "00000000-0000"},
            "probes": probes, "agents": [a.header() for a in agents]}]
    parts = [a.data(intervals, seconds) for a in agents]
    for k in range(intervals):
        out.append({"kind": "interval", "seq": k, "start_s": seconds / intervals * k, "end_s": seconds / intervals * (k + 1),
                    "agents": [p[k] for p in parts], "observer": observer(intervals)})
    if total:
        whole = [a.data(intervals, seconds, total=True) for a in agents]
        for a, d in zip(agents, whole):
            if a.exit_code is not None:
                d["exit_code"] = a.exit_code
        out.append({"kind": "total", "seq": intervals, "start_s": 0.0, "end_s": seconds, "agents": whole, "observer": observer(1)})
    return [json.dumps(o, ensure_ascii=False) for o in out]


def write(path, agents, **how):
    with open(path, "w", encoding="utf-8") as f:
        f.write("".join(line + "\n" for line in lines(agents, **how)))
    return str(path)


def typical(id, seconds, seed, **changes):
    """An agent whose figures look like those of a real one."""
    r = random.Random(seed)
    spread = lambda n, median, sigma: [max(1, int(r.lognormvariate(math.log(median), sigma))) for _ in range(n)]
    ledger = {"running": 1.312, "runnable": 0.081, "lock": 0.25, "sleep": 1.5, "poll": 6.02, "child": 0.8, "fault": 0.0003}
    ledger["other"] = round(10 - sum(ledger.values()), 9)
    ledger = {s: v * seconds / 10 for s, v in ledger.items()}
    settings = dict(
        name="demo", pid=4242, cmdline="python3 tools/demo/agent.py --seconds 10 --model http://127.0.0.1:8080/v1/chat --tools 4",
        values={"oncpu_ns": spread(6000, 180e3, 1.4), "runq_ns": spread(6000, 9e3, 1.8), "wait_poll_ns": spread(4000, 1.2e6, 1.1),
                "wait_lock_ns": spread(300, 4e5, 1.5), "wait_sleep_ns": spread(30, 5e7, 0.4), "wait_child_ns": spread(12, 4e7, 0.8),
                "tool_ns": spread(46, 2.1e7, 0.9), "launch_ns": spread(46, 9e5, 0.3), "map_bytes": spread(210, 9e5, 2.0),
                "connect_ns": spread(22, 9e4, 0.7), "send_bytes": spread(900, 420, 1.2), "recv_bytes": spread(4100, 180, 1.3),
                "rtt_ns": spread(4100, 38e3, 0.3)},
        counters={"switches_voluntary": 4342, "switches_involuntary": 1658, "wakeups": 4342, "migrations": 231,
                  "cpu_user_ns": 1402000000, "cpu_system_ns": 318000000, "forks": 52, "execs": 46, "exits": 50, "exits_failed": 3,
                  "faults_minor": 48211, "faults_major": 2, "connects": 22, "connects_failed": 1, "accepts": 0,
                  "sent_bytes": 712345, "received_bytes": 1923456, "retransmits": 0},
        gauges={"threads": 6, "processes": 2, "rss_bytes": 61 << 20, "rss_peak_bytes": 88 << 20},
        ledger=ledger, threads={s: v * 6 for s, v in ledger.items()},
        tools={"sh": {"counters": {"exits_failed": 1, "cpu_user_ns": 31000000, "cpu_system_ns": 22000000},
                      "values": {"tool_ns": spread(23, 3.0e7, 0.9), "launch_ns": spread(23, 9e5, 0.3)}},
               "grep": {"counters": {"exits_failed": 2, "cpu_user_ns": 12000000, "cpu_system_ns": 9000000},
                        "values": {"tool_ns": spread(12, 1.1e7, 0.6), "launch_ns": spread(12, 8e5, 0.3)}},
               "sort": {"counters": {"cpu_user_ns": 84000000, "cpu_system_ns": 15000000}, "live": 1,
                        "values": {"tool_ns": spread(11, 2.4e7, 0.6), "launch_ns": spread(11, 8e5, 0.3)}}})
    settings.update(changes)
    return Agent(id, **settings)


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("file")
    p.add_argument("--agents", type=int, default=1)
    p.add_argument("--seconds", type=float, default=10.0)
    p.add_argument("--seed", type=int, default=1)
    a = p.parse_args()
    write(a.file, [typical(i + 1, a.seconds, a.seed + i, pid=4242 + i) for i in range(a.agents)], seconds=a.seconds)


if __name__ == "__main__":
    main()
