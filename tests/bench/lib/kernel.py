# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""What the kernel says of a process: CPU time, memory, BPF programs and their run time. And the run of stakeout's empty programs."""
import glob
import json
import os
import subprocess

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.path.abspath(os.environ.get("O") or os.path.join(HERE, "../../../build"))


def program(name):
    return os.path.join(BUILD, "tests/bench", name)


def fdinfos(pid):
    for path in glob.glob(f"/proc/{pid}/fdinfo/*"):
        try:
            with open(path) as f:
                yield dict(line.split(":\t", 1) for line in f.read().splitlines() if ":\t" in line)
        except OSError:
            pass


def programs(pid):
    """{program id: (runs, ns)} of the BPF programs that a process holds."""
    return {i["prog_id"]: (int(i["run_cnt"]), int(i["run_time_ns"])) for i in fdinfos(pid) if "run_time_ns" in i}


def map_bytes(pid):
    """Kernel memory of the BPF maps that a process holds."""
    return sum({i["map_id"]: int(i["memlock"]) for i in fdinfos(pid) if "map_id" in i}.values())


def program_names():
    out = subprocess.run(["bpftool", "-j", "prog", "show"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                         env=dict(os.environ, PATH=os.environ["PATH"] + ":/usr/sbin")).stdout
    return {str(p["id"]): p.get("name", "") for p in json.loads(out or "[]")}


def handles(pid):
    """How many BPF programs, links and perf events a process holds."""
    n = 0
    for path in glob.glob(f"/proc/{pid}/fd/*"):
        try:
            link = os.readlink(path)
        except OSError:
            continue
        n += "bpf-prog" in link or "bpf_link" in link or "bpf-link" in link or "perf_event" in link
    return n


def status(pid, key):
    try:
        with open(f"/proc/{pid}/status") as f:
            return next((int(line.split()[1]) for line in f if line.startswith(key + ":")), 0)
    except OSError:
        return 0


def tracer(pid):
    return status(pid, "TracerPid")


def libc_of(pid):
    """The C library that a process has mapped; "" where it has none."""
    with open(f"/proc/{pid}/maps") as f:
        return next((line.split()[-1] for line in f if "/libc.so" in line), "")


def rss_bytes(pid):
    """Without pages of BPF maps, which map_bytes() has: a ring is mapped twice in a row."""
    total, of_map = 0, False
    with open(f"/proc/{pid}/smaps") as f:
        for line in f:
            words = line.split()
            if words[0] == "Rss:":
                total += 0 if of_map else int(words[1]) * 1024
            elif not words[0].endswith(":"):
                of_map = "bpf-map" in line
    return total


def threads(pid):
    return glob.glob(f"/proc/{pid}/task/*")


def cpu_s(pid):
    """Of all threads that it has now."""
    ns = 0
    for task in threads(pid):
        try:
            with open(task + "/schedstat") as f:
                ns += int(f.read().split()[0])
        except OSError:
            pass
    return ns / 1e9


def switches(pid):
    """Times that its threads left a CPU."""
    return sum(status(f"{pid}/task/{os.path.basename(t)}", key) for t in threads(pid) for key in ("voluntary_ctxt_switches", "nonvoluntary_ctxt_switches"))


def recording(path):
    with open(path) as f:
        return [json.loads(line) for line in f]


class Floor:
    """Empty programs at the scheduler's and the sockets' hooks, timed by the kernel while this lives (bpf_stats)."""

    def __init__(self):
        self.process = subprocess.Popen([program("watch"), "floor"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if self.process.stdout.readline() != "ready\n":
            raise RuntimeError("bench: the empty programs could not be attached")
        self.before = self.counters()

    def counters(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def ns(self):
        """A run of the scheduler's empty program, since the start."""
        runs, ns = (b - a for a, b in zip(self.before["bench__empty"], self.counters()["bench__empty"]))
        return ns / max(1, runs)

    def end(self):
        self.process.stdin.close()
        self.process.wait()
