# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""Agents in containers: by cgroups named as engines name them, and pid namespaces of their own."""
import json
import os
import secrets
import subprocess
import uuid
from pathlib import Path

import pytest

from conftest import Recording, wait_for

PYTHON = "/usr/bin/python3"
# Says its own pid, and ends when its standard input does.
TELLS_PID = "import os, sys; print(os.getpid(), flush=True); sys.stdin.read()"


def cgroup_mounts():
    """One of each kind, v2 first."""
    found = {}
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, where, kind, options = line.split()[:4]
        if kind == "cgroup2" or (kind == "cgroup" and {"memory", "name=systemd"} & set(options.split(","))):
            found.setdefault("v2" if kind == "cgroup2" else "v1", Path(where))
    return found


class Cgroups:
    """Makes cgroups, and removes them with what they were below."""

    def __init__(self, where):
        self.where, self.made = where, []

    def __call__(self, name):
        for path in [*reversed((self.where / name).relative_to(self.where).parents), Path(name)]:
            path = self.where / path
            if not path.exists():
                path.mkdir()
                self.made.append(path)
        return self.where / name

    def close(self):
        for path in reversed(self.made):
            if path.exists():
                wait_for("the cgroup to empty", lambda p=path: (p / "cgroup.procs").read_text() == "")
                path.rmdir()


@pytest.fixture(params=["v2", "v1"])
def cgroups(request, agents):
    where = cgroup_mounts().get(request.param)
    if not where:
        pytest.skip(f"kernel: no cgroup {request.param} hierarchy is mounted")
    made = Cgroups(where)
    try:
        made(f"probe-{uuid.uuid4().hex}")
    except OSError as err:
        pytest.skip(f"kernel: can't make a cgroup: {err}")
    yield made
    agents.close()
    made.close()


def enter(group, pid):
    (group / "cgroup.procs").write_text(str(pid))


def record(stakeout, *args, seconds="0.2"):
    done = stakeout("record", "-q", "-i", "0.1", "--force", "-o", "out.ndjson", *(["-d", seconds] if seconds else []), *args)
    assert done.returncode == 0, done.stderr
    return Recording(stakeout.folder / "out.ndjson")


def refused(stakeout, status, *args):
    done = stakeout("record", "-q", "-d", "0.2", "-o", "none.ndjson", *args)
    said = done.stderr.decode()
    assert done.returncode == status, said
    assert stakeout.files() == [] and said.count("\n") == 1
    return said


POD = str(uuid.uuid4())
FORMS = [
    ("docker/{id}", {"runtime": "docker"}),
    ("system.slice/docker-{id}.scope", {"runtime": "docker"}),
    ("machine.slice/libpod-{id}.scope/container", {"runtime": "podman"}),
    (f"kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{POD.replace('-', '_')}.slice/cri-containerd-{{id}}.scope",
     {"runtime": "containerd", "pod": POD, "qos": "burstable"}),
    (f"kubepods/besteffort/pod{POD}/{{id}}", {"pod": POD, "qos": "besteffort"}),
]


@pytest.mark.parametrize("form, told", FORMS, ids=["docker", "docker-systemd", "podman", "kubernetes-systemd", "kubernetes"])
def test_container(stakeout, cgroups, agents, form, told):
    """It is told of an agent that was named by its pid, and it names the agents in it."""
    one, other = secrets.token_hex(32), secrets.token_hex(32)
    inside, outside = agents("sleep", 1000), agents("sleep", 1000)
    enter(cgroups(form.format(id=one)), inside.pid)
    enter(cgroups(form.format(id=other)), outside.pid)
    (agent,) = record(stakeout, "-p", inside.pid).agents
    assert agent["container"] == {"id": one, **told}
    assert "ns_pid" not in agent
    for wanted in (one, one[:12], f"containerd://{one}") if form == FORMS[0][0] else (one[:12],):
        assert record(stakeout, "--container", wanted).pids() == [inside.pid]
    told = json.loads(stakeout("report", "--json", "out.ndjson").stdout)["agents"][0]["container"]
    assert {k: v for k, v in told.items() if v is not None} == agent["container"]
    assert f"container   {one[:12]}" in stakeout("report", "out.ndjson").stdout.decode()


