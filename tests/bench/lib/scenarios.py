# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""What is measured: a row a scenario, and the targets that are judged from it."""
from dataclasses import dataclass
from typing import Callable, Optional

from . import loads, measure


@dataclass(frozen=True)
class Plan:
    """How long and how often."""
    window_s: float  # that is timed, with a tool and without
    stats_s: float  # with the kernel's timing of BPF programs
    pairs: int  # windows of a tool
    pairs_own: int  # of stakeout
    twin_s: float  # of the twins, with a tool and without
    pairs_twin: int
    siblings: int
    rounds: int  # of what is not compared window by window
    starts: int
    idle_s: float
    quick: bool


QUICK = Plan(0.5, 0.25, 1, 2, 1.0, 3, 3, 1, 3, 5, True)
FULL = Plan(0.6, 0.3, 3, 8, 1.5, 7, 8, 2, 3, 15, False)


@dataclass(frozen=True)
class Scenario:
    name: str
    what: str
    load: Optional[Callable]  # setup: gives the load, started
    tools: tuple
    measure: Callable
    quick: tuple = ()  # tools of the quick mode; none: not in it


OURS = "stakeout"
GOVERNED = "stakeout in budget"
SCHED = ("runqlat", "cpudist", "cpudist -O", "offcputime")
SIZES = (2, 10, 100, 1000)
SCENARIOS = [
    Scenario("switch", "two threads hand a byte to and fro on one CPU", lambda: loads.Counted("switch", "pair", 0, 0),
             (OURS, GOVERNED, "stakeout +profile", *SCHED, "profile", "syscount", "bpftrace runq", "perf sched", "perf trace -s", "strace -c -f"),
             measure.compare, (OURS, *SCHED)),
    Scenario("switch2", "the same on two CPUs", lambda: loads.Counted("switch", "pair", 0, 1), (OURS, "runqlat", "offcputime", "perf sched"), measure.compare, (OURS, "runqlat")),
    Scenario("bystander", "the same on one CPU, unwatched, beside a watched process that sleeps", lambda: loads.Counted("switch", "pair", 0, 0, bystander=True),
             (OURS, "runqlat", "offcputime", "syscount", "bpftrace runq"), measure.compare, (OURS, "runqlat")),
    Scenario("redis", "redis-benchmark over 50 connections; the client is watched", lambda: loads.Redis(50),
             (OURS, GOVERNED, "tcprtt", "tcpconnlat", "tcplife", "syscount", "bpftrace syscalls", "perf trace -s", "strace -c -f"), measure.compare,
             (OURS, GOVERNED, "syscount")),
    Scenario("wrk", "wrk over 50 connections against nginx; wrk is watched", lambda: loads.Wrk(50),
             (OURS, GOVERNED, "tcplife", "syscount", "strace -c -f"), measure.compare, (OURS, GOVERNED)),
    Scenario("malloc", "malloc and free of 16 to 4,096 bytes, no system call", lambda: loads.Counted("malloc+free", "malloc", own_libc=True),
             (OURS, "stakeout +heap", "stakeout +heap=full", "memleak", "bpftrace malloc"), measure.compare, (OURS, "stakeout +heap")),
    Scenario("exec", "starts /bin/true, again and again", lambda: loads.Counted("fork+exec", "exec"),
             (OURS, GOVERNED, "execsnoop", "exitsnoop", "bpftrace exec", "offcputime", "strace -c -f"), measure.compare, (OURS, GOVERNED, "execsnoop")),
    Scenario("fault", "touches fresh pages", lambda: loads.Counted("fault", "fault"), (OURS, "bpftrace faults", "profile"), measure.compare, (OURS,)),
    Scenario("demo", "two demo agents at once, the same steps; one is watched", lambda: loads.Demo(sibling=True), (OURS, "offcputime", "strace -c -f"),
             measure.siblings, (OURS,)),
    Scenario("malloc-twin", "malloc, against a twin in turns of 10 ms that nobody watches", lambda: loads.Twins("malloc"),
             (OURS, "stakeout +heap"), measure.twins, (OURS, "stakeout +heap")),
    Scenario("exec-twin", "exec, likewise", lambda: loads.Twins("exec"), (OURS, "execsnoop"), measure.twins, (OURS,)),
    Scenario("fault-twin", "fault, likewise", lambda: loads.Twins("fault"), (OURS,), measure.twins, (OURS,)),
    Scenario("agents", "a ring of processes, as so many agents and as one", None, (OURS,),
             measure.scale(measure.agents_round, (("processes, one agent", False, (2, 1000)), ("agents", True, SIZES))), (OURS,)),
    Scenario("threads", "a ring of threads of one agent", None, (OURS,), measure.scale(measure.threads_round, (("threads", True, SIZES),)), (OURS,)),
    Scenario("burst", "more records than the ring holds; records drained by one core", None, (OURS,), measure.burst, (OURS,)),
    Scenario("start", "from exec to attached, and to the first interval", None, (OURS, "runqlat", "offcputime", "profile", "memleak", "bpftrace runq",
                                                                                 "bpftrace malloc"), measure.start, (OURS, "profile", "bpftrace runq")),
    Scenario("reading", "reading recordings", None, (OURS,), measure.reading, (OURS,)),
    Scenario("idle", "a process that sleeps, watched", None, (OURS, "runqlat", "execsnoop", "bpftrace runq"), measure.idle, (OURS,)),
]
BY_NAME = {s.name: s for s in SCENARIOS}


@dataclass(frozen=True)
class Target:
    what: str
    scenario: str
    value: Callable  # of the scenario's results: a number, or an estimate with its interval; a KeyError where there is no figure: not judged
    unit: str
    limit: float
    at_most: bool = True


