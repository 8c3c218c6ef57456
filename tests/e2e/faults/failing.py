# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""A tool that is called the wrong way most of the time, and again the right way."""
import subprocess
import time

import lib

JOBS = 9
WRONG, RIGHT = ["tail", "--pid=1", "-q", "-n", "1", "/nonexistent"], ["tail", "-n", "1", "/dev/null"]


def work():
    for _ in range(JOBS):
        if lib.FAULTY:
            subprocess.run(WRONG, stderr=subprocess.DEVNULL, check=False)
        subprocess.run(RIGHT, check=True)
        time.sleep(0.3)
    return JOBS


lib.run(work)
