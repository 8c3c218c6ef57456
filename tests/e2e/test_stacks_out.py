# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""What `stakeout report` makes of stacks (--folded, --pprof) and of heaps, garbage collection, limits and notes, on recordings whose values are known."""
import json
import os
import random
import re
import resource
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import make_recording as make
from make_recording import frame
from stack_readers import Pprof, folded

PLAIN = {"PATH": os.environ["PATH"], "LC_ALL": "C", "TERM": "xterm"}
HOSTILE = "evil\x1b[2J;\r\n\t\x07\u202ename 12"
PROBES = [{"name": p, "state": "on", "why": ""} for p in [*make.PROBES, "profile", "heap", "offcpu", "gc"]]
PPROF = {"cpu_ns": ("cpu", "nanoseconds"), "offcpu_ns": ("offcpu", "nanoseconds"), "alloc_bytes": ("alloc_space", "bytes"),
         "live_bytes": ("inuse_space", "bytes"), "live_blocks": ("inuse_objects", "count"), "leak_bytes": ("leak_space", "bytes")}


def report(stakeout, *args, status=0, **kwargs):
    done = stakeout("report", *args, env=PLAIN, **kwargs)
    assert done.returncode == status, done.stderr
    if status == 0:
        assert done.stderr == b""
        return done.stdout
    assert done.stdout == b""
    lines = done.stderr.decode().splitlines()
    assert len(lines) == 1 and lines[0].startswith("stakeout: ") and lines[0].isprintable()
    return lines[0]


def text(stakeout, *args, **kwargs):
    return report(stakeout, *args, **kwargs).decode()


def figures(stakeout, *args):
    (agent,) = json.loads(report(stakeout, *args, "--json"))["agents"]
    return agent


def python(name, file="/srv/app/agent.py", line=1):
    return frame(name, kind="python", file=file, line=line)


def process(name="python3"):
    return frame(name, kind="process")


def drawn(seed, stacks):
    """Stacks of all kinds of frames, as {stack: value}."""
    r = random.Random(seed)
    kinds = [lambda n: frame(f"native{n}", f"lib{n % 5}.so.1"), lambda n: frame(f"kernel{n}", kind="kernel"), lambda n: frame(f"jit{n}", kind="jit", file="/srv/app/x.js" if n % 2 else "", line=n if n % 2 else 0),
             lambda n: python(f"python{n}", f"/srv/app/m{n % 7}.py", n + 1)]
    made = {}
    while len(made) < stacks:
        depth = r.choice([1, 2, 5, 20, 100])
        made[tuple(r.choice(kinds)(r.randrange(300)) for _ in range(depth)) + (process(r.choice(["python3", "git", "sh"])),)] = r.randrange(1, 10**9)
    return made


def shown(f):
    """A frame as a line of folded stacks has it."""
    kind, name, file, line, _ = f
    return (f"{name} ({'/'.join(file.split('/')[-2:])}:{line})" if file else name) + {"kernel": "_[k]", "jit": "_[j]"}.get(kind, "")


def as_folded(stacks, *prefix):
    return {prefix + tuple(shown(f) for f in reversed(stack)): value for stack, value in stacks.items()}


# ---- folded ----

@pytest.mark.parametrize("stacks", [1, 40, 10000])
def test_folded(stakeout, stacks):
    known = drawn(stacks, stacks)
    path = make.write(stakeout.folder / "r.ndjson", [make.Agent(1, samples={"cpu_ns": known})], intervals=2, probes=PROBES)
    got = folded(text(stakeout, path, "--folded"))
    assert got == as_folded(known)


def test_folded_of_each_kind(stakeout):
    known = {name: drawn(name, 3) for name in PPROF}
    path = make.write(stakeout.folder / "cpu_ns", [make.Agent(1, samples=known)], probes=PROBES)  # a file may be called like samples
    for name, stacks in known.items():
        for args in ([path, "--folded", name], ["--folded", name, path], [f"--folded={name}", path]):
            assert folded(text(stakeout, *args)) == as_folded(stacks)
    assert folded(text(stakeout, "--folded", path)) == as_folded(known["cpu_ns"])
    other = make.write(stakeout.folder / "recording", [make.Agent(1, samples=known)], probes=PROBES)
    assert folded(text(stakeout, "--folded", "recording")) == as_folded(known["cpu_ns"]), "a file, where there is one"
    assert folded(text(stakeout, other, "--folded", "--agent", "1")) == as_folded(known["cpu_ns"])


