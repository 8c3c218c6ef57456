#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""Makes recordings of many hosts, quickly: make_fleet.py FOLDER [--hosts N] [--intervals N]. And sums them, independently of the program."""
import argparse
import json
import os
import random
from datetime import datetime, timedelta, timezone
from multiprocessing import Pool

import make_recording as make

BODIES = 16  # distinct intervals; each host has its own sequence of them
BOOT = datetime(2026, 1, 2, 3, 0, tzinfo=timezone.utc)


def _agents(seed):
    """A busy agent, and one of another name on every third host."""
    r = random.Random(seed)
    spread = lambda n, median, sigma: [max(1, int(r.lognormvariate(median, sigma))) for _ in range(n)]
    peer = lambda name, kind, n, median: {"peer": "10.0.0.5:443", "name": name, "class": kind, "side": "client", "values": {"exchange_ns": spread(n, median, 0.4)},
                                          "counters": {"exchanges": n, "sent_bytes": 300 * n}}
    peers = [peer("db.internal", "db", 6 * BODIES, 14), peer("llm.example.com", "llm", 2 * BODIES, 18)]
    counters, values = make.summed(peers)
    busy = make.Agent(
        0, name="worker", pid=4242, cmdline="python3 worker.py", peers=peers, tools={"git": {"values": {"tool_ns": spread(BODIES, 16, 1)},
                                                                                          "counters": {"execs": BODIES}, "live": 1}},
        values={"oncpu_ns": spread(20 * BODIES, 12, 0.7), "runq_ns": spread(20 * BODIES, 9, 0.7), "wait_poll_ns": spread(8 * BODIES, 14, 0.4), **values},
        counters={"switches_voluntary": 25 * BODIES, "cpu_user_ns": 140000000 * BODIES, "forks": BODIES, "execs": BODIES, **counters},
        gauges={"threads": 3, "processes": 2, "rss_bytes": 61 << 20, "rss_peak_bytes": (80 << 20) + seed, "outstanding_max": 1 + seed % 7},
        ledger={"running": 0.14 * BODIES, "net.llm": 0.5 * BODIES, "net.db": 0.01 * BODIES, "idle": 0.35 * BODIES},
        threads={"running": 0.14 * BODIES, "idle": 2.86 * BODIES}, critical={"running": 0.14 * BODIES, "idle": 0.86 * BODIES},
        concurrency={"llm": {"outstanding_s": 0.6 * BODIES, "busy_s": 0.5 * BODIES, "max": 2}})
    quiet = make.Agent(7, name="helper", pid=99, values={"oncpu_ns": spread(BODIES, 11, 1)}, counters={"wakeups": BODIES},
                       gauges={"threads": 1, "processes": 1, "rss_bytes": 5 << 20}, ledger={"sleep": float(BODIES)}, threads={"sleep": float(BODIES)},
                       critical={"sleep": float(BODIES)})
    return [busy, quiet]


def _bodies(agents):
    """What follows the times of an interval, as text."""
    stacks = make.Stacks()
    parts = [a.data(BODIES, float(BODIES), stacks) for a in agents]
    observer = {"cpu_s": 0.000641554, "bpf_s": 0.000219056, "records": 46, "lost": {"ring_full": 1}, "rss_bytes": 9 << 20}
    pack = lambda o: json.dumps(o, separators=(",", ":"), ensure_ascii=False)
    return [f'"agents":{pack([p[k] for p in parts])},"observer":{pack(observer)}}}\n' for k in range(BODIES)]


def _write(job):
    path, host, intervals, seed = job
    r = random.Random(seed)
    both, alone = _KINDS[r.randrange(len(_KINDS))]
    agents, bodies = (both[0], both[1]) if host % 3 == 0 else (alone[0], alone[1])
    start = BOOT + timedelta(milliseconds=r.randrange(5000))
    head = {"kind": "header", "format": "stakeout/1", "start": start.strftime("%Y-%m-%dT%H:%M:%S.") + f"{start.microsecond // 1000:03}Z", "interval_s": 1.0,
            "host": {"name": f"host-{host}", "kernel": "6.18.0", "arch": "x86_64", "cpus": 2, "boot_id": f"boot-{host}"},
            "probes": [{"name": p, "state": "on", "why": ""} for p in make.PROBES], "agents": [a.header() for a in agents]}
    with open(path, "w", encoding="utf-8") as f:
        f.write(json.dumps(head, separators=(",", ":")) + "\n")
        for k in range(intervals):
            late = r.randrange(1000) * 1e-6
            f.write(f'{{"kind":"interval","seq":{k},"start_s":{k + late:.9f},"end_s":{k + 1 + late:.9f},' + bodies[r.randrange(BODIES)])
    return path


