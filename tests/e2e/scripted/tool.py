#!/usr/bin/python3 -BSE
# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""The scripted agent's own tools; which one it is, its file's name tells (a link to this file, so that the kernel calls it that too).

  so_fetch FILE PORT REQUEST CHUNKS   makes one call and ends
  so_rest FILE                        rests in a read of its standard input; a line there is a sleep to take
  so_pair FILE                        the same, where standard input is a socket
  so_loop FILE PORT                   rests in its own event loop, which has a time limit; a line there is a call to make
"""
import json
import os
import select
import socket
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))
from client import Clients  # noqa: E402
from truth import Truth  # noqa: E402

LIMIT_S = 0.5


def fetch(truth, port, words, chunks):
    with truth.phase("net", "a call"):
        Clients.call_plain(socket.create_connection(("127.0.0.1", int(port))), words.encode(), int(chunks))


def rest(truth):
    os.write(1, b"ready\n")
    while True:
        with truth.phase("rest", "a read"):
            line = os.read(0, 4096)
        if not line:
            return
        with truth.phase("sleep", "work"):
            time.sleep(int(line) / 1000)
        os.write(1, b"done\n")


def loop(truth, port):
    sock = socket.create_connection(("127.0.0.1", int(port)))
    epoll = select.epoll()
    epoll.register(0, select.EPOLLIN)
    os.write(1, b"ready\n")
    while True:
        truth.start()
        begin = time.monotonic()
        ready = epoll.poll(LIMIT_S)
        late = time.monotonic() - begin > 0.95 * LIMIT_S  # from outside, an event so late may look like the limit, or not
        truth.mark("either" if ready and late else "idle" if ready else "sleep", "a poll")
        if not ready:
            continue
        line = os.read(0, 4096)
        if not line:
            return
        with truth.phase("net", "work"):
            Clients.call_epoll(sock, line, 1)
        os.write(1, b"done\n")


def main():
    truth, (path, *args) = Truth(), sys.argv[1:]
    {"so_fetch": fetch, "so_rest": rest, "so_pair": rest, "so_loop": loop}[os.path.basename(sys.argv[0])](truth, *args)
    with open(path, "w", encoding="utf-8") as f:
        json.dump(truth.phases, f)


main()