def test_folded_of_several_agents(stakeout):
    one, two = drawn(1, 20), drawn(2, 20)
    agents = [make.Agent(1, name="a;b", samples={"cpu_ns": one}), make.Agent(2, name="c", samples={"cpu_ns": two}), make.Agent(3, name="idle")]
    path = make.write(stakeout.folder / "r.ndjson", agents, probes=PROBES)
    assert folded(text(stakeout, path, "--folded")) == as_folded(one, "a:b") | as_folded(two, "c")
    assert folded(text(stakeout, path, "--folded", "--agent", "c")) == as_folded(two)


def test_folded_names_are_harmless(stakeout):
    known = {(frame(HOSTILE), frame(HOSTILE, kind="kernel"), python(HOSTILE, HOSTILE, 3), frame("", "x"), frame("f 9"), process(HOSTILE)): 5, (): 2}
    path = make.write(stakeout.folder / "r.ndjson", [make.Agent(i, name=HOSTILE, samples={"cpu_ns": known}) for i in (1, 2)], probes=PROBES, intervals=1)
    done = report(stakeout, path, "--folded")
    lines = done.decode().splitlines()
    assert len(lines) == 4 and not re.search(rb"[\x00-\x09\x0b-\x1f\x7f]", done)
    for line in lines:
        stack, value = line.rsplit(" ", 1)
        assert (stack.count(";"), value) in ((6, "5"), (1, "2"))
        assert not re.search(r" [\d.]+$", stack)


def test_folded_stacks_that_read_the_same_are_one_line(stakeout):
    known = {(frame("f", "a.so"), process()): 3, (frame("f", "b.so"), process()): 4}
    path = make.write(stakeout.folder / "r.ndjson", [make.Agent(1, samples={"cpu_ns": known})], probes=PROBES, intervals=1)
    assert text(stakeout, path, "--folded") == "python3;f 7\n"


@pytest.mark.parametrize("word, what", [("cpu_n", "did you mean 'cpu_ns'"), ("live_byte", "did you mean 'live_bytes'"), ("zzz", "there are cpu_ns, offcpu_ns")])
def test_unknown_samples(stakeout, word, what):
    path = make.write(stakeout.folder / "r.ndjson", [make.Agent(1, samples={"cpu_ns": drawn(1, 1)})])
    for args in ([path, "--folded", word], [path, f"--folded={word}"]):
        line = report(stakeout, *args, status=2)
        assert f"'{word}'" in line and what in line


@pytest.mark.parametrize("name, probe", [("cpu_ns", "+profile"), ("offcpu_ns", "+offcpu"), ("alloc_bytes", "+heap"), ("leak_bytes", "+heap=full")])
def test_recording_without_stacks(stakeout, name, probe):
    path = make.write(stakeout.folder / "r.ndjson", [make.Agent(1)])
    line = report(stakeout, path, "--folded", name, status=2)
    assert name in line and f"--probe {probe}" in line
    assert "+profile" in report(stakeout, path, "--pprof", "out.pb.gz", status=2)
    assert stakeout.files() == ["r.ndjson"]
    make.write(path, [make.Agent(1)], probes=PROBES)
    if name == "cpu_ns":
        assert "profile was on" in report(stakeout, path, "--folded", status=2)


# ---- pprof ----

def pprof_file(stakeout, path, *args):
    out = stakeout.folder / "out.pb.gz"
    assert report(stakeout, path, "--pprof", out, "--force", *args) == b""
    return out


def known_agents():
    return [make.Agent(1, name="first", counters={"profile_samples": 500}, tools={"git": {}}, samples={name: drawn(name, 50) for name in PPROF}),
            make.Agent(2, name="second", counters={"profile_samples": 300}, samples={"cpu_ns": drawn(9, 400), "alloc_bytes": {(): 77}})]


