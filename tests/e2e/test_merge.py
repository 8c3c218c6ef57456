# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""stakeout merge: the sum of recordings is exact, by a sum that Python makes of the same files, and what is not whole is said."""
import gzip
import json
import os
import resource
import shutil
import signal
import subprocess
import time

import make_fleet
import make_recording as make
import pytest
from conftest import STAKEOUT, peak_kib

HOSTS, INTERVALS = 24, 30


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fleet")
    paths = make_fleet.write(folder, HOSTS, INTERVALS)
    return paths, make_fleet.sum_files(paths)


def merge(*args, status=0, **kwargs):
    done = subprocess.run([STAKEOUT, "merge", *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=kwargs.pop("stdin", subprocess.DEVNULL), **kwargs)
    assert done.returncode == status, done.stderr.decode()
    return done.stderr.decode()


def report(path):
    done = subprocess.run([STAKEOUT, "report", "--json", path], stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def total(path):
    found = list(make_fleet.lines(path, "total"))
    assert len(found) == 1
    return found[0]


def assert_sums(path, sums):
    """The intervals and the total of the recording at path are both this sum."""
    assert make_fleet.sum_file(path) == sums
    assert make_fleet.sum_file(path, "total") == sums


def test_the_sum_is_exact(fleet, tmp_path):
    paths, sums = fleet
    out = tmp_path / "out.ndjson"
    said = merge(*paths, "-o", out)
    assert said.endswith(f"stakeout: {HOSTS} files of {HOSTS} hosts, 2 agents, {HOSTS * INTERVALS} intervals as {len(list(make_fleet.lines(out, 'interval')))} of 1 s: {out}\n")
    assert said.count("without its total") == HOSTS
    assert_sums(out, sums)
    shown = report(out)
    assert shown["complete"] and not shown["note"] and not shown["gap"]
    assert [a["name"] for a in shown["agents"]] == ["worker", "helper"]
    assert shown["host"]["name"] == f"{HOSTS} hosts" and shown["host"]["cpus"] == 2 * HOSTS
    assert shown["intervals"] >= INTERVALS and oct(os.stat(out).st_mode)[-3:] == "640"
    helpers = len(range(0, HOSTS, 3))
    assert [a["merged"] for a in total(out)["agents"]] == [HOSTS, helpers]
    assert total(out)["agents"][0]["gauges"]["rss_bytes"] == HOSTS * (61 << 20)


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_threads_and_order_change_nothing(fleet, tmp_path, threads):
    paths, sums = fleet
    out = tmp_path / "out.ndjson"
    merge(*reversed(paths), "-q", "--threads", threads, "-o", out)
    assert_sums(out, sums)


def test_a_merge_of_merges_is_the_merge(fleet, tmp_path):
    paths, sums = fleet
    for k in range(3):
        merge(*paths[k::3], "-q", "-o", tmp_path / f"{k}.ndjson")
    said = merge(*(tmp_path / f"{k}.ndjson" for k in range(3)), "-o", tmp_path / "out.ndjson")
    assert f"{HOSTS} hosts" in said
    assert_sums(tmp_path / "out.ndjson", sums)
    head = next(make_fleet.lines(tmp_path / "out.ndjson", "header"))
    assert head["merged"]["files"] == HOSTS and sorted(head["merged"]["hosts"]) == sorted(f"host-{h}" for h in range(HOSTS))
    assert [a["merged"] for a in total(tmp_path / "out.ndjson")["agents"]] == [HOSTS, len(range(0, HOSTS, 3))]


def test_compressed_and_standard_input(fleet, tmp_path):
    paths, sums = fleet
    packed = []
    for path in paths[1::2]:
        packed.append(tmp_path / (os.path.basename(path) + ".gz"))
        packed[-1].write_bytes(gzip.compress(open(path, "rb").read(), 1))
    with open(paths[0], "rb") as f:
        merge("-", *paths[2::2], *packed, "-q", "-o", tmp_path / "out.ndjson.gz", stdin=f)
    (tmp_path / "out.ndjson").write_bytes(gzip.open(tmp_path / "out.ndjson.gz").read())
    assert_sums(tmp_path / "out.ndjson", sums)


def test_few_descriptors(fleet, tmp_path):
    """More files than may be open."""
    paths, sums = fleet
    merge(*paths, "-q", "-o", tmp_path / "out.ndjson", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (16, 16)))
    assert_sums(tmp_path / "out.ndjson", sums)


def test_agents_apart(fleet, tmp_path):
    paths, sums = fleet
    out = tmp_path / "out.ndjson"
    merge(*paths, "-q", "--apart", "-o", out)
    apart = make_fleet.sum_file(out, "total")
    assert {k[0] for k in apart if k != "observer"} == {f"host-{h}/worker" for h in range(HOSTS)} | {f"host-{h}/helper" for h in range(0, HOSTS, 3)}
    for h in (0, 5, HOSTS - 1):
        one = make_fleet.sum_file(paths[h])
        assert apart[(f"host-{h}/worker",)] == one[("worker",)]
    joined = {}
    for what, figures in apart.items():
        what = what if what == "observer" else (what[0].split("/")[1], *what[1:])
        joined = make_fleet.sum_sums([joined, {what: figures}])
    assert joined == sums


def lines_of(seconds, start, host="h", step=1.0, values=(1000,), **changes):
    agent = make.Agent(0, name="a", pid=1, values={"oncpu_ns": [v for v in values for _ in range(int(seconds / step))]}, counters={"forks": int(seconds / step)},
                       gauges={"rss_bytes": 1 << 20}, ledger={"sleep": seconds}, **changes)
    lines = [json.loads(line) for line in make.lines([agent], seconds=seconds, intervals=int(seconds / step), host=host)]
    lines[0]["start"] = start
    lines[0]["host"]["boot_id"] = host
    return lines


def put(path, lines):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_intervals_stay_where_they_were(tmp_path):
    """A trend over hosts that began at different times: each interval counts whole where its middle lies."""
    a = put(tmp_path / "a", lines_of(4.0, "2026-01-02T03:04:05.000Z", "one"))
    b = put(tmp_path / "b", lines_of(3.0, "2026-01-02T04:04:07.400+01:00", "two"))
    merge(a, b, "-o", tmp_path / "out")
    found = [(line["start_s"], line["agents"][0]["counters"].get("forks"), line["agents"][0]["gauges"]["rss_bytes"] >> 20)
             for line in make_fleet.lines(tmp_path / "out", "interval")]
    assert found == [("0.0", 1, 1), ("1.0", 1, 1), ("2.0", 2, 2), ("3.0", 2, 2), ("4.0", 1, 1)]


def test_time_that_nobody_saw_takes_none(tmp_path):
    a = put(tmp_path / "a", lines_of(2.0, "2020-01-01T00:00:00.000Z", "one"))
    b = put(tmp_path / "b", lines_of(2.0, "2026-01-01T00:00:00.000Z", "two"))
    merge(a, b, "-o", tmp_path / "out")
    assert [line["seq"] for line in make_fleet.lines(tmp_path / "out", "interval")] == [0, 1, 2, 3]
    assert report(tmp_path / "out")["agents"][0]["counters"]["forks"] == 4


def test_one_process_in_two_recordings_is_one(tmp_path):
    """A daemon's recording that was rotated: the states of the process are not doubled."""
    a = put(tmp_path / "a", lines_of(3.0, "2026-01-02T03:04:05.000Z"))
    b = put(tmp_path / "b", lines_of(3.0, "2026-01-02T03:04:08.000Z"))
    said = merge(a, b, "-o", tmp_path / "out")
    assert "2 files of 1 hosts, 1 agents" in said
    t = total(tmp_path / "out")["agents"][0]
    assert t["gauges"]["rss_bytes"] == 1 << 20 and "merged" not in t and t["counters"]["forks"] == 6
    assert report(tmp_path / "out")["host"]["name"] == "h"


def test_mixed_scales_and_intervals(tmp_path):
    fine, coarse = lines_of(4.0, "2026-01-02T03:04:05.000Z", "one", values=(1000, 2000, 5)), lines_of(4.0, "2026-01-02T03:04:05.000Z", "two", step=2.0, values=(1,))
    for line in coarse[1:]:
        for a in line["agents"]:
            n = a["hist"]["oncpu_ns"]["count"]
            a["hist"]["oncpu_ns"] = {"scale": 0, "count": n, "sum": 1500 * n, "min": 1500, "max": 1500, "zero_count": 0, "offset": 10, "bucket_counts": [n]}
    said = merge(put(tmp_path / "a", fine), put(tmp_path / "b", coarse), "-o", tmp_path / "out")
    assert "a: its intervals of 1 s are summed to 2 s, the longest of these recordings" in said
    h = total(tmp_path / "out")["agents"][0]["hist"]["oncpu_ns"]
    # 5 is in (4, 8], 1000 in (512, 1024], 1500 and 2000 in (1024, 2048]
    assert (h["scale"], h["count"], h["sum"], h["offset"], h["bucket_counts"]) == (0, 14, 4 * 3005 + 2 * 1500, 2, [4, 0, 0, 0, 0, 0, 0, 4, 6])
    assert len(list(make_fleet.lines(tmp_path / "out", "interval"))) == 2


def test_stacks_are_numbered_anew(tmp_path):
    frames = lambda name: (make.frame(name), make.frame("main"))
    for k, names in enumerate((["f", "g"], ["g", "h"])):
        agent = make.Agent(0, name="a", values={"oncpu_ns": [5]}, samples={"cpu_ns": {frames(n): 10 ** k * (i + 1) for i, n in enumerate(names)}})
        make.write(tmp_path / f"{k}", [agent], intervals=1, host=f"h{k}")
    merge(tmp_path / "0", tmp_path / "1", "-o", tmp_path / "out")
    folded = subprocess.run([STAKEOUT, "report", "--folded", tmp_path / "out"], stdout=subprocess.PIPE, check=True).stdout.decode()
    assert sorted(folded.split("\n")[:-1]) == ["main;f 1", "main;g 12", "main;h 20"]


def test_what_is_not_whole_is_said(tmp_path):
    whole = lines_of(5.0, "2026-01-02T03:04:05.000Z", "one")
    put(tmp_path / "whole", whole)
    put(tmp_path / "gap", lines_of(5.0, "2026-01-02T03:04:05.000Z", "two")[:2] + lines_of(5.0, "2026-01-02T03:04:05.000Z", "two")[4:])
    text = "".join(json.dumps(line) + "\n" for line in lines_of(5.0, "2026-01-02T03:04:05.000Z", "three"))
    (tmp_path / "cut").write_text(text[:len(text) * 2 // 3])
    rows = text.split("\n")
    (tmp_path / "damaged").write_text("\n".join([rows[0].replace("three", "four"), rows[1], "{\"kind\":\"interval\",\"seq\":1", *rows[3:]]))
    other = lines_of(5.0, "nonsense", "five")
    other[0]["probes"] = [dict(p, state="off") if p["name"] == "sock" else p for p in other[0]["probes"]]
    put(tmp_path / "other", other)
    said = merge(*(tmp_path / n for n in ("whole", "gap", "cut", "damaged", "other")), "-o", tmp_path / "out").replace(f"{tmp_path}/", "")
    assert "stakeout: gap: 2 intervals missing; what only its total tells is left out\n" in said
    assert "cut: cut off after 3 intervals; last " in said
    assert "damaged: 1 intervals missing; 1 bad lines skipped, first line 3: not JSON" in said
    assert "other: it does not say when it began: taken to begin with the earliest one\n" in said
    assert "whole" not in said
    sock = next(p for p in report(tmp_path / "out")["probes"] if p["name"] == "sock")
    assert sock == {"name": "sock", "state": "on", "why": "in 4 of 5 recordings"}
    assert report(tmp_path / "out")["agents"][0]["counters"]["forks"] == 5 + 3 + 3 + 4 + 5
    assert report(tmp_path / "out")["note"] == ""


def test_names_that_would_break_a_line(tmp_path):
    name = 'a"\\\n\x1b[31m\u2028é\x00'.replace("\x00", "")
    lines = lines_of(2.0, "2026-01-02T03:04:05.000Z", 'h"\n\x1b')
    lines[0]["agents"][0]["name"] = name
    put(tmp_path / "a", lines)
    assert "\x1b" not in merge(tmp_path / "a", "--apart", "-o", tmp_path / "out")
    assert next(make_fleet.lines(tmp_path / "out", "header"))["agents"][0]["name"] == 'h"\n\x1b/' + name


def test_bad_usage(fleet, tmp_path):
    paths, _ = fleet
    out = tmp_path / "out"
    (tmp_path / "text").write_text("hello\n")
    (tmp_path / "empty").write_text("")
    shutil.copy(paths[0], tmp_path / "copy")
    os.link(paths[0], tmp_path / "link")
    rows = [
        ([], 2, "merge needs the names of recordings"),
        ([paths[0]], 2, "merge needs -o OUT"),
        ([paths[0], "-o"], 2, "-o needs a value"),
        ([paths[0], "--apar", "-o", out, "--bad"], 2, "unknown option '--bad'"),
        ([paths[0], "-o", out, "--threads", "0"], 2, "want a number from 1 to 64"),
        ([paths[0], "/nonexistent", "-o", out], 2, "/nonexistent: No such file or directory"),
        ([paths[0], tmp_path / "text", "-o", out], 2, "text: its first line is not a stakeout header"),
        ([paths[0], tmp_path / "empty", "-o", out], 2, "empty: it is empty"),
        ([paths[0], tmp_path / "link", "-o", out], 2, "are the same file: it would count twice"),
        (["-", "-", "-o", out], 2, "standard input, can be named once only"),
        ([paths[0], paths[1], "-o", paths[1]], 2, "is one of the files to read"),
        ([paths[0], "-o", tmp_path / "text"], 5, "text is there already; --force overwrites it"),
        ([paths[0], "-o", tmp_path / "none" / "out"], 5, "No such file or directory"),
        ([paths[0], "-o", "/dev/full"], 5, "cannot write /dev/full: No space left on device"),
    ]
    before = sorted(os.listdir(tmp_path))
    for args, status, expected in rows:
        said = merge("-q", *args, status=status)
        assert expected in said and said.count("\n") == 1, said
        assert sorted(os.listdir(tmp_path)) == before  # nothing half-written
    assert (tmp_path / "text").read_text() == "hello\n"
    assert "of the same host and time as" in merge(paths[0], tmp_path / "copy", "-o", out)
    merge(paths[0], "-q", "--force", "-o", tmp_path / "text")
    assert_sums(tmp_path / "text", make_fleet.sum_file(paths[0]))


def test_standard_output(fleet, tmp_path):
    paths, sums = fleet
    with open(tmp_path / "out", "wb") as f:
        subprocess.run([STAKEOUT, "merge", *paths, "-q", "-o", "-"], stdout=f, check=True)
    assert_sums(tmp_path / "out", sums)


@pytest.mark.parametrize("signo", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("before", [None, b"what was there\n"])
def test_ended_by_a_signal_it_leaves_nothing(fleet, tmp_path, signo, before):
    """Neither a part of the sum nor anything beside it; what had the name keeps it."""
    out = tmp_path / "out.ndjson"
    if before:
        out.write_bytes(before)
    process = subprocess.Popen([STAKEOUT, "merge", "-", *map(str, fleet[0][1:]), "--force", "-o", out], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
    with open(fleet[0][0], "rb") as f:
        process.stdin.write(f.readline())  # and waits for the rest
    process.stdin.flush()
    opened = lambda: [t for t in map(os.readlink, (e.path for e in os.scandir(f"/proc/{process.pid}/fd"))) if t.startswith(str(tmp_path))]
    while not opened():  # what it writes to
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signo)
    assert process.wait() == -signo
    process.stdin.close()
    assert [p.name for p in tmp_path.iterdir()] == (["out.ndjson"] if before else [])
    assert not before or out.read_bytes() == before


def test_memory_does_not_grow_with_length(tmp_path):
    """Ten times the intervals, and ten times the hosts, take little more."""
    def peak(hosts, intervals):
        folder = tmp_path / f"{hosts}-{intervals}"
        folder.mkdir()
        paths = make_fleet.write(folder, hosts, intervals)
        return peak_kib(STAKEOUT, "merge", *paths, "-q", "--threads", "2", "-o", "/dev/null") >> 10
    short, long, many = peak(8, 100), peak(8, 1000), peak(200, 40)
    assert long < 100 and long < short + 24, (short, long)
    assert many < 100 and many < short + 24, (short, many)
