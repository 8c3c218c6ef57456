# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""stakeout diff on pairs of real runs: of agents that did the same twice, and of such that took 1.5 times a limit more the second time.

What an agent says it did itself decides what has changed. Agents run ahead of whatever else the machine does, or their response times would be its. LONG=1 makes 40 pairs
of a minute, else ten of 40 s; with -s the test tells each change that it knows of. And of a fault and its mend: which finding went away.
"""
import contextlib
import json
import math
import os
import subprocess
from collections import Counter

import pytest
from conftest import HANG_S, ROOT, Recording, line_of, wait_for
from services import pem

DEMO = str(ROOT / "tools/demo")
PYTHON = "/usr/bin/python3"
FAULTS = ROOT / "tests/e2e/faults"
BATCHES, SECONDS = (4, 60) if os.environ.get("LONG") else (1, 40)
OPTIONS = {"cache-gets": 3, "queries": 4, "query-ms": 15, "model-delay-ms": 60, "token-gap-ms": 2, "tokens": 10, "tools": 1, "tool-lines": 500, "tool-wait-ms": 25,
           "alloc-mib": 8, "cpu-ms": 8, "sleep-ms": 10, "threads": 0}


def percentile(books, kind, q):
    values = sorted(books["timings"][kind]["raw_ns"])
    return values[math.ceil(q * len(values)) - 1]


def cpus(books):
    return sum(sum(books[key].values()) for key in ("cpu_user_s", "cpu_system_s")) / (books["wall_ns"] / 1e9)


def times(subject, measure, kind, *percents):
    return [(subject, f"{measure}_p{p}", lambda books, p=p: percentile(books, kind, p / 100)) for p in percents]


# What each change is made by, and what it shows in: subject, measure, and the agent's own figure.
CHANGES = {
    "same": ({}, []),
    "model": ({"model-delay-ms": 80, "token-gap-ms": 2.7}, times("llm", "exchange", "model", 50, 95) + times("llm", "ttfb", "model_first_byte", 50, 95)),
    "database": ({"query-ms": 20.5}, times("db", "exchange", "query", 50, 95) + times("db", "ttfb", "query", 50, 95)),
    "tool": ({"tool-wait-ms": 34}, times("sleep", "tool", "tool_wait", 50, 95)),
    "memory": ({"alloc-mib": 10.3}, [("", "rss", lambda books: books["rss_bytes"]["mean"]), ("", "rss_peak", lambda books: books["rss_bytes"]["peak"])]),
    "cpu": ({"cpu-ms": 12.4}, [("", "cpu", cpus)]),
}


def ahead():
    """Where the kernel lets us, any that is ready runs before all ordinary programs."""
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))


class Batch:
    """Ten agents, five of which have changed the second time; each side is one recording."""

    def __init__(self, number, stakeout, agents):
        self.number, self.stakeout, self.agents = number, stakeout, agents
        self.names = {f"{change}{n}": change for n, change in enumerate(["same"] * 5 + [c for c in CHANGES if c != "same"])}
        for name in self.names:
            link = stakeout.folder / f"agent-{name}"
            link.is_symlink() or link.symlink_to(f"{DEMO}/agent.py")
        self.recordings, self.books = zip(*(self.run(side) for side in range(2)))

    def run(self, side):
        folder, path = self.stakeout.folder, f"{self.number}-{side}.ndjson"
        done = subprocess.run([PYTHON, f"{DEMO}/services.py", "--daemon", "--while-pid", str(os.getpid())], stdout=subprocess.PIPE, check=True, preexec_fn=ahead)
        ports = json.loads(done.stdout)
        peers = [word for kind, name in (("model", "llm"), ("db", "db"), ("cache", "cache")) for word in ("--peer", f"127.0.0.1:{ports[kind]}={name}")]
        watch = self.stakeout.start("record", "-q", "-o", path, "-n", f"^{PYTHON} {folder}/agent-", *peers)
        wait_for("the recording", (folder / path).exists)
        running = [self.agents(PYTHON, folder / f"agent-{name}", "--services", done.stdout.decode().strip(), "--seconds", SECONDS, "--raw", "--json", folder / f"{name}.json",
                               "--seed", 1000 * self.number + 100 * side + n, *self.options(change if side else "same"), cwd=folder, preexec_fn=ahead)
                   for n, (name, change) in enumerate(self.names.items())]
        for agent in running:
            assert agent.wait(HANG_S) == 0
        watch.send_signal(2)
        said = watch.communicate()[1]
        assert watch.returncode == 0, said
        os.kill(ports["pid"], 15)
        assert not any(Recording(folder / path).total["observer"]["lost"].values())
        return path, {name: json.loads((folder / f"{name}.json").read_text()) for name in self.names}

    @staticmethod
    def options(change):
        return [word for name, value in {**OPTIONS, **CHANGES[change][0]}.items() for word in (f"--{name}", value)]

    def compared(self, name):
        """Rows of the agent's diff, by subject and measure."""
        done = self.stakeout("diff", *self.recordings, "--agent", f"agent-{name}", "--json")
        assert done.returncode in (0, 1), done.stderr
        return {(row.get("class") or row.get("tool") or "", row["measure"]): row for row in json.loads(done.stdout)["comparisons"]}


