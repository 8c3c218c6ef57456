# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""The daemon's file of OTLP/JSON lines: rotation, restarts, other people's files, a full disk."""
import json
import subprocess

import pytest

from otlp_daemon import serve  # noqa: F401: fixtures
from otlp_messages import read


def test_file_is_rotated_by_size(serve, sleeper, stakeout):
    s = serve([sleeper.pid], otlp={"file_size": "64K"})
    older = stakeout.folder / "m.jsonl.1"
    s.wait("the second rotation", lambda: older.exists() and s.lines() and json.loads(older.open().readline()) and read(older)[0].intervals > 1)
    s.end()
    before, now = read(older), read(s.file)
    intervals = [r.intervals for r in before + now]
    assert intervals == list(range(intervals[0], intervals[0] + len(intervals))), "none is missing in between"
    assert older.stat().st_size <= 65536 and s.file.stat().st_size <= 65536
    assert {f for f in stakeout.files() if f.startswith("m.")} == {"m.jsonl", "m.jsonl.1"}


def test_file_goes_on_where_it_ended(serve, sleeper, stakeout):
    """A line that was cut off when the machine ended is taken out; lines before stay; who moves the file gets a new one."""
    file = stakeout.folder / "m.jsonl"
    first = serve([sleeper.pid], otlp={})
    first.wait_lines(3)
    first.end()
    whole = file.read_bytes()
    file.write_bytes(whole + whole[:1000])
    second = serve([sleeper.pid], otlp={})
    second.wait_lines(whole.count(b"\n") + 3)
    assert file.read_bytes().startswith(whole) and file.read_bytes()[len(whole):len(whole) + 1000] != whole[:1000]
    file.rename(stakeout.folder / "moved")
    second.wait("a new file", lambda: second.lines() >= 2)
    second.end()
    intervals = [r.intervals for r in read(stakeout.folder / "moved", file)][whole.count(b"\n"):]
    assert intervals == list(range(1, len(intervals) + 1))


def test_file_of_another_kind_is_left_alone(stakeout, sleeper):
    (stakeout.folder / "m").write_text("precious")
    config = stakeout.folder / "c.yaml"
    config.write_text(f"targets: [{{pid: {sleeper.pid}}}]\notlp: {{file: {stakeout.folder}/m}}\n")
    done = stakeout("serve", "-c", config)
    assert done.returncode == 5 and b"something else" in done.stderr and (stakeout.folder / "m").read_text() == "precious"


def test_disk_full(serve, sleeper, stakeout):
    """No half a line; it goes on when there is room again."""
    disk = stakeout.folder / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k", "none", disk]).returncode:
        pytest.skip("kernel: no tmpfs can be mounted")
    try:
        file, filler = disk / "m.jsonl", disk / "filler"
        filler.write_bytes(b"x" * 65536)
        s = serve([sleeper.pid], otlp={"file": file})
        s.wait("the disk to be full", lambda: "No space left" in s.said())
        assert read(file)
        filler.unlink()
        s.wait("room to be used", lambda: file.stat().st_size > 65536)
        said = s.end()
        assert said.count("No space left") <= 2, said  # it may be full once more
        intervals = [r.intervals for r in read(file)]
        assert intervals == sorted(set(intervals)) and intervals[0] == 1
    finally:
        subprocess.run(["umount", "-l", disk], check=True)
