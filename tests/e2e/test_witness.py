# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""CPU time, run queue and stints against the kernel's own books: /proc/PID/task/*/schedstat and getrusage.

The loads are idle while stakeout attaches, work when told to, and are idle again when it lets go: the books of both sides
cover the same window. LONG=1 makes them work for ten seconds, as long as a release is checked with.
"""
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from conftest import ROOT, STAKEOUT, Agents, Recording, wait_for

PYTHON = "/usr/bin/python3"
SECONDS = 10 if os.environ.get("LONG") else 5

# Every load waits for a line, works, prints one line of JSON with the CPU time it says it took, and stays.
PRELUDE = f"""
import json, os, resource, signal, subprocess, sys, time
SECONDS = {SECONDS}

def cpu():
    return sum(u.ru_utime + u.ru_stime for u in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))

def go():
    global began
    sys.stdin.readline()
    began = cpu()
    return time.monotonic() + SECONDS

def done(**more):
    print(json.dumps(dict(cpu_s=cpu() - began, **more)), flush=True)
    signal.pause()
"""

HOG = PRELUDE + """
end = go()
while time.monotonic() < end:
    pass
done()
"""

# Tools come and go: a zombie still has its books, so read them before it is reaped.
TOOLS = PRELUDE + """
books = [0, 0, 0]
runs, end = 0, go()
while time.monotonic() < end:
    child = subprocess.Popen(["/usr/bin/sort", "-r", "/etc/services"], stdout=subprocess.DEVNULL)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    with open(f"/proc/{child.pid}/schedstat") as f:
        books = [a + int(b) for a, b in zip(books, f.read().split())]
    child.wait()
    runs += 1
done(books=books, runs=runs)
"""

# The real demo agent; its worker threads stay for their books to be read, and it starts no tools, whose books would be gone.
DEMO = PRELUDE + f"""
import asyncio, io, runpy
async def keep(self, *args):
    pass
asyncio.BaseEventLoop.shutdown_default_executor = keep
sys.path.insert(0, {str(ROOT / "tools/demo")!r})
sys.argv = ["agent.py", "--seconds", str(SECONDS - 1), "--tools", "0", "--threads", "3", "--cpu-ms", "40", "--model-delay-ms", "40",
            "--json", "/dev/null", "--services", sys.argv[1]]
