# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""How a scenario is measured. Each function gives {tool: {figure: value}}; a tool that does not run here has {"why": its own reason}."""
import math
import os
import signal
import statistics
import subprocess
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from . import kernel, loads, stats
from .tools import BY_NAME, NotHere, Running

SETTLE_S = 0.1
median = statistics.median


def stats_window(load, tool, running, seconds):
    """BPF time a unit of the load above empty programs, with the kernel's timing on, which costs some itself: so not in the window that is timed."""
    floor = kernel.Floor()
    try:
        before = kernel.programs(running.pid)
        window = load.window(seconds)
        after = kernel.programs(running.pid)
        floor_ns = floor.ns()
    finally:
        floor.end()
    runs, ns = stats.net(before, after, floor_ns)
    r = {"bpf_ns": ns / window["units"], "runs": runs / window["units"], "floor_ns": floor_ns}
    if tool.own:
        names = kernel.program_names()
        r["programs"] = {}
        for i in after:
            one = stats.net({i: before.get(i, (0, 0))}, {i: after[i]}, floor_ns)
            if one[0]:
                r["programs"][names.get(i, i)] = [one[0] / window["units"], one[1] / window["units"]]
    return r


def one_round(load, tool, plan):
    """A window with the tool, one more with the kernel's timing, and what the tool itself used."""
    load.fresh()
    running, r = Running(tool, load.pid), None
    try:
        time.sleep(SETTLE_S)
        cpu = kernel.cpu_s(running.pid)
        window = load.window(plan.window_s)
        r = {"window": window, "attached_s": running.attached_s, "tool_cpu": (kernel.cpu_s(running.pid) - cpu) / window["seconds"],
             "rss": kernel.rss_bytes(running.pid), "maps": kernel.map_bytes(running.pid)}
        if running.process.poll() is None and kernel.programs(running.pid) and not isinstance(load, loads.Demo):
            r.update(stats_window(load, tool, running, plan.stats_s))
    finally:
        lost = running.stop()
    r["lost"] = lost
    return r


def compare(scenario, plan, say):
    """Windows of one load in turn: without a tool, with the first, without, with the second, and so on, again and again."""
    load, rounds, why, failed = scenario.load(), {name: [] for name in scenario.tools}, {}, Counter()
    try:
        load.fresh()
        base, bare = load.window(plan.window_s), []
        for i in range(plan.pairs_own):
            for name in scenario.tools:
                tool = BY_NAME[name]
                if failed[name] > 1 or (not tool.own and i >= plan.pairs):
                    continue
                try:
                    r = one_round(load, tool, plan)
                except NotHere as e:
                    # Once more in the next round: some fail while another's probes are at the same place.
                    why[name] = str(e)
                    failed[name] += 1
                    say(f"{name}: {e}")
                    continue
                load.fresh()
                r["before"], base = base, load.window(plan.window_s)
                r["after"] = base
                bare.append(base)
                rounds[name].append(r)
    finally:
        load.end()
    result = {name: summary(rounds[name]) if rounds[name] else {"why": why[name]} for name in scenario.tools if rounds[name] or name in why}
    result["(none)"] = {"unit": load.unit, "rate": median(1 / b["wall"] for b in bare) if bare else None,
                        "cpu_ns": 1e9 * median(b["cpu"] for b in bare) if bare else None}
    return result


def twins(scenario, plan, say):
    """The part by which a unit takes more CPU time in the twin that is watched than in the other, less that without a tool. Each is compared with what ran next to it on the
    same CPU, so that other load falls out as far as it lasts for longer than some 20 ms; what the tool costs everybody falls out as well."""
    load, logs, why = scenario.load(), {name: [] for name in scenario.tools}, {}
    try:
        base = stats.twin_log(load.costs(plan.twin_s))
        for _ in range(plan.pairs_twin):
            for name in scenario.tools:
                if name in why:
                    continue
                try:
                    running = Running(BY_NAME[name], load.pid)
                except NotHere as e:
                    why[name] = str(e)
                    say(f"{name}: {e}")
                    continue
                time.sleep(SETTLE_S)
                during = stats.twin_log(load.costs(plan.twin_s))
                running.stop()
                before, base = base, stats.twin_log(load.costs(plan.twin_s))
                logs[name].append(during - (before + base) / 2)
    finally:
        load.end()
    result = {name: {"cpu": stats.change_of(values), "pairs": len(values)} for name, values in logs.items() if values}
    result.update({name: {"why": reason} for name, reason in why.items()})
    return result


