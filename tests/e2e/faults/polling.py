# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""A thread that looks every 2 ms whether there is work, in place of waiting for it."""
import threading
import time

import lib

SECONDS = 4


def work():
    jobs, there, done = [], threading.Event(), threading.Event()

    def worker():
        while not jobs:
            if lib.FAULTY:
                time.sleep(0.002)
            else:
                there.wait()
        done.set()

    threading.Thread(target=worker).start()
    time.sleep(SECONDS)
    jobs.append(1)
    there.set()
    done.wait()
    return len(jobs)


lib.run(work)