def sched_ns(r):
    return sum(ns for name, (_, ns) in r[OURS]["programs"].items() if name.startswith("sched__"))


def slowdown(tool, key):
    """Percent, with its interval."""
    return lambda r: (*(100 * part for part in r[tool][key][:3]), r[tool][key][3])


def throughput_down(r):
    """Percent, with its interval."""
    return (*(100 * (1 - 1 / (1 + part)) for part in r[GOVERNED]["wall"][:3]), r[GOVERNED]["wall"][3])


def peers(r, key):
    """A figure of the other tools that run here."""
    return [f[key] for name, f in r.items() if not name.startswith((OURS, "(")) and "why" not in f and f.get(key)]


def above_peers(key):
    """Percent by which ours is slowed down more than by the tool that does it least; 0 or less: none is cheaper."""
    return lambda r: 100 * (r[OURS][key][0] - min(change[0] for change in peers(r, key)))


def growth(way, over, key="bpf_ns"):
    """What a record costs at 1,000, over what it costs in another row."""
    return lambda r: r[f"1,000 {way}"][key] / r[over][key]


TARGETS = [
    Target("sched a watched switch, over runqlat", "switch", lambda r: sched_ns(r) / r["runqlat"]["bpf_ns"], "x", 0.20),
    Target("the same, over runqlat, cpudist, cpudist -O and offcputime", "switch", lambda r: sched_ns(r) / sum(r[t]["bpf_ns"] for t in SCHED), "x", 0.03),
    Target("an unwatched switch, above an empty program", "bystander", sched_ns, "ns", 5),
    Target("two CPUs: sched a watched switch, over runqlat", "switch2", lambda r: sched_ns(r) / r["runqlat"]["bpf_ns"], "x", 0.20),
    Target("BPF time an exchange, over syscount", "redis", lambda r: r[OURS]["bpf_ns"] / r["syscount"]["bpf_ns"], "x", 1),
    Target("redis-benchmark, in budget: throughput down by", "redis", throughput_down, "%", 2),
    Target("wrk, in budget: throughput down by", "wrk", throughput_down, "%", 2),
    Target("demo agent, against another one at once: CPU time up by", "demo", slowdown(OURS, "cpu"), "%", 0.5),
    Target("demo agent, against another one at once: wall-clock time up by", "demo", slowdown(OURS, "wall"), "%", 0.5),
    Target("fork+exec, in budget: CPU time up by", "exec", slowdown(GOVERNED, "cpu"), "%", 3),
    Target("fork+exec: in full detail, less that of the cheapest other tool", "exec", above_peers("cpu"), "points", 0),
    Target("fork+exec: BPF time, over that of the cheapest other tool", "exec", lambda r: r[OURS]["bpf_ns"] / min(peers(r, "bpf_ns")), "x", 1),
    Target("fork+exec, against its twin: CPU time up by", "exec-twin", slowdown(OURS, "cpu"), "%", 3),
    Target("malloc, heap off, against its twin: CPU time up by", "malloc-twin", slowdown(OURS, "cpu"), "%", 0.5),
    Target("malloc, heap sampled, against its twin: CPU time up by", "malloc-twin", slowdown("stakeout +heap", "cpu"), "%", 1),
    Target("malloc, heap off: CPU time up by", "malloc", slowdown(OURS, "cpu"), "%", 0.5),
    Target("malloc, heap sampled: wall-clock time up by", "malloc", slowdown("stakeout +heap", "wall"), "%", 1),
    Target("kernel's cost a record, 1,000 agents over the same as one", "agents", growth("agents", "1,000 processes, one agent"), "x", 1.10),
    Target("kernel's cost a record, 1,000 agents over 2", "agents", growth("agents", "2 agents"), "x", 1.10),
    Target("collector's cost a record, 1,000 agents over the same as one", "agents", growth("agents", "1,000 processes, one agent", "collector_ns"), "x", 1.10),
    Target("kernel's cost a record, 1,000 threads over 2", "threads", growth("threads", "2 threads"), "x", 1.10),
    Target("collector's cost a record, 1,000 threads over 10", "threads", growth("threads", "10 threads", "collector_ns"), "x", 1.10),
    Target("1,000 agents: memory, BPF maps included", "agents", lambda r: r["1,000 agents"]["memory"] / 2**20, "MiB", 64),
    Target("1,000 agents: lost", "agents", lambda r: r["1,000 agents"]["lost"], "", 0),
    Target("burst beyond the ring: not accounted for", "burst", lambda r: sum(f["unaccounted"] for f in r.values()), "", 0),
    Target("records a second drained and aggregated by one core", "switch", lambda r: r[OURS]["rate"] / r[OURS]["tool_cpu"], "/s", 3e6, False),
    Target("collector at 100,000 records/s of 100 threads", "threads", lambda r: 100 * 1e-9 * 1e5 * r["100 threads"]["collector_ns"], "% of a core", 5),
    Target("start to attached", "start", lambda r: 1000 * r[OURS]["attached_s"], "ms", 150),
    Target("start to first interval", "start", lambda r: r[OURS]["interval_s"], "s", 1.2),
    Target("start to attached, over the fastest of bcc and bpftrace", "start",
           lambda r: r[OURS]["attached_s"] / min(f["attached_s"] for name, f in r.items() if name.startswith(("bpftrace", "memleak", "profile")) and "why" not in f), "x", 1),
    Target("idle: wake-ups a second", "idle", lambda r: r[OURS]["wakeups_s"], "/s", 1),
    Target("idle: share of a core", "idle", lambda r: 100 * r[OURS]["cpu"], "%", 0.05),
]