def test_pprof(stakeout):
    """Everything that the recording has, read by an independent decoder."""
    agents = known_agents()
    got = Pprof(pprof_file(stakeout, make.write(stakeout.folder / "r.ndjson", agents, probes=PROBES, intervals=2)).read_bytes())
    assert got.types == list(PPROF.values()) and got.default == "cpu"
    assert got.time_nanos == 1767323045678000000 and got.duration_nanos == 10**10
    cpu = sum(sum(a.samples["cpu_ns"].values()) for a in agents)
    assert got.period == cpu // 800 and got.period_type == [("cpu", "nanoseconds")]
    assert got.comments == ["stakeout: host testhost, kernel 6.18.0"] and got.mappings[0] == "first"
    known = {(a.name, name, stack): value for a in agents for name, of in a.samples.items() for stack, value in of.items()}
    other = frame("(other)")
    for frames, values, labels in got.samples:
        ((at, value),) = [(i, v) for i, v in enumerate(values) if v]
        agent = next(a for a in agents if a.name == labels["agent"])
        name = list(PPROF)[at]
        stack = next(s for s in agent.samples[name] if frames == tuple(
            (f[1], f[2], f[3], "[kernel.kallsyms]" if f[0] == "kernel" else f[4]) for f in s or (other,)))
        assert known.pop((agent.name, name, stack)) == value
        tool = {"tool": "git"} if stack and agent.name == "first" and stack[-1][1] == "git" else {}
        assert labels == {"agent": agent.name, **({"process": stack[-1][1]} if stack else {}), **tool}
    assert not known


def test_pprof_has_the_kinds_that_there_are(stakeout):
    agents = [make.Agent(1, samples={"offcpu_ns": drawn(1, 1), "leak_bytes": drawn(2, 1)}), make.Agent(2, samples={"cpu_ns": drawn(3, 4)})]
    path = make.write(stakeout.folder / "r.ndjson", agents)
    got = Pprof(pprof_file(stakeout, path, "--agent", "1").read_bytes())
    assert got.types == [PPROF["offcpu_ns"], PPROF["leak_bytes"]] and got.period == 0 and len(got.samples) == 2
    assert len(Pprof(pprof_file(stakeout, path).read_bytes()).types) == 3


def go_pprof(*args):
    done = subprocess.run(["go", "tool", "pprof", *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120,
                          env=dict(PLAIN, HOME="/nonexistent", PPROF_TMPDIR="/nonexistent", GOFLAGS="-mod=mod"))
    assert done.returncode == 0, done.stderr
    return done.stdout.decode()


def test_pprof_opens_in_a_real_reader(stakeout):
    burn, step, main, module = python("burn", line=7), python("step", line=40), python("main", line=90), python("<module>")
    tail = (main, module, process())
    known = {(burn, step) + tail: 5 * 10**9, (frame("memcpy", "libc.so.6"), step) + tail: 3 * 10**9, (frame("vfs_read", kind="kernel"),) + tail: 2 * 10**9}
    agent = make.Agent(1, name="demo", samples={"cpu_ns": known, "alloc_bytes": {(step,) + tail: 3 << 20}})
    out = pprof_file(stakeout, make.write(stakeout.folder / "r.ndjson", [agent], probes=PROBES, intervals=1))
    top = go_pprof("-top", out)
    assert "File: demo" in top and "Type: cpu" in top and "Duration: 10s, Total samples = 10s" in top
    rows = {m[5]: m.groups()[:4] for m in re.finditer(r"^ +([\d.]+\w*) +([\d.]+)% +[\d.]+% +([\d.]+\w*) +([\d.]+)%  (\S+)$", top, re.M)}
    assert rows["burn"] == ("5s", "50.00", "5s", "50.00") and rows["memcpy"] == ("3s", "30.00", "3s", "30.00")
    assert rows["step"] == ("0", "0", "8s", "80.00") and rows["<module>"] == ("0", "0", "10s", "100")
    assert re.search(r"3MB.*100%  step$", go_pprof("-top", "-sample_index=alloc_space", out), re.M)
    assert "burn /srv/app/agent.py:7" in go_pprof("-top", "-lines", out)
    assert re.search(r"agent: +Total 10.0s\n +10.0s \( +100%\): demo", go_pprof("-tags", out))


@pytest.mark.parametrize("stacks", [1, 10000])
def test_pprof_of_few_and_of_many_stacks(stakeout, stacks):
    known = drawn(f"pprof{stacks}", stacks)
    known[(frame(HOSTILE), python(HOSTILE, HOSTILE), process(HOSTILE))] = 10**12
    path = make.write(stakeout.folder / "r.ndjson", [make.Agent(1, name=HOSTILE, samples={"cpu_ns": known})], intervals=1)
    out = pprof_file(stakeout, path)
    got = Pprof(out.read_bytes())
    assert len(got.samples) == stacks + 1 and sum(v for _, (v,), _ in got.samples) == sum(known.values())
    top = go_pprof("-top", out)
    assert "\x1b" not in top and "evil" in top


def test_pprof_output(stakeout):
    path = make.write(stakeout.folder / "r.ndjson", known_agents())
    out = stakeout.folder / "out"
    out.write_bytes(b"precious")
    assert "--force" in report(stakeout, path, "--pprof", out, status=5) and out.read_bytes() == b"precious"
    whole = pprof_file(stakeout, path).read_bytes()
    assert stat.S_IMODE((stakeout.folder / "out.pb.gz").stat().st_mode) == 0o640
    assert report(stakeout, path, "--pprof", "-") == whole
    assert "No such file" in report(stakeout, path, "--pprof", stakeout.folder / "none" / "out", status=5)
    full = stakeout.folder / "full"  # by a name of ours: what would remove a device must not get at that of the machine
    full.symlink_to("/dev/full")
    assert "No space left" in report(stakeout, path, "--pprof", full, "--force", status=5) and full.is_symlink()
    assert stakeout.files() == ["full", "out", "out.pb.gz", "r.ndjson"]


def test_half_a_profile_is_not_left_behind(stakeout):
    """The disk is full in the middle of it."""
    path = make.write(stakeout.folder / "r.ndjson", [make.Agent(1, samples={"cpu_ns": drawn("half", 2000)})], intervals=1)

    def small_files():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))

    assert len(report(stakeout, path, "--pprof", "-")) > 20000
    assert "out.pb.gz" in report(stakeout, path, "--pprof", stakeout.folder / "out.pb.gz", status=5, preexec_fn=small_files)
    assert stakeout.files() == ["r.ndjson"]


