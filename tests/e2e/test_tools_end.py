# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""How tools end: how long they take once they are told to, and those that don't when the agent does."""
import json
import os
import time

import pytest
from conftest import Recording, line_of, wait_for

PYTHON = "/usr/bin/python3"
CANCELS = """
import json, signal, subprocess, sys, time
def cancel(number, *argv):
    tool = subprocess.Popen(argv, stdout=subprocess.PIPE)
    if argv[0] == "sh":
        tool.stdout.readline()
    else:
        time.sleep(0.05)
    begin = time.monotonic()
    tool.send_signal(number)
    tool.wait()
    return time.monotonic() - begin
said = {"sleep": [cancel(signal.SIGTERM, "sleep", "60") for _ in range(5)] + [cancel(signal.SIGKILL, "sleep", "60")],
        "sh": [cancel(signal.SIGTERM, "sh", "-c", "trap 'sleep 0.3; exit 0' TERM; echo; while :; do sleep 0.05; done") for _ in range(2)]}
print(json.dumps(said))
"""
# Two tools that live on, of which one computes; the agent itself ends.
LEAVES = """
import subprocess, sys, time
busy = subprocess.Popen([sys.executable, "-c", "while True: sum(range(300000)); __import__('time').sleep(0.01)"])
idle = subprocess.Popen(["sleep", "600"])
time.sleep(2.5)
print(busy.pid, idle.pid, flush=True)
"""


def test_cancelled_tools(stakeout):
    done = stakeout("record", "-q", "-o", stakeout.folder / "c.ndjson", "--", PYTHON, "-c", CANCELS)
    said = json.loads(done.stdout.splitlines()[0])
    agent = Recording(stakeout.folder / "c.ndjson").agent()
    tools = {tool["name"]: tool["hist"].get("cancel_ns") for tool in agent["tools"]}
    assert agent["hist"]["cancel_ns"]["count"] == len(said["sleep"]) + len(said["sh"])
    for name, seconds in said.items():
        assert tools[name]["count"] == len(seconds)
        assert tools[name]["sum"] / 1e9 <= sum(seconds)
    assert tools["sh"]["min"] >= 0.25e9
    assert tools["sh"]["sum"] / 1e9 == pytest.approx(sum(said["sh"]), rel=0.1)


def cpu_s(pid):
    fields = open(f"/proc/{pid}/stat", encoding="ascii").read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_tools_left_running(stakeout, agents, sleeper):
    agent = agents("/bin/sh", "-c", 'read line; exec "$0" -c "$1"', PYTHON, LEAVES, stdin=-1, stdout=-1)
    out = stakeout.folder / "o.ndjson"
    observer = stakeout.start("record", "-q", "-i", "0.5", "-o", out, "-p", f"{agent.pid},{sleeper.pid}")
    wait_for("the first interval", lambda: out.exists() and '"interval","seq"' in out.read_text())
    agent.stdin.write(b"go\n")
    agent.stdin.flush()
    busy, idle = (int(word) for word in line_of(agent).split())
    try:
        agent.wait()
        before, begin = cpu_s(busy), time.monotonic()
        wait_for("the orphans to live on for a while", lambda: cpu_s(busy) - before > 0.5 and out.read_text().count('"orphans":2') >= 8)
        used, seconds = cpu_s(busy) - before, time.monotonic() - begin
        observer.send_signal(2)
        observer.communicate(timeout=60)
    finally:
        os.kill(busy, 9)
        os.kill(idle, 9)
    counters, gauges = (Recording(out).agent(agent.pid)[key] for key in ("counters", "gauges"))
    assert gauges["orphans"] == 2
    assert counters["orphan_cpu_ns"] / 1e9 == pytest.approx(used, rel=0.3)
    found = [f for f in json.loads(stakeout("report", "--json", out).stdout)["findings"] if f["pid"] == agent.pid]
    (found,) = (f for f in found if f["finding"] != "starved-of-cpu")  # by what else runs here
    assert found["finding"] == "tools-left-running" and "sleep" in found["subject"], found
    assert found["cost_per_minute"]["cpu_s"] / 60 == pytest.approx(used / seconds, rel=0.25)
