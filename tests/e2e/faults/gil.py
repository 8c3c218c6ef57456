# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""Calls a service while a thread computes, in place of a process: for each step it first waits for the interpreter."""
import subprocess
import sys
import threading

import lib

CALLS = 400
stop = threading.Event()


def compute():
    while not stop.is_set():
        sum(range(1000))


def work():
    connection = lib.Connection()
    if lib.FAULTY:
        threading.Thread(target=compute).start()
    else:
        other = subprocess.Popen([sys.executable, "-c", "while True: sum(range(1000))"])
    for _ in range(CALLS):
        connection.call(ms=5)
    if lib.FAULTY:
        stop.set()
    else:
        other.kill()
        other.wait()
    return CALLS


lib.run(work)
