# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""The same in Python: one function keeps 1 KiB of each request, others drop theirs."""
import time

sessions, pool = [], {}


def session_remember():
    sessions.append(bytearray(1024))


def buffer_replace(i):
    pool[i % 100] = bytearray(1000 + i % 50)


i = 0
while True:
    session_remember()
    buffer_replace(i)
    buffer_replace(i * 7)
    i += 1
    time.sleep(0.001)
