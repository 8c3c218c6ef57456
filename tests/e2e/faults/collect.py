# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""Collects a large heap over and over; gc.freeze() takes that off the collector's hands."""
import gc
import time

import lib

ROUNDS, OBJECTS = 45, 300_000


def work():
    for _ in range(ROUNDS):
        gc.collect()
        time.sleep(0.05)
    return ROUNDS


heap = [[n] for n in range(OBJECTS)]
if not lib.FAULTY:
    gc.freeze()
lib.run(work)
