# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""Calls a service while threads compute outside of the interpreter: a thread a job, in place of one a CPU."""
import hashlib
import os
import threading

import lib

CALLS = 200
THREADS = 64 if lib.FAULTY else os.cpu_count()
gate = os.pipe()


def compute():
    os.read(gate[0], 1)
    hashlib.pbkdf2_hmac("sha256", b"x", b"x", 1 << 30)


def work():
    os.write(gate[1], b"x" * THREADS)
    connection = lib.Connection()
    for _ in range(CALLS):
        connection.call(ms=10)
    return CALLS


for _ in range(THREADS):
    threading.Thread(target=compute, daemon=True).start()
lib.run(work)
os._exit(0)  # they compute still