agent = runpy.run_path({str(ROOT / "tools/demo/agent.py")!r}, run_name="agent")
go()
agent["main"]()
done()
"""

NODE = f"""
const fs = require('fs'), zlib = require('zlib'), crypto = require('crypto');
process.stdin.once('data', () => {{
  const began = process.cpuUsage(), end = Date.now() + {SECONDS * 1000};
  const step = () => {{
    if (Date.now() >= end) {{
      const used = process.cpuUsage(began);
      console.log(JSON.stringify({{cpu_s: (used.user + used.system) / 1e6}}));
      return;
    }}
    const list = Array.from({{length: 2000}}, (_, i) => ({{id: i, name: 'item' + i}}));
    JSON.parse(JSON.stringify(list));
    fs.readFile('/etc/services', (e, text) => zlib.gzip(text, () => crypto.pbkdf2('a', 'b', 300, 32, 'sha1', () => setTimeout(step, 1))));
  }};
  step();
}});
setInterval(() => {{}}, 1 << 30);
"""

# Pairs of processes and pairs of threads throw a byte to and fro, and each tells the CPU time it took.
PIPES = r"""
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define PAIRS 4 /* of each sort */
static double *used; /* shared: by worker */
static int start[2], finished[2], seconds;

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static double cpu(void)
{
	struct rusage u;

	getrusage(RUSAGE_THREAD, &u);
	return u.ru_utime.tv_sec + u.ru_stime.tv_sec + (u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

struct worker { int id, in, out; };

static void *work(void *arg)
{
	struct worker *w = arg;
	double begin = cpu(), end;
	char c = 'x';

	if (read(start[0], &c, 1) != 1)
		exit(1);
	c = 'x';
	end = now() + seconds;
	if (w->id % 2)
		while (now() < end && write(w->out, &c, 1) == 1 && read(w->in, &c, 1) == 1)
			;
	else
		while (read(w->in, &c, 1) == 1 && c == 'x' && write(w->out, &c, 1) == 1)
			;
	c = 'e';
	if (w->id % 2 && write(w->out, &c, 1) != 1)
		exit(1);
	used[w->id] = cpu() - begin;
	if (write(finished[1], &c, 1) != 1)
		exit(1);
	for (;;)
		pause();
}

int main(int argc, char **argv)
{
	int workers = 4 * PAIRS;
	double sum = 0, begin;
	char c[64] = "";
	pthread_t t;

	seconds = argc > 1 ? atoi(argv[1]) : 1;
	used = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (used == MAP_FAILED || pipe(start) || pipe(finished))
		return 1;
	for (int i = 0; i < workers; i += 2) {
		int a[2], b[2];

		if (pipe(a) || pipe(b))
			return 1;
		for (int j = 0; j < 2; j++) {
			struct worker *w = malloc(sizeof(*w));

			*w = (struct worker){ i + j, j ? a[0] : b[0], j ? b[1] : a[1] };
			if (i < workers / 2) {
				if (!fork())
					work(w);
			} else if (pthread_create(&t, NULL, work, w)) {
				return 1;
			}
		}
	}
	begin = cpu();
	if (!fgets(c, sizeof(c), stdin) || write(start[1], c, workers) != workers)
		return 1;
	for (int i = 0; i < workers; i++)
		if (read(finished[0], c, 1) != 1)
			return 1;
	for (int i = 0; i < workers; i++)
		sum += used[i];
	printf("{\"cpu_s\": %f}\n", sum + cpu() - begin);
	fflush(stdout);
	for (;;)
		pause();
}
"""


def tasks_of(session):
    """Stat fields and schedstat of every thread whose process belongs to the session."""
    found = {}
    for proc in Path("/proc").iterdir():
        if not proc.name.isdigit():
            continue
        try:
            if int((proc / "stat").read_text().rsplit(")", 1)[1].split()[3]) != session:
                continue
            for task in (proc / "task").iterdir():
                state = (task / "stat").read_text().rsplit(")", 1)[1].split()[0]
                found[int(task.name)] = (state, tuple(map(int, (task / "schedstat").read_text().split())))
        except FileNotFoundError:
            continue
    return found


def idle_books(pid):
    """Sums of (time on a CPU, time in the run queue, timeslices) once no thread moves any more."""
    def still():
        before = tasks_of(pid)
        time.sleep(0.05)
        return before if before == tasks_of(pid) and all(state == "S" for state, _ in before.values()) else None
    books = wait_for(f"process {pid} to be idle", still)
    return [sum(values) for values in zip(*(b for _, b in books.values()))]


class Load:
    def __init__(self, process):
        self.process = process
        self.before = self.after = self.said = self.seen = None

    def counted(self):
        return [a - b + c for a, b, c in zip(self.after, self.before, self.said.get("books", [0, 0, 0]))]


def loads_start(folder, agents):
    source, pipes = folder / "pipes.c", folder / "pipes"
    source.write_text(PIPES)
    subprocess.run(["cc", "-O2", "-pthread", "-o", pipes, source], check=True)
    services = subprocess.run([PYTHON, ROOT / "tools/demo/services.py", "--daemon", "--while-pid", str(os.getpid())],
                              stdout=subprocess.PIPE, check=True, text=True).stdout.strip()
    commands = {
        "demo": [PYTHON, "-c", DEMO, services],
        "hog": [PYTHON, "-c", HOG],
        "pipes": [pipes, SECONDS],
        "node": ["node", "-e", NODE],
        "tools": [PYTHON, "-c", TOOLS],
    }
    return {name: Load(agents(*argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)) for name, argv in commands.items()}


@pytest.fixture(scope="module")
def loads(tmp_path_factory):
    """All loads as five agents of one recording; they contend for the CPUs."""
    folder, agents = tmp_path_factory.mktemp("witness"), Agents()
    out = folder / "out.ndjson"
    try:
        loads = loads_start(folder, agents)
        for load in loads.values():
            idle_books(load.process.pid)
        pids = ",".join(str(load.process.pid) for load in loads.values())
        observer = subprocess.Popen([STAKEOUT, "record", "-q", "--budget", "off", "-i", "0.5", "-o", out, "-p", pids], stdout=subprocess.PIPE,
                                    stderr=subprocess.PIPE)
        wait_for("the first interval", lambda: out.exists() and '"interval","seq"' in out.read_text() or observer.poll() is not None)
        for load in loads.values():
            load.before = idle_books(load.process.pid)
        # Pipes on all CPUs keep everybody else out for seconds (kernel 6.18): they have their turn first.
        for names in (["pipes"], [name for name in loads if name != "pipes"]):
            together = [loads[name] for name in names]
            for load in together:
                load.process.stdin.write(b"go\n")
                load.process.stdin.flush()
            for load in together:
                load.said = json.loads(load.process.stdout.readline())
        for load in loads.values():
            load.after = idle_books(load.process.pid)
        observer.send_signal(signal.SIGINT)
        _, err = observer.communicate(timeout=60)
        assert observer.returncode == 0, err
    finally:
        agents.close()
    recording = Recording(out)
    assert not any(recording.total["observer"]["lost"].values())
    ids = {agent["pid"]: agent["id"] for agent in recording.agents}
    for load in loads.values():
        load.seen = next(a for a in recording.total["agents"] if a["id"] == ids[load.process.pid])
        load.intervals = [a for i in recording.intervals for a in i["agents"] if a["id"] == load.seen["id"]]
    return loads


NAMES = ["demo", "hog", "pipes", "node", "tools"]


def same_time(seen_ns, counted_ns):
    assert counted_ns > 0
    assert abs(seen_ns - counted_ns) <= max(0.01 * counted_ns, 2e6), (seen_ns, counted_ns, seen_ns / counted_ns)


@pytest.mark.parametrize("name", NAMES)
def test_time_on_a_cpu(loads, name):
    same_time(loads[name].seen["hist"]["oncpu_ns"]["sum"], loads[name].counted()[0])


@pytest.mark.parametrize("name", NAMES)
def test_time_in_the_run_queue(loads, name):
    same_time(loads[name].seen["hist"]["runq_ns"]["sum"], loads[name].counted()[1])


@pytest.mark.parametrize("name", NAMES)
def test_stints(loads, name):
    seen, counted = loads[name].seen["hist"]["oncpu_ns"]["count"], loads[name].counted()[2]
    assert counted > 0
    assert abs(seen - counted) <= max(0.01 * counted, 2), (seen, counted)


@pytest.mark.parametrize("name", NAMES)
def test_cpu_time_agrees_with_getrusage(loads, name):
    counters, said = loads[name].seen["counters"], loads[name].said["cpu_s"]
    seen = (counters.get("cpu_user_ns", 0) + counters.get("cpu_system_ns", 0)) / 1e9
    assert said > 0.1
    assert abs(seen - said) <= max(0.02 * said, 0.02), (seen, said)


@pytest.mark.parametrize("name", NAMES)
def test_ledger_agrees_with_the_histograms(loads, name):
    """Two ways to the same sums: states, cut at the borders of intervals, and stints, told when they end."""
    load = loads[name]
    running = load.seen["ledger"]["threads_s"]["running"]
    same_time(running * 1e9, load.counted()[0])
    assert sum(a["ledger"]["threads_s"].get("running", 0) for a in load.intervals) == pytest.approx(running, abs=1e-6)


def test_every_tool_is_counted(loads):
    (tool,) = [t for t in loads["tools"].seen["tools"] if t["name"] == "sort"]
    assert tool["hist"]["tool_ns"]["count"] == loads["tools"].said["runs"] > 10
