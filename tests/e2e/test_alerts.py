# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""Alerts of the daemon: from an agent that begins to misbehave to those who are to hear of it."""
import datetime
import http.server
import json
import os
import pwd
import re
import shutil
import socket
import statistics
import subprocess
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

import pytest

from conftest import HANG_S, free_port, wait_for
from test_serve import daemon, line_of_stderr, manager  # noqa: F401: fixtures

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
                + "alerts:\n" + "".join(f"  {key}: {value}\n" for key, value in {"rules": rules, **alerts}.items()))

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


# ---- other sinks ----


class Receiver(http.server.ThreadingHTTPServer):
    """A webhook's other end, which can be well, fail, or say nothing."""

    def __init__(self):
        self.bodies, self.times, self.mode, self.tries = [], [], 200, 0
        super().__init__(("127.0.0.1", 0), self.Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/"
        self.healed = threading.Event()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def alerts(self):
        return [(a["status"], a["rule"]) for n in self.bodies for a in n["alerts"]]

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            now, body = time.time(), self.rfile.read(int(self.headers["Content-Length"]))
            self.server.tries += 1
            if self.server.mode == "mute":
                self.server.healed.wait()  # the client is gone by then
                self.close_connection = True
                return
            if self.server.mode == 200:
                self.server.times.append(now)
                self.server.bodies.append(json.loads(body))
            self.send_response(self.server.mode)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args):
            pass


@pytest.fixture
def receiver():
    r = Receiver()
    yield r
    r.healed.set()
    r.shutdown()
    r.server_close()


def test_within_an_interval(daemon, forker, text, receiver):
    """From the moment that an agent misbehaves to the notice at a receiver: an interval and 200 ms. One that waited for the intervals to be resolved would take a second longer."""
    daemon(text(forker, {"webhook": receiver.url}, interval="1s")).ready()
    trials, took = 20 if os.environ.get("LONG") else 3, []
    for n in range(trials):
        began = forker.say("on")
        wait_for("the alert", lambda: len(receiver.times) == 2 * n + 1)
        took.append(receiver.times[-1] - began)
        forker.say("off")
        wait_for("its end", lambda: len(receiver.times) == 2 * n + 2)
    print("from misbehaviour to notice, s:", *(f"{s:.3f}" for s in sorted(took)))
    assert statistics.median(took) < 1.2, took


def await_state(url, path, what):
    def ask():
        try:
            with urllib.request.urlopen(f"{url}{path}", timeout=HANG_S) as answer:
                return what(answer.read())
        except OSError:
            return None
    return wait_for(path, ask)


