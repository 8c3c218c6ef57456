# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""A program run for each of many small jobs, in place of one that takes them all."""
import subprocess
import sys

import lib

JOBS = 120
ONE = "import time; time.sleep(0.017)"
ALL = """import sys, time
for line in sys.stdin:
    time.sleep(0.017)
    print(line, end="", flush=True)"""


def work():
    if lib.FAULTY:
        for _ in range(JOBS):
            subprocess.run([sys.executable, "-c", ONE], check=True)
        return JOBS
    with subprocess.Popen([sys.executable, "-c", ALL], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as tool:
        for n in range(JOBS):
            tool.stdin.write(f"{n}\n")
            tool.stdin.flush()
            tool.stdout.readline()
        tool.stdin.close()
    return JOBS


lib.run(work)