def test_changes_are_found_and_nothing_else(stakeout, agents):
    verdicts, known = Counter(), []
    for number in range(BATCHES):
        batch = Batch(number, stakeout, agents)
        for name, change in batch.names.items():
            rows, (base, new) = batch.compared(name), (books[name] for books in batch.books)
            if change == "same":
                verdicts.update(row["verdict"] for row in rows.values())
                for (subject, measure), row in rows.items():
                    if row["verdict"] in ("degraded", "improved"):
                        print(f"{row['verdict']} but the same: {name} {subject} {measure} {row['change']:+.1%}, p {row['p']:.2g}")
            for subject, measure, own in CHANGES[change][1]:
                row, truth = rows[subject, measure], own(new) / own(base) - 1
                print(f"{change:8} {subject:5} {measure:12} by itself {truth:+.1%}, seen {row['change']:+.1%}: {row['verdict']}")
                if truth >= 1.5 * row["limit"]:
                    known.append(row["verdict"])
    judged = sum(verdicts.values()) - verdicts["insufficient data"]
    print(f"{verdicts['degraded']} of {judged} verdicts falsely degraded, {verdicts['improved']} improved; {known.count('degraded')} of {len(known)} changes found")
    assert judged >= 150 * BATCHES and len(known) >= 8 * BATCHES  # or it was not put to the test
    assert verdicts["degraded"] <= 0.01 * judged
    assert known.count("degraded") >= 0.95 * len(known)


@pytest.mark.parametrize("program, finding", [("burst.py", "queries-one-by-one"), ("serial.py", "serial-calls")])
def test_a_mended_fault_went_away(stakeout, agents, program, finding):
    """The healthy twin does the same work in less time, by its own clock."""
    server = agents(PYTHON, FAULTS / "server.py", "--pem", pem(), stdout=subprocess.PIPE)
    ports, took = line_of(server).strip(), {}
    classes = [word for port, name in (("model", "llm"), ("database", "db")) for word in ("--peer", f"127.0.0.1:{json.loads(ports)[port]}={name}")]
    for mode in ("faulty", "healthy"):
        agent = agents(PYTHON, FAULTS / program, mode, ports, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert line_of(agent) == "ready\n"
        watch = stakeout.start("record", "-q", "-i", "0.2", "-o", f"{mode}.ndjson", "-p", agent.pid, *classes)
        wait_for("the recording", (stakeout.folder / f"{mode}.ndjson").exists)
        agent.stdin.write(b"go\n")
        agent.stdin.flush()
        took[mode] = json.loads(line_of(agent))["wall_s"]
        assert watch.wait(HANG_S) == 0
    assert took["faulty"] > 1.3 * took["healthy"]
    for sides, change, says in (("faulty", "healthy"), "went", "went away"), (("healthy", "faulty"), "came", "came"):
        files = [f"{mode}.ndjson" for mode in sides]
        (found,) = [f for f in json.loads(stakeout("diff", *files, "--json").stdout)["findings"] if f["finding"] == finding]
        assert found["change"] == change and ("base" in found) == (change == "went") and found["base" if change == "went" else "new"]["wall_s"] > 0
        text = stakeout("diff", *files, "--width", "80").stdout.decode()
        assert f"  {says} " in text[text.index("Findings"):] and all(len(line) <= 80 for line in text.splitlines())