@pytest.fixture
def alertmanager(tmp_path, receiver):
    """Debian's, which tells the receiver of what it hears."""
    config, port, started = tmp_path / "alertmanager.yml", free_port(), []
    config.write_text("route: {receiver: test, group_by: [alertname, agent], group_wait: 10ms, group_interval: 100ms}\n"
                      f"receivers: [{{name: test, webhook_configs: [{{url: '{receiver.url}'}}]}}]\n")
    url = f"http://127.0.0.1:{port}"

    def start():
        started.append(subprocess.Popen(["prometheus-alertmanager", f"--config.file={config}", f"--storage.path={tmp_path / 'am'}", "--cluster.listen-address=",
                                         f"--web.listen-address=127.0.0.1:{port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        await_state(url, "/-/ready", lambda body: True)

    yield url, start
    for p in started:
        p.terminate()
        p.wait()


def test_alertmanager(daemon, forker, text, alertmanager, receiver, tmp_path):
    """It is away when the alert fires, hears of it when it comes, keeps it while it is sent again, and is told of its end."""
    url, start = alertmanager
    d = daemon(text(forker, {"alertmanager": url + "/", "resend": "1s"}, top="labels: {site: lab, agent: no}\n")).ready()
    began = forker.say("on")
    assert re.search(r"alerts: alertmanager: http://127.0.0.1:\d+/api/v2/alerts: .*[Cc]onnect.*; it is tried again, 1 of at most 100 requests wait$", line_of_stderr(d.process))
    start()
    alert, = await_state(url, "/api/v2/alerts", json.loads)
    assert alert["labels"] == {"alertname": "many-forks", "agent": "forker", "severity": "warning", "instance": os.uname().nodename, "site": "lab"}
    assert alert["annotations"]["description"] == "use threads" and alert["annotations"]["summary"].startswith("alert many-forks: forker: rate(forks) > 5: ")
    assert abs(datetime.datetime.fromisoformat(alert["startsAt"].replace("Z", "+00:00")).timestamp() - began) < 5
    await_state(url, "/api/v2/alerts", lambda body: json.loads(body)[0]["updatedAt"] > alert["updatedAt"])
    forker.say("off")
    await_state(url, "/api/v2/alerts", lambda body: json.loads(body) == [])
    wait_for("Alertmanager's own notices", lambda: len(receiver.bodies) >= 2)
    assert [b["status"] for b in receiver.bodies] == ["firing", "resolved"]
    assert receiver.bodies[0]["alerts"][0]["labels"]["agent"] == "forker"
    assert re.search("alertmanager: works again", d.end())


@pytest.mark.parametrize("mode", ["down", "mute", 500])
def test_bad_receiver(daemon, forker, text, receiver, tmp_path, mode):
    """Nothing is lost while it fails, nobody else waits for it, and intervals come as ever."""
    notices, folder = Notices(tmp_path / "notices"), tmp_path / "recordings"
    url = receiver.url if mode != "down" else f"http://127.0.0.1:{free_port()}/"
    receiver.mode = mode
    keys = {"file": notices.path, "webhook": url, "timeout": "1s"}
    top = f"recordings: {{directory: {folder}, compress: false}}\nprometheus: {{listen: 'unix:{tmp_path}/metrics'}}\n"
    d = daemon(text(forker, keys, top=top)).ready()
    expected = []
    for _ in range(2):
        for what, status in (("on", "firing"), ("off", "resolved")):
            forker.say(what)
            expected.append((status, "many-forks"))
            notices.await_alerts(*expected)
    said = line_of_stderr(d.process)
    assert re.search({"down": "[Cc]onnect", "mute": "time", 500: "HTTP status 500"}[mode] + r".*; it is tried again, \d of at most 100 requests wait$", said), said
    wait_for("four that wait", lambda: 'alert_notifications_queued{sink="webhook"} 4' in page(tmp_path / "metrics"))
    receiver.mode = 200
    receiver.healed.set()
    d.reload(text(forker, {**keys, "webhook": receiver.url}, top=top))
    wait_for("what waited", lambda: receiver.alerts() == expected)
    assert receiver.bodies == notices.all()
    wait_for("the counts", lambda: {'alert_notifications_total{sink="webhook"} 4', 'alert_notifications_dropped_total{sink="webhook"} 0'}
             <= {line.removeprefix("stakeout_") for line in page(tmp_path / "metrics").splitlines()})
    receiver.healed.clear()
    receiver.mode, before = "mute", receiver.tries
    forker.say("on")
    wait_for("one under way", lambda: receiver.tries > before)
    d.reload(text(forker, keys, top=top).split("alerts:")[0])  # nor does anybody wait for it then
    receiver.mode = 200
    receiver.healed.set()
    d.end()
    lines = [json.loads(line) for p in folder.iterdir() for line in p.read_text().splitlines()]
    lengths = sorted(x["end_s"] - x["start_s"] for x in lines if x["kind"] == "interval")
    assert abs(statistics.median(lengths) - 0.2) < 0.02 and lengths[-1] < 1, lengths[-3:]


def page(path):
    return subprocess.run(["curl", "-s", "--unix-socket", path, "http://localhost/metrics"], capture_output=True, text=True, timeout=HANG_S).stdout


def test_queue_is_bounded(daemon, forker, text, receiver, tmp_path):
    """The oldest notices go, are counted, and that is said."""
    receiver.mode = 503
    d = daemon(text(forker, {"webhook": receiver.url, "queue": 2}, top=f"prometheus: {{listen: 'unix:{tmp_path}/metrics'}}\n")).ready()
    for what in ("on", "off", "on", "off"):
        forker.say(what)
        wait_for(f"that it is {what}", lambda: ("alert_firing{" in page(tmp_path / "metrics")) == (what == "on"))
    wait_for("a drop", lambda: 'notifications_dropped_total{sink="webhook"} 2' in page(tmp_path / "metrics"))
    receiver.mode = 200
    wait_for("the newest two", lambda: len(receiver.bodies) == 2)
    assert "alerts: webhook: notices are dropped: the queue is full, the oldest go" in d.end()


def test_journal_and_syslog(daemon, forker, text, tmp_path):
    ends = {}
    for name in ("journal", "syslog"):
        ends[name] = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        ends[name].bind(str(tmp_path / name))
        ends[name].settimeout(HANG_S)
    daemon(text(forker, {name: tmp_path / name for name in ends})).ready()
    forker.say("on")
    entry = dict(line.split("=", 1) for line in ends["journal"].recv(65536).decode().splitlines())
    assert entry["MESSAGE"].startswith("alert many-forks: forker: rate(forks) > 5: ") and entry["PRIORITY"] == "4"
    assert (entry["STAKEOUT_RULE"], entry["STAKEOUT_AGENT"], entry["STAKEOUT_STATUS"], entry["SYSLOG_IDENTIFIER"]) == ("many-forks", "forker", "firing", "stakeout")
    assert re.match(r"<28>\w{3} [ \d]\d \d\d:\d\d:\d\d stakeout\[\d+\]: alert many-forks: forker: ", ends["syslog"].recv(65536).decode())
    forker.say("off")
    assert ends["syslog"].recv(65536).decode().startswith("<29>")
    assert b"STAKEOUT_STATUS=resolved\n" in ends["journal"].recv(65536)


@pytest.fixture
def program(tmp_path_factory):
    """A program that anybody may run, in a place where anybody may write."""
    folder = Path(tempfile.mkdtemp(prefix="alerts-"))
    folder.chmod(0o777)

    def of(script):
        path = folder / "program"
        path.write_text("#!/bin/sh\n" + script)
        path.chmod(0o755)
        return path

    yield folder, of
    shutil.rmtree(folder)


def test_command(daemon, forker, text, program):
    folder, of = program
    path = of(f"exec > {folder}/said\ncat; cat /proc/self/status; env; ls -l /proc/self/fd; pwd; mv {folder}/said {folder}/done\n")
    daemon(text(forker, {"command": path})).ready()
    forker.say("on")
    wait_for("the program", lambda: (folder / "done").exists())
    said = (folder / "done").read_text()
    assert json.loads(said.splitlines()[0])["alerts"][0]["rule"] == "many-forks"
    nobody = pwd.getpwnam("nobody")
    assert re.search(rf"^Uid:(\t{nobody.pw_uid}){{4}}$", said, re.M) and re.search(rf"^Gid:(\t{nobody.pw_gid}){{4}}$", said, re.M) and re.search(r"^Groups:\s*$", said, re.M)
    for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        assert re.search(rf"^{name}:\t0+$", said, re.M), name
    assert re.search(r"^NoNewPrivs:\t1$", said, re.M) and re.search(r"^SigBlk:\t0+$", said, re.M)
    assert {line.split("=")[0] for line in said.splitlines() if re.match("[A-Z_]+=", line)} == {"PATH", "LANG", "HOME", "PWD"}
    assert sorted(int(n) for n in re.findall(r" (\d+) -> ", said))[-1] == 3  # the folder that ls reads


def test_command_that_fails_or_hangs(daemon, forker, text, program, tmp_path):
    folder, of = program
    notices = Notices(tmp_path / "notices")
    config = text(forker, {"command": of("echo 'no such pager' >&2\nexit 3\n"), "command_timeout": "1s", "file": notices.path})
    d = daemon(config).ready()
    forker.say("on")
    assert line_of_stderr(d.process).endswith("program: ended with status 3; it said: no such pager; it is tried again, 1 of at most 100 requests wait")
    of(f"sleep 1000 & echo $! > {folder}/left; wait\n")
    wait_for("a run that hangs", lambda: (folder / "left").exists() and (folder / "left").read_text().strip())
    left = int((folder / "left").read_text())
    forker.say("off")  # meanwhile
    notices.await_alerts(("firing", "many-forks"), ("resolved", "many-forks"))
    wait_for("its end, with all that it started", lambda: not Path(f"/proc/{left}").exists())
    of(f"cat >> {folder}/taken\n")
    wait_for("both notices", lambda: (folder / "taken").exists() and len((folder / "taken").read_text().splitlines()) == 2)
    d.reload(text(forker, {"command": of("true"), "command_user": "root"}))
    forker.say("on")
    assert re.search("command_user 'root' has all privileges: it is not run", line_of_stderr(d.process) + line_of_stderr(d.process) + line_of_stderr(d.process))


# ---- reloads ----


def test_reload(daemon, forker, text, tmp_path):
    """What fires goes on where its rule is still there; silences and the end of a rule take effect at once."""
    notices, rules = Notices(tmp_path / "notices"), tmp_path / "rules.yaml"
    keys = {"file": notices.path}
    d = daemon(text(forker, keys)).ready()
    forker.say("on")
    notices.await_alerts(("firing", "many-forks"))
    rules.write_text(RULES + "  - {name: more-forks, when: rate(forks) > 6, over: 1s, severity: critical}\n")
    d.reload(text(forker, keys))
    notices.await_alerts(("firing", "many-forks"), ("firing", "more-forks"))
    silent = {**keys, "silences": "[{rule: even-*, until: '2100-01-01T00:00:00Z'}]", "repeat": "1s"}
    rules.write_text(RULES + "  - {name: even-more, when: rate(forks) > 7, over: 1s}\n")
    d.reload(text(forker, silent))
    wait_for("two repeats", lambda: len(notices.all()) >= 5)
    assert notices.alerts()[2] == ("resolved", "more-forks") and set(notices.alerts()[3:]) == {("firing", "many-forks")}
    rules.write_text("rules: [{name: bad, when: rate(forx) > 1}]\n")
    d.reload(text(forker, silent))
    d.reload(text(forker, silent).split("alerts:")[0])
    said = d.end()
    assert re.search(r"alerts.rules: .*rules.yaml:1:\d+: .*forx.*'forks'.*; the configuration stays as it was$", said, re.M), said


def test_check_config(stakeout, forker, text, tmp_path):
    config = tmp_path / "c.yaml"
    (tmp_path / "rules.yaml").write_text("rules: [{name: bad, when: rate(forx) > 1}]\n")
    for alerts, said in (({}, r"c.yaml:5:\d+: alerts.rules: \S+rules.yaml:1:\d+: .*forx"),
                         ({"rules": "/no/such"}, "alerts.rules"), ({"silences": "[{until: '2100-01-01T00:00:00Z'}]"}, "a silence needs rule or agent"),
                         ({"silences": "[{rule: x, until: tomorrow}]"}, "until 'tomorrow' is not a date and a time with its zone"), ({"fiel": "/x"}, "did you mean 'file'"),
                         ({"file": "x"}, "is not an absolute path"), ({"webhook": "x"}, "is not a URL")):
        config.write_text(text(forker, alerts))
        done = stakeout("serve", "-c", config, "--check-config")
        assert done.returncode == 2 and re.search(said, done.stderr.decode()) and len(done.stderr.splitlines()) == 1, done.stderr
