# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""Calls a service all the time, several at once. `faulty`: half way, each call takes twice as long."""
import threading
import time

from lib import FAULTY, Connection, more, run

CALLERS = 12
MS = 30
SECONDS = 10
SLOWER_FROM = 5  # seconds

counts = []


def caller(begin):
    connection, done = Connection("model"), 0
    while (at := time.monotonic() - begin) < SECONDS:
        ms = MS
        if FAULTY and at >= SLOWER_FROM:
            more.setdefault("slower_at", time.time())
            ms = 2 * MS
        connection.call(ms=ms)
        done += 1
    counts.append(done)


def work():
    begin = time.monotonic()
    threads = [threading.Thread(target=caller, args=(begin,)) for _ in range(CALLERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts)


run(work)