def test_what_cannot_be_asked_for(stakeout):
    path = make.write(stakeout.folder / "r.ndjson", known_agents())
    for args in (["--json", "--folded"], ["--folded", "--pprof", "x"], ["--hist", "runq_ns", "--pprof", "x"], ["--json", "--hist", "runq_ns", "--folded"]):
        assert "exclude" in report(stakeout, path, *args, status=2)
    assert "one recording" in report(stakeout, path, path, "--pprof", "x", status=2)
    assert "needs a value" in report(stakeout, path, "--pprof", status=2)
    assert stakeout.files() == ["r.ndjson"]
    with open("/dev/full", "wb") as full:
        done = subprocess.run([stakeout.path, "report", path, "--folded"], stdout=full, stderr=subprocess.PIPE, env=PLAIN)
    assert done.returncode == 5 and done.stderr.count(b"\n") == 1


# ---- for people ----

def section(shown, heading):
    """The lines below a heading, up to the next heading or the end of the agent."""
    lines = shown.splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("  " + heading))
    end = next(i for i in range(at + 1, len(lines)) if not lines[i] and not lines[i + 1].startswith(("  Alloc", "  Not freed", "  Leak")))
    return lines[at + 1:end]


def tail(*frames):
    return frames + (python("main", line=90), process())


def test_one_long_place_does_not_cost_a_table_the_others(stakeout):
    """Where a function is is cut at its begin, between characters; what a file and a line say is at the end."""
    accents = "\u00e9" * 40
    places = {"<frozen importlib._bootstrap_external>": "<frozen importlib._bootstrap_external>:727",
              f"/srv/app/{accents}.py": f"app/{accents}.py:727", "/srv/app/agent.py": "app/agent.py:727"}
    known = {(python(f"work{n}", file, 727), process()): 10**9 for n, file in enumerate(places)}
    path = make.write(stakeout.folder / "r.ndjson", [make.Agent(1, samples={"cpu_ns": known})], probes=PROBES)
    done = stakeout("report", path, env=PLAIN | {"LC_ALL": "C.UTF-8"})
    shown = [re.split(" {2,}", line.strip()) for line in section(done.stdout.decode(), "CPU profile")[1:4]]
    assert {(row[2], row[3]) for row in shown} == {(f"work{n}", where if len(where) <= 24 else ".." + where[-22:]) for n, where in enumerate(places.values())}


