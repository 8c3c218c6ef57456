# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""A tool whose runs take long."""
import subprocess

import lib

RUNS, SECONDS = 3, "5.2"


def work():
    for _ in range(RUNS):
        subprocess.run(["sleep", SECONDS if lib.FAULTY else "0.3"], check=True)
    return RUNS


lib.run(work)
