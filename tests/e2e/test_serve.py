# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""The daemon: its configuration, reloads, recordings that rotate, what it tells systemd."""
import os
import re
import signal
import socket

import pytest

from conftest import HANG_S


class Manager:
    """What systemd is to a service: it hears what the service says."""

    def __init__(self, folder):
        self.path = folder / "notify"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(self.path))
        self.socket.settimeout(HANG_S)
        self.heard = []

    def hear(self, what):
        """Waits for a message with this line in it."""
        while True:
            message = self.socket.recv(4096).decode()
            self.heard.append(message)
            if what in message.split("\n"):
                return message


@pytest.fixture
def manager(tmp_path):
    m = Manager(tmp_path)
    yield m
    m.socket.close()


class Daemon:
    def __init__(self, stakeout, manager, text, **env):
        self.manager, self.config = manager, stakeout.folder / "stakeout.yaml"
        self.config.write_text(text)
        self.process = stakeout.start("serve", "-c", self.config, env={**os.environ, "NOTIFY_SOCKET": str(manager.path), **env})

    def ready(self):
        self.manager.hear("READY=1")
        return self

    def reload(self, text):
        self.config.write_text(text)
        self.process.send_signal(signal.SIGHUP)
        return self.manager.hear("READY=1")

    def end(self):
        """Ends it as systemd would; what it said on stderr."""
        self.process.send_signal(signal.SIGTERM)
        self.manager.hear("STOPPING=1")
        said = self.process.communicate(timeout=HANG_S)[1].decode()
        assert self.process.returncode == 0, said
        return said


@pytest.fixture
def daemon(stakeout, manager):
    started = []

    def start(text, **env):
        started.append(Daemon(stakeout, manager, text, **env))
        return started[-1]

    yield start
    for d in started:
        d.process.kill()
        d.process.communicate()


def test_ready_reload_stop(daemon, sleeper):
    d = daemon(f"targets: [{{pid: {sleeper.pid}}}]\ninterval: 200ms\n").ready()
    assert "RELOADING=1" not in "\n".join(d.manager.heard)
    d.reload("targets: [{match: nothing-of-this-name}]\n")
    assert any(re.search(r"^RELOADING=1\nMONOTONIC_USEC=\d+$", m) for m in d.manager.heard)
    d.reload("targets: [{mach: nothing}]\n")
    said = d.end()
    assert len(said.splitlines()) == 2, said
    assert re.search(r"stakeout.yaml: read anew$", said, re.M)
    assert re.search(r"stakeout.yaml:1: unknown key 'mach' \(did you mean 'match'\?\) in targets; there are .*; the configuration stays as it was$", said, re.M)