def test_profile_for_people(stakeout):
    recursive = python("walk", line=3)
    known = {tail(python("burn", line=7)): 500, tail(frame("memcpy", "libcrypto.so.3"), recursive, recursive): 300, tail(recursive): 40,
             (frame("[git+0x10]", "git"), frame("run", "git"), process("git")): 90, (frame("[git+0x20]", "git"), process("git")): 60, (): 10}
    known = {stack: value * 10**6 for stack, value in known.items()}
    agent = make.Agent(1, samples={"cpu_ns": known}, counters={"profile_samples": 100})
    lines = section(text(stakeout, make.write(stakeout.folder / "r.ndjson", [agent], probes=PROBES)), "CPU profile (100 samples, one for each 10.0 ms on a CPU)")
    assert [line.split() for line in lines] == [
        ["self", "%", "total", "%", "function", "where"],
        ["50.0", "50.0", "burn", "app/agent.py:7"], ["30.0", "30.0", "memcpy", "libcrypto.so.3"], ["15.0", "15.0", "no", "symbols", "git"],
        ["4.0", "34.0", "walk", "app/agent.py:3"], ["1.0", "1.0", "(other)"],
        ["own", "code", "burn", "50", "%,", "walk", "34", "%,", "run", "9", "%"],
        ["by", "process", "python3", "84", "%,", "git", "15", "%,", "unknown", "1", "%"],
        ["unknown", "9", "%", "on", "top", "of", "the", "stack", "in", "code", "without", "symbols,"],
        ["7", "%", "in", "stacks", "of", "which", "no", "function", "has", "a", "name"]]
    quiet = make.Agent(1, samples={"cpu_ns": {tail(python("burn", line=7)): 5}})
    lines = section(text(stakeout, make.write(stakeout.folder / "q.ndjson", [quiet])), "CPU profile")
    assert [line.split()[0] for line in lines[1:]] == ["100.0", "own"], "of one process with all its names known there is no more to say"


def test_waits_for_people(stakeout):
    select = python("select", "/usr/lib/python3.11/selectors.py", 451)
    kernel = tuple(frame(n, kind="kernel") for n in ("schedule", "ep_poll", "__x64_sys_epoll_wait", "do_syscall_64"))
    known = {kernel + tail(frame("epoll_wait", "libc.so.6"), select, python("fetch", line=88)): 3 * 10**9,
             tail(frame("pthread_cond_wait", "libc.so.6"), python("drain", line=5)): 10**9}
    agent = make.Agent(1, samples={"offcpu_ns": known})
    lines = section(text(stakeout, make.write(stakeout.folder / "r.ndjson", [agent]), "--width", 120), "Waits")
    assert [re.split(" {2,}", line.strip()) for line in lines[1:]] == [
        ["3.00 s", "75.0", "epoll_wait", "select", "selectors.py:451", "fetch", "app/agent.py:88"],
        ["1.00 s", "25.0", "pthread_cond_wait", "drain", "app/agent.py:5", "main", "app/agent.py:90"]]


def heap_agent(mode, **more):
    place = tail(frame("malloc", "libc.so.6"), python("raw_decode", "/usr/lib/python3.11/json/decoder.py", 343), python("parse", line=12))
    other = tail(python("put", line=31))
    rates = [4000.0, 4400.0] * 20
    heap = {"sampled": {"mode": "sampled", "windows": 40, "windows_thin": 3, "windows_failed": 1, "samples": 900, "open_s": 0.04, "trapped_s": 0.05,
                        "allocs_per_s_sum": sum(rates), "allocs_per_s_squares": sum(x * x for x in rates), "allocs_per_s_error": 0.0,
                        "bytes_per_s_sum": 1024 * sum(rates), "bytes_per_s_squares": 1048576 * sum(x * x for x in rates), "bytes_per_s_error": 0.0},
            "full": {"mode": "full", "kept": 1.0, "unknown_frees": 7}}[mode]
    samples = {"alloc_bytes": {place: 3 << 30, other: 1 << 30}}
    values = {"heap_alloc_bytes": [64] * 98 + [4096] * 2}
    counters = gauges = {}
    if mode == "full":
        samples |= {"live_bytes": {other: 6 << 20, place: 2 << 20}, "live_blocks": {other: 6000}, "leak_bytes": {other: 5 << 20}}
        values["heap_lifetime_ns"] = [10**6] * 90
        counters, gauges = {"heap_allocs": 41000, "heap_frees": 35000}, {"heap_live_bytes": 8 << 20, "heap_live_blocks": 6000}
    return make.Agent(1, samples=samples, heap=heap | more, values=values, counters=counters, gauges=gauges)