_KINDS = []


def write(folder, hosts, intervals, seed=1):
    """Returns the paths of one recording a host. They have no totals: whoever sums them takes the intervals."""
    if not _KINDS:
        for k in range(5):
            agents = _agents(k)
            _KINDS.append(((agents, _bodies(agents)), (agents[:1], _bodies(agents[:1]))))
    jobs = [(os.path.join(folder, f"host-{h}.ndjson"), h, intervals, seed * 1000003 + h) for h in range(hosts)]
    with Pool() as pool:
        return pool.map(_write, jobs, chunksize=4)


# ---- an independent sum ----

def _ns(seconds):
    """Decimal seconds as whole nanoseconds, without a float between."""
    whole, _, part = str(seconds).partition(".")
    return int(whole) * 10**9 + int((part + "000000000")[:9])


def _add(into, agent):
    """What adds up, of an agent, a tool or a peer: keys are paths, values whole numbers."""
    def add(key, n):
        into[key] = into.get(key, 0) + n

    for name, n in agent.get("counters", {}).items():
        add(("counter", name), n)
    for name, h in agent.get("hist", {}).items():
        assert h["scale"] == 5
        for key in ("count", "sum", "zero_count"):
            add(("hist", name, key), h[key])
        for i, n in enumerate(h["bucket_counts"], h["offset"]):
            if n:
                add(("hist", name, i), n)
        into[("max", name)] = max(into.get(("max", name), 0), h["max"])
        into[("min", name)] = min(into.get(("min", name), 1 << 64), h["min"])
    for which, states in agent.get("ledger", {}).items():
        for state, s in states.items():
            add(("ledger", which, state), _ns(s))
    if "observed_s" in agent:
        add("observed", _ns(agent["observed_s"]))
    for name, c in agent.get("concurrency", {}).items():
        add(("outstanding", name), _ns(c["outstanding_s"]))
        add(("busy", name), _ns(c["busy_s"]))
    for name in ("rss_peak_bytes", "outstanding_max"):
        if agent.get("gauges", {}).get(name):
            into[("max", name)] = max(into.get(("max", name), 0), agent["gauges"][name])


def sum_line(sums, line, names):
    """Adds an interval or total line; names: the agents', by id."""
    for a in line["agents"]:
        name = names[a["id"]]
        _add(sums.setdefault((name,), {}), a)
        for t in a["tools"]:
            _add(sums.setdefault((name, "tool", t["name"]), {}), t)
        for p in a["peers"]:
            _add(sums.setdefault((name, "peer", p["side"], p["peer"], p["name"]), {}), p)
    o = line["observer"]
    observer = sums.setdefault("observer", {})
    for key, n in [("cpu_s", _ns(o["cpu_s"])), ("bpf_s", _ns(o["bpf_s"] or 0)), ("records", o["records"]), *(("lost " + k, v) for k, v in o["lost"].items())]:
        observer[key] = observer.get(key, 0) + n


def lines(path, kind):
    with open(path, "rb") as f:
        for line in f:
            if line.startswith(b'{"kind":"%s"' % kind.encode()) or kind == "":
                yield json.loads(line, parse_float=str)


def names_of(path):
    names = {}
    for line in lines(path, "header"):
        names.update((a["id"], a["name"]) for a in line["agents"])
    for line in lines(path, "agent"):
        names[line["id"]] = line["name"]
    return names


def sum_file(path, kind="interval"):
    """All intervals of a recording, or its total, as {what: {figure: whole number}}."""
    sums, names = {}, names_of(path)
    for line in lines(path, kind):
        sum_line(sums, line, names)
    return sums


def sum_sums(all_sums):
    into = {}
    for sums in all_sums:
        for what, figures in sums.items():
            to = into.setdefault(what, {})
            for key, n in figures.items():
                low, high = isinstance(key, tuple) and key[0] == "min", isinstance(key, tuple) and key[0] == "max"
                to[key] = (min if low else max if high else lambda a, b: a + b)(to[key], n) if key in to else n
    return into


def sum_files(paths):
    with Pool() as pool:
        return sum_sums(pool.imap_unordered(sum_file, paths))


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("folder")
    p.add_argument("--hosts", type=int, default=10)
    p.add_argument("--intervals", type=int, default=60)
    a = p.parse_args()
    os.makedirs(a.folder, exist_ok=True)
    print(f"{sum(os.path.getsize(path) for path in write(a.folder, a.hosts, a.intervals)) / 1e6:.0f} MB in {a.hosts} files")


if __name__ == "__main__":
    main()
