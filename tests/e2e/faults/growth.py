# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""Keeps all it ever had, in place of the last of it."""
import collections
import time

import lib

ROUNDS, BYTES, KEEP = 130, 300 << 10, 10


def resident():
    with open("/proc/self/statm", encoding="ascii") as f:
        return int(f.read().split()[1]) * 4096


def work():
    history = collections.deque(maxlen=None if lib.FAULTY else KEEP)
    for _ in range(ROUNDS):
        history.append(b"x" * BYTES)
        time.sleep(0.1)
    lib.more["bytes"] = resident() - began
    return ROUNDS


began = resident()
lib.run(work)