def siblings(scenario, plan, say):
    """Two runs of the same steps at once, of which one is watched, started first in every other round: what disturbs the one disturbs the other."""
    load, rounds, why = scenario.load(), {}, {}
    try:
        for i in range(plan.siblings):
            for name in scenario.tools:
                if name in why or (not BY_NAME[name].own and i >= plan.pairs):
                    continue
                try:
                    rounds.setdefault(name, []).append(siblings_round(load, BY_NAME[name], i % 2))
                except NotHere as e:
                    why[name] = str(e)
                    say(f"{name}: {e}")
    finally:
        load.end()
    result = {}
    for name, rs in rounds.items():
        result[name] = {key: stats.change_of([math.log(r["watched"][k] / r["other"][k]) for r in rs]) for k, key in enumerate(("cpu", "wall"))}
        result[name].update({key: median(r[key] for r in rs) for key in ("tool_cpu", "memory")}, pairs=len(rs))
    result.update({name: {"why": reason} for name, reason in why.items()})
    return result


def siblings_round(load, tool, other_first):
    load.fresh()
    watched, other = load.agents
    running, order = Running(tool, watched.pid), [other, watched] if other_first else [watched, other]
    time.sleep(SETTLE_S)

    def used(seconds=2):
        """Of the tool, while both are at work: it may end with them."""
        cpu = kernel.cpu_s(running.pid)
        time.sleep(seconds)
        return {"tool_cpu": (kernel.cpu_s(running.pid) - cpu) / seconds, "memory": kernel.rss_bytes(running.pid) + kernel.map_bytes(running.pid)}
    with ThreadPoolExecutor(1) as pool:
        of_tool = pool.submit(used)
        of_load = dict(zip(order, load.go(order)))
    running.stop()
    return {"watched": of_load[watched], "other": of_load[other], **of_tool.result()}


def summary(rounds):
    of = lambda key: [r[key] for r in rounds if r.get(key) is not None]
    mid = lambda key: median(of(key)) if of(key) else None
    r = {"pairs": len(rounds), "attached_s": mid("attached_s"), "tool_cpu": mid("tool_cpu"), "rss": mid("rss"), "maps": mid("maps"),
         "bpf_ns": mid("bpf_ns"), "runs": mid("runs"), "floor_ns": mid("floor_ns"), "lost": sum(of("lost")) if of("lost") else None}
    r["rate"] = median(1 / w["window"]["wall"] for w in rounds)
    for key in ("wall", "cpu"):
        r[key] = stats.change(*([w[which][key] for w in rounds] for which in ("window", "before", "after")))
    names = {name for p in of("programs") for name in p}
    if names:
        r["programs"] = {name: [median(p.get(name, [0, 0])[i] for p in of("programs")) for i in (0, 1)] for name in sorted(names)}
    return r


def record(pids, seconds, *options):
    """`stakeout record` of these; (process, file) once its header is written."""
    path = os.path.join(tempfile.mkdtemp(prefix="bench."), "r.ndjson")
    p = subprocess.Popen([os.path.join(kernel.BUILD, "stakeout"), "record", "-q", "--budget", "off", "-o", path, "-d", str(seconds), *options, "-p", str(pids)])
    loads.wait_for("header", lambda: p.poll() is not None or os.path.exists(path) and b"\n" in open(path, "rb").read(1 << 20))
    if p.poll() is not None:
        raise RuntimeError("bench: stakeout record ended early")
    return p, path


def cost_of_records(load_go, pids, seconds=2):
    """ns a record of BPF programs at the scheduler's hook above the empty one, and of the collector; memory; what was lost."""
    p, path = record(pids, 3600)
    load_go()
    time.sleep(0.3)
    cpu, begin = kernel.cpu_s(p.pid), time.monotonic()
    time.sleep(seconds / 2)
    cpu, wall = kernel.cpu_s(p.pid) - cpu, time.monotonic() - begin
    floor = kernel.Floor()
    names = {name: i for i, name in kernel.program_names().items() if i in kernel.programs(p.pid)}
    before = kernel.programs(p.pid)
    time.sleep(seconds / 4)
    after, floor_ns = kernel.programs(p.pid), floor.ns()
    floor.end()
    maps, rss = kernel.map_bytes(p.pid), kernel.rss_bytes(p.pid)
    p.send_signal(signal.SIGINT)
    p.wait()
    i = names["sched__switch"]
    runs, ns = stats.net({i: before[i]}, {i: after[i]}, floor_ns)
    total = kernel.recording(path)[-1]
    os.unlink(path)
    rate = total["observer"]["records"] / total["end_s"]
    return {"bpf_ns": ns / max(1, runs), "collector_ns": 1e9 * cpu / wall / max(1, rate), "rate": rate, "memory": maps + rss, "rss": rss, "maps": maps,
            "lost": sum(total["observer"]["lost"].values())}


def agents_round(n, as_agents):
    load = loads.Ring(n)
    r = cost_of_records(load.go, load.pids if as_agents else load.pid)
    load.end()
    return r


def threads_round(n, _):
    load = loads.Counted("switch", "threads", n)
    try:
        return cost_of_records(lambda: None, load.pid)
    finally:
        load.end()