def test_sampled_heap_for_people(stakeout):
    path = make.write(stakeout.folder / "r.ndjson", [heap_agent("sampled")], probes=PROBES)
    shown = text(stakeout, path, "--width", 120)
    lines = section(shown, "Heap (sampled)")
    # mean 4200, standard deviation 200: Student's t of 39 degrees of freedom is 2.02, so 4200 +- 2.02 * 202.5 / sqrt(40)
    low, high = re.match(r"  rate        4\.20 k allocations/s \((\S+) k to (\S+) k, 95 %\)", lines[0]).groups()
    assert float(low) == pytest.approx(4.135, abs=0.012) and float(high) == pytest.approx(4.265, abs=0.012)
    assert re.search(r"4\.10 MiB/s \(4\.0\d MiB to 4\.1\d MiB, 95 %\)", lines[0])
    assert re.match(r"  sizes       p50 6\d B, p99 (3\.9\d|4\.0\d) KiB, largest 4\.00 KiB of 100 that were seen$", lines[1])
    assert lines[2] == "  observed    40 windows, open for 40.0 ms, 3 more saw too little, 1 could not be opened,"
    assert lines[3].strip() == "cost the agent 50.0 ms (0.50 % of its time)"
    assert "  Allocated, by place: 4.00 GiB" in lines
    rows = [re.split(" {2,}", line.strip()) for line in lines[lines.index("  Allocated, by place: 4.00 GiB") + 2:]]
    assert rows == [["3.00 GiB", "75.0", "raw_decode", "json/decoder.py:343", "parse", "app/agent.py:12"],
                    ["1.00 GiB", "25.0", "put", "app/agent.py:31", "main", "app/agent.py:90"]]
    assert "heap_alloc_bytes" not in shown, "not twice"


def test_full_heap_for_people(stakeout):
    path = make.write(stakeout.folder / "r.ndjson", [heap_agent("full")], probes=PROBES)
    shown = " ".join(" ".join(section(text(stakeout, path), "Heap (all allocations)")).split())
    for words in ("rate 4.10 k allocations/s,", "blocks 41.0 k allocated, 35.0 k freed, 7 of them from before, or not followed, 8.00 MiB in 6.00 k left",
                  "lifetime p50 1.00 ms, p99 1.00 ms, longest 1.00 ms", "observed every allocation Allocated", "Not freed at the end, by place: 8.00 MiB",
                  "6.00 MiB 75.0 put app/agent.py:31", "Leak candidates (old, and growing): 5.00 MiB"):
        assert words in shown, words
    make.write(path, [heap_agent("full", kept=0.25)], probes=PROBES)
    assert "the lives of 1 in 4 blocks only" in " ".join(text(stakeout, path).split())


def test_thin_heap_says_so(stakeout):
    thin = heap_agent("sampled", windows=2, allocs_per_s_sum=8400.0, allocs_per_s_squares=35360000.0, bytes_per_s_sum=8400.0, bytes_per_s_squares=35360000.0)
    path = make.write(stakeout.folder / "r.ndjson", [thin], probes=PROBES, intervals=1)
    assert "4.20 k allocations/s (too few windows for an interval)" in text(stakeout, path)
    make.write(path, [make.Agent(1, heap={"mode": "sampled", "windows_thin": 9})], probes=PROBES)
    assert "not known: no window saw enough" in text(stakeout, path)
    assert figures(stakeout, path)["heap"]["allocations"]["low"] is None


