# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""Alerts of the daemon: from an agent that begins to misbehave to those who are to hear of it."""
import json
import os
import subprocess

import pytest

from conftest import wait_for
from test_serve import daemon, manager  # noqa: F401: fixtures

RULES = """\
rules:
  - name: many-forks
    when: rate(forks) > 5
    over: 1s
    help: use threads
"""

# It forks for as long as there is no end to it in sight: one round a line of its input.
FORKER = """
import os, select, sys, time
busy = False
while True:
    if select.select([sys.stdin], [], [], 0 if busy else None)[0]:
        line = sys.stdin.readline()
        if not line:
            break
        busy = line == "on\\n"
        print(time.time(), flush=True)
    elif busy:
        pid = os.fork()
        if not pid:
            os._exit(0)
        os.waitpid(pid, 0)
        time.sleep(0.01)
"""


class Agent:
    def __init__(self, agents):
        self.process = agents("/usr/bin/python3", "-c", FORKER, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.pid = self.process.pid

    def say(self, what):
        """When it began to do so."""
        self.process.stdin.write(what.encode() + b"\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())


@pytest.fixture
def forker(agents):
    return Agent(agents)


class Notices:
    """A file of them, read by nothing of ours."""

    def __init__(self, path):
        self.path = path

    def all(self):
        return [json.loads(line) for line in self.path.read_text().splitlines()] if self.path.exists() else []

    def alerts(self):
        return [(a["status"], a["rule"]) for n in self.all() for a in n["alerts"]]

    def await_alerts(self, *expected):
        wait_for(f"{expected} in {self.path.name}", lambda: self.alerts()[:len(expected)] == list(expected))
        assert self.alerts() == list(expected)


@pytest.fixture
def text(tmp_path):
    """A configuration with these keys of `alerts`."""
    rules = tmp_path / "rules.yaml"
    rules.write_text(RULES)

    def of(agent, alerts, interval="200ms", top=""):
        return (f"interval: {interval}\nbudget: off\ntargets: [{{name: forker, pid: {agent.pid}}}]\n{top}"
                + f"alerts:\n  rules: {rules}\n" + "".join(f"  {key}: {value}\n" for key, value in alerts.items()))

    return of


def test_fires_and_ends(daemon, forker, text, tmp_path):
    notices = Notices(tmp_path / "notices")
    d = daemon(text(forker, {"file": notices.path}, top="labels: {site: lab}\n")).ready()
    forker.say("on")
    notices.await_alerts(("firing", "many-forks"))
    forker.say("off")
    notices.await_alerts(("firing", "many-forks"), ("resolved", "many-forks"))
    assert d.end() == ""
    fires, ends = notices.all()
    assert fires["agent"] == "forker" and fires["status"] == "firing" and fires["labels"] == {"site": "lab"} and fires["host"] == os.uname().nodename
    assert fires["alerts"][0]["value"] > 5 and fires["alerts"][0]["help"] == "use threads" and fires["alerts"][0]["severity"] == "warning"
    assert ends["alerts"][0]["since"] == fires["alerts"][0]["since"] < ends["alerts"][0]["until"] <= ends["time"]


def test_restart_while_firing(daemon, forker, text, tmp_path):
    notices, state = Notices(tmp_path / "notices"), tmp_path / "state.json"
    config = text(forker, {"file": notices.path, "state": state})
    d = daemon(config).ready()
    forker.say("on")
    notices.await_alerts(("firing", "many-forks"))
    wait_for("the state", lambda: state.exists() and "many-forks" in state.read_text())
    assert oct(state.stat().st_mode & 0o777) == "0o600"
    d.process.kill()
    d.process.communicate()
    d = daemon(config).ready()
    forker.say("off")
    notices.await_alerts(("firing", "many-forks"), ("resolved", "many-forks"))
    d.end()
    assert json.loads(state.read_text())["alerts"] == []
