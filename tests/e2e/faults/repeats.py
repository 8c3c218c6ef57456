# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""The same few things asked again and again, in place of kept."""
import time

import lib

CALLS, THINGS = 80, 8
kept = {}


def work():
    connection = lib.Connection()
    for n in range(CALLS):
        thing = n % THINGS
        if lib.FAULTY or thing not in kept:
            kept[thing] = connection.call(ms=25, thing=thing)
        time.sleep(0.01)
    return CALLS


lib.run(work)