def test_garbage_collection_for_people(stakeout):
    young, full = [10**6] * 60, [5 * 10**7] * 4
    agent = make.Agent(1, values={"gc_pause_ns": young + full, "gc_pause_young_ns": young, "gc_pause_full_ns": full})
    path = make.write(stakeout.folder / "r.ndjson", [agent])
    shown = text(stakeout, path)
    assert [re.split(" {2,}", line.strip()) for line in section(shown, "Garbage collection")[1:]] == [
        ["young", "60", "1.00 ms", "1.00 ms", "1.00 ms", "60.0 ms", "0.6"], ["full", "4", "50.0 ms", "50.0 ms", "50.0 ms", "200 ms", "2.0"],
        ["all", "64", "1.00 ms", "50.0 ms", "50.0 ms", "260 ms", "2.6"]]
    assert "gc_pause" not in shown
    got = figures(stakeout, path)["gc"]
    assert got["full"] == {"count": 4, "total_s": pytest.approx(0.2), "share": pytest.approx(0.02)} and set(got) == {"young", "full", "all"}


def test_limits_for_people(stakeout):
    counters = {"throttles": 34, "throttled_ns": 1200000000, "pressure_cpu_ns": 3000000000, "steal_ns": 70000000}
    rivals = {f"rival{i}": 10**8 * (9 - i) for i in range(7)}
    starved = dict(threads={"running": 4.0, "runnable": 6.0}, ledger={"running": 10.0}, rivals=rivals, rivals_other_ns=10**8)
    path = make.write(stakeout.folder / "r.ndjson", [make.Agent(1, counters=counters, **starved)], intervals=1)
    assert section(text(stakeout, path, "--width", 120), "CPU limits (why it waited for a CPU: 6.00 s of all threads)") == [
        "  quota       used up in 34 periods, kept off the CPUs for 1.20 s",
        "  pressure    some task of its cgroup waited for a CPU during 30.0 % of the time",
        "  stolen      70.0 ms by the hypervisor, of all CPUs",
        "  who ran     rival0 21 %, rival1 19 %, rival2 16 %, rival3 14 %, rival4 12 %, others 19 %"]
    got = figures(stakeout, path)["limits"]
    assert (got["throttles"], got["throttled_s"], got["steal_s"], got["runnable_s"]) == (34, 1.2, pytest.approx(0.07), pytest.approx(6.0))
    assert [(r["name"], r["cpu_s"]) for r in got["rivals"]] == [(n, pytest.approx(ns / 1e9)) for n, ns in rivals.items()] and got["rivals_other_s"] == 0.1
    make.write(path, [make.Agent(1, **starved)], intervals=1)
    assert section(text(stakeout, path), "CPU limits")[0] == "  quota       not reached"
    for calm in (dict(threads={"running": 9.95, "runnable": 0.05}, rivals=rivals), dict(threads={"running": 5.0, "runnable": 5.0})):
        make.write(path, [make.Agent(1, **calm)])
        assert "CPU limits" not in text(stakeout, path), "nothing to explain, or nothing that explains it"


@pytest.mark.parametrize("total", [True, False])
def test_memory_outlook(stakeout, total):
    """From the intervals, also where only the sums of the total are shown."""
    growing = make.Agent(5, gauges={"rss_bytes": 100 << 20, "memory_limit_bytes": 512 << 20, "memory_left_bytes": 0})
    path, lines = stakeout.folder / "r.ndjson", [json.loads(line) for line in make.lines([growing], seconds=60.0, intervals=60, total=total)]
    for k, line in enumerate(line for line in lines if line["kind"] == "interval"):
        line["agents"][0]["gauges"] = {"rss_bytes": (100 + k) << 20, "memory_limit_bytes": 512 << 20, "memory_left_bytes": (412 - k) << 20}
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    shown = " ".join(text(stakeout, path).split())
    assert re.search(r"outlook memory grows by (1\.0\d|1\.00) MiB/s \(.* 95 %\), reaches its limit of 512 MiB in 35\d s, ", shown)
    got = figures(stakeout, path)["outlook"]
    assert got["verdict"] == "growing" and got["bytes_per_s"] == pytest.approx(1 << 20, rel=0.01)
    assert got["low"] <= got["bytes_per_s"] <= got["high"] and got["limit_bytes"] == 512 << 20
    assert got["to_limit_s"] == pytest.approx(353, rel=0.02) and got["to_limit_low_s"] <= got["to_limit_s"]
    make.write(path, [growing], seconds=60.0, intervals=60, total=total)
    assert "outlook" not in text(stakeout, path) and figures(stakeout, path)["outlook"]["verdict"] == "steady"
    make.write(path, [growing], total=total)
    assert figures(stakeout, path)["outlook"] == {"verdict": "insufficient data"}