def test_no_container(stakeout, sleeper):
    (agent,) = record(stakeout, "-p", sleeper.pid).agents
    assert not {"container", "ns_pid"} & agent.keys()
    shown = json.loads(stakeout("report", "--json", "out.ndjson").stdout)["agents"][0]
    assert shown["container"] is None and shown["ns_pid"] is None


def test_pid_within(stakeout, agents):
    """The pid that a process has for itself, in a namespace within a namespace."""
    shell = agents("unshare", "-pf", "--kill-child", "unshare", "-pf", "--kill-child", "sh", "-c", f"{PYTHON} -c '{TELLS_PID}'; :",
                   stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    own = int(shell.stdout.readline())
    pid = shell.pid
    while children := Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        pid = int(children[0])
    (agent,) = record(stakeout, "-p", pid).agents
    assert agent["ns_pid"] == own != pid
    assert f"pid {own} in it" in stakeout("report", "out.ndjson").stdout.decode()


def test_newcomer_and_end(stakeout, cgroups, agents):
    """Who enters the container is observed; the recording ends with the container."""
    name = secrets.token_hex(32)
    group = cgroups(f"docker/{name}")
    first = agents("sleep", 1000)
    enter(group, first.pid)
    path = stakeout.folder / "live.ndjson"
    process = stakeout.start("record", "-q", "-i", "0.1", "-o", path, "--container", name[:8])
    pids = lambda: [a["pid"] for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")
                    for a in [*json.loads(line).get("agents", []), json.loads(line)] if "pid" in a] if path.exists() else []
    wait_for("the first agent", lambda: first.pid in pids())
    later = agents("sleep", 1000)
    enter(group, later.pid)
    wait_for("the newcomer", lambda: later.pid in pids())
    agents.close()
    cgroups.close()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert all(a["container"]["id"] == name for a in Recording(path).agents)


def test_where_it_has_processes(stakeout, agents):
    """An engine may make the directory in each hierarchy, and put its processes into some of them."""
    mounts = cgroup_mounts()
    if len(mounts) < 2:
        pytest.skip("kernel: v1 and v2 are not both mounted")
    name = secrets.token_hex(32)
    made = [Cgroups(mounts[kind]) for kind in ("v2", "v1")]
    inside = agents("sleep", 1000)
    try:
        empty, full = [one(f"docker/{name}") for one in made]
        enter(full, inside.pid)
        assert empty.exists()
        assert record(stakeout, "--container", name).pids() == [inside.pid]
    finally:
        agents.close()
        for one in made:
            one.close()


def test_refusals(stakeout, cgroups):
    twin = secrets.token_hex(30)
    for last in "00ff", "11ff":
        cgroups(f"docker/{twin}{last}")
    assert f"--container {twin[:9]} stands for 2: {twin[:12]} (docker), {twin[:12]} (docker)" in refused(stakeout, 2, "--container", twin[:9])
    missing = "0123456789abcdef"
    assert f"no container {missing}; there are " in (said := refused(stakeout, 4, "--container", missing)) and f"{twin[:12]} (docker)" in said
    assert "an id takes 4 digits at least" in refused(stakeout, 4, "--container", twin[:3])
    assert "no container \\x1b" not in (said := refused(stakeout, 4, "--container", "\x1b[31m")) and "\x1b" not in said
    assert "can't be combined" in refused(stakeout, 2, "--container", twin, "--", "true")
    assert "--container needs ID, not an empty text" in refused(stakeout, 2, "--container", "")


def test_names_are_harmless(stakeout, cgroups, agents):
    """A container may have any name; escape codes do not reach the terminal, and the recording stays valid."""
    inside = agents("sleep", 1000)
    name = b'we"b\x1b[31m\n\xff'
    group = os.fsencode(cgroups("lxc")) + b"/" + name.replace(b"\n", b" ")
    os.mkdir(group)
    try:
        enter(Path(os.fsdecode(group)), inside.pid)
        (agent,) = record(stakeout, "-p", inside.pid).agents
        assert agent["container"]["runtime"] == "lxc" and agent["container"]["id"].startswith('we"b\x1b[31m')
        report = stakeout("report", "out.ndjson").stdout.decode()
        assert "container" in report and "\x1b" not in report
    finally:
        agents.close()
        wait_for("the cgroup to empty", lambda: (Path(os.fsdecode(group)) / "cgroup.procs").read_text() == "")
        os.rmdir(group)
