# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""Calls a service while a thread computes, in place of a process: for each step it first waits for the interpreter."""
import subprocess
import sys
import threading

import lib

CALLS = 1300
COMPUTES = "while True: sum(range(1000))"
stop = threading.Event()


def compute():
    while not stop.is_set():
        sum(range(1000))


def work():
    connection = lib.Connection()
    if lib.FAULTY:
        threading.Thread(target=compute).start()
    for _ in range(CALLS):
        connection.call()
    stop.set()
    return CALLS


other = None if lib.FAULTY else subprocess.Popen([sys.executable, "-c", COMPUTES])
lib.run(work)
if other:
    other.kill()
    other.wait()