def test_notes_come_last(stakeout):
    notes = ["heap: no allocator symbols in codex (pid 7)", "word " * 30 + HOSTILE]
    path = make.write(stakeout.folder / "r.ndjson", [make.Agent(1, notes=notes)])
    shown = text(stakeout, path)
    agent = shown[:shown.index("\n\nRecording")].splitlines()
    at = next(i for i, line in enumerate(agent) if line.startswith("  notes       heap: no allocator"))
    assert len(agent) - at == 1 + 3 and agent[at + 1].startswith("              word word") and "\x1b" not in shown and max(map(len, agent)) <= 80
    assert figures(stakeout, path)["notes"] == notes


def test_nothing_is_said_of_probes_that_are_off(stakeout):
    path = make.write(stakeout.folder / "r.ndjson", [make.Agent(1, threads={"sleep": 10.0})])
    shown, got = text(stakeout, path), figures(stakeout, path)
    for heading in ("CPU profile", "Waits", "Heap", "Allocated", "Garbage", "CPU limits", "outlook", "notes", "who ran"):
        assert heading not in shown
    assert got["profiles"] == {} and "heap" not in got and got["gc"] == {} and got["notes"] == []


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_hostile_and_wide(stakeout, width, locale):
    """Names of any length and content: no line is wider than asked, nothing reaches the terminal that it would obey."""
    names = ["n" * 300, HOSTILE, "\u65e5\u672c" * 80]
    stacks = {(frame(n, n), frame(n, kind="kernel"), frame(n, kind="jit", file=n), python(n, "/" + n, 2**31), process(n)): 10**17 for n in names}
    agent = heap_agent("full", trapped_s=1e6)
    agent.samples |= {name: stacks for name in PPROF}
    agent.rivals, agent.notes, agent.threads = {n[:15]: 10**16 for n in names}, names, {"runnable": 1e7}
    agent.counters |= {"throttles": 10**15, "throttled_ns": 10**17, "pressure_cpu_ns": 10**17, "steal_ns": 10**17, "profile_samples": 1}
    path = make.write(stakeout.folder / "r.ndjson", [agent], probes=PROBES, intervals=1)
    done = stakeout("report", path, "--width", width, env=dict(PLAIN, LC_ALL=locale))
    shown = done.stdout.decode()
    assert done.returncode == 0
    assert max(sum(2 if "\u2e80" < c else 1 for c in line) for line in shown.splitlines()) <= width
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f\u202e]", shown)
    for heading in ("CPU profile", "Waits", "Heap", "CPU limits", "notes"):
        assert heading in shown


def test_stacks_for_programs(stakeout):
    """The largest 200 of each kind with their frames spelled out, the rest as a sum; functions by self."""
    known = drawn("json", 500)
    path = make.write(stakeout.folder / "r.ndjson", [make.Agent(1, samples={"cpu_ns": known, "leak_bytes": drawn(1, 1)})], probes=PROBES)
    got = figures(stakeout, path)["profiles"]
    assert list(got) == ["cpu_ns", "leak_bytes"] and got["leak_bytes"]["unit"] == "bytes"
    cpu = got["cpu_ns"]
    assert (cpu["unit"], cpu["sum"], cpu["stacks_len"]) == ("ns", sum(known.values()), 500)
    spelled = {tuple((f["kind"], f["name"], f.get("file", ""), f.get("line", 0), f.get("module", "")) for f in s["frames"]): s["value"] for s in cpu["stacks"]}
    assert spelled == dict(sorted(known.items(), key=lambda item: -item[1])[:200])
    assert cpu["other"] == cpu["sum"] - sum(spelled.values())
    self_of = {}
    for stack, value in known.items():
        self_of[stack[0]] = self_of.get(stack[0], 0) + value
    assert [f["self"] for f in cpu["functions"]] == sorted(self_of.values(), reverse=True)[:100]
    top = cpu["functions"][0]
    assert top["total"] == sum(value for stack, value in known.items() if any(f[1] == top["name"] and f[0] == top["kind"] for f in stack))