def scale(round_of, ways):
    """{way and size: medians}. Each size's rounds stand beside those of the others, so that one machine's speed is compared."""
    def measure(scenario, plan, say):
        rounds = {}
        for _ in range(plan.rounds):
            for way, flag, sizes in ways:
                for n in sizes:
                    rounds.setdefault(f"{n:,} {way}", []).append(round_of(n, flag))
        return {name: {key: (max if key == "lost" else median)([r[key] for r in rs]) for key in rs[0]} for name, rs in rounds.items()}
    return measure


def drained(r):
    return {"seen": r["seen"], "received": r["received"], "lost": r["lost"] + r["lost_no_lane"], "unaccounted": r["seen"] - r["received"] - r["lost"] - r["lost_no_lane"],
            "cpu": r["drain_cpu_s"] / r["wall_s"], "per_core": r["received"] / r["drain_cpu_s"]}


def burst(scenario, plan, say):
    """More than the ring holds, with nobody to drain it; and what draining takes."""
    full = drained(loads.produce("full"))
    del full["cpu"], full["per_core"]  # there is nobody who drains
    return {"synthetic, ring of 64 KiB, not drained": full, "synthetic, 100,000/s": drained(loads.produce("drained", 5, 100000)),
            "synthetic, 1 million/s": drained(loads.produce("drained", 3, 1000000)), "a pair's switches, ring of 64 KiB": burst_real()}


def burst_real():
    """A pair on one CPU, a ring of 64 KiB: what the recording has and what it says it lost, against the load's own count."""
    load = loads.Pair(2)
    p, path = record(load.pid, 3600, "--ring-size", "64K", "--drain", "1000")
    switches = load.run()
    p.wait()
    o = kernel.recording(path)[-1]["observer"]
    os.unlink(path)
    lost = sum(o["lost"].values())
    return {"seen": switches, "received": o["records"], "lost": lost, "unaccounted": max(0, switches - o["records"] - lost)}


def start(scenario, plan, say):
    """Seconds from exec to attached, and of stakeout to the first interval in its file."""
    sleeper, rounds, why = subprocess.Popen(["sleep", "1000"]), {}, {}
    try:
        for _ in range(plan.starts):
            for name in scenario.tools:
                if name in why:
                    continue
                try:
                    running = Running(BY_NAME[name], sleeper.pid)
                except NotHere as e:
                    why[name] = str(e)
                    say(f"{name}: {e}")
                    continue
                r = {"attached_s": running.attached_s}
                if BY_NAME[name].own:
                    loads.wait_for("interval", lambda: b'{"kind":"interval"' in open(running.out, "rb").read())
                    r["interval_s"] = time.monotonic() - running.begin
                running.stop()
                rounds.setdefault(name, []).append(r)
    finally:
        sleeper.kill()
        sleeper.wait()
    result = {name: {key: median(r[key] for r in rs) for key in rs[0]} for name, rs in rounds.items()}
    result.update({name: {"why": reason} for name, reason in why.items()})
    return result


def reading(scenario, plan, say):
    """MB/s of what reads recordings. A subcommand that this build lacks has its own message."""
    result = {}
    with tempfile.TemporaryDirectory(prefix="bench.") as folder:
        path = os.path.join(folder, "r.ndjson")
        size = loads.synthetic_recording(path, 20, 30 if plan.quick else 120)
        for name, args in (("report", ["report", path]), ("report --json", ["report", path, "--json"]), ("diff", ["diff", path, path]),
                           ("merge", ["merge", path, path, "-o", os.path.join(folder, "m.ndjson")])):
            times = []
            for _ in range(plan.starts):
                begin = time.monotonic()
                done = subprocess.run([os.path.join(kernel.BUILD, "stakeout"), *args], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
                times.append(time.monotonic() - begin)
                if done.returncode > 1:
                    result[name] = {"why": done.stderr.strip().splitlines()[0][:110]}
                    break
            else:
                result[name] = {"mb_s": size * args.count(path) / 1e6 / median(times)}
    return result


def idle(scenario, plan, say):
    """A sleeping process, watched by each of the tools at once: wake-ups a second and CPU time of each, by the kernel's books. What it takes a day is a multiplication."""
    sleeper, tools, result = subprocess.Popen(["sleep", "1000"]), {}, {}
    read = lambda: {name: (kernel.switches(t.pid), kernel.cpu_s(t.pid), time.monotonic()) for name, t in tools.items()}
    try:
        for name in scenario.tools:
            try:
                tools[name] = Running(BY_NAME[name], sleeper.pid)
            except NotHere as e:
                result[name] = {"why": str(e)}
        time.sleep(2)  # what comes after the start
        before = read()
        time.sleep(plan.idle_s)
        for name, after in read().items():
            switches, cpu, wall = (b - a for a, b in zip(before[name], after))
            result[name] = {"wakeups_s": switches / wall, "cpu": cpu / wall, "day_s": 86400 * cpu / wall}
            tools[name].stop()
    finally:
        sleeper.kill()
        sleeper.wait()
    return result
