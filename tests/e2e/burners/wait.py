# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""Waits in three functions, and says at its end how long in each: a sleep, a lock that another thread holds, a read from a pipe."""
import json
import os
import threading
import time

ROUNDS = 5
lock, barrier, (reader, writer) = threading.Lock(), threading.Barrier(2), os.pipe()
spent = dict.fromkeys(("in_sleep", "in_lock", "in_read"), 0.0)


def in_sleep():
    time.sleep(0.06)


def in_lock():
    with lock:
        pass


def in_read():
    os.read(reader, 1)


def other():
    for _ in range(ROUNDS):
        with lock:
            barrier.wait()
            time.sleep(0.08)
        time.sleep(0.1)
        os.write(writer, b"x")


thread = threading.Thread(target=other)
thread.start()
for _ in range(ROUNDS):
    barrier.wait()
    for wait in (in_lock, in_read, in_sleep):
        start = time.monotonic()
        wait()
        spent[wait.__name__] += time.monotonic() - start
thread.join()
print(json.dumps(spent))
