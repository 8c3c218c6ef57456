# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""A tool that takes long to fail, and is then called in another way."""
import subprocess
import sys

import lib

JOBS = 9
RUN = "import sys, time; time.sleep(float(sys.argv[1])); sys.exit(int(sys.argv[2]))"


def work():
    for _ in range(JOBS):
        if lib.FAULTY:
            subprocess.run([sys.executable, "-c", RUN, "0.25", "3"], check=False)
        subprocess.run([sys.executable, "-c", RUN, "0.1", "0"], check=True)
    return JOBS


lib.run(work)
