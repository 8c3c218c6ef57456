# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""Computes within a CPU quota that is too small for it (see test_findings.py), or without one."""
import time

import lib

ROUNDS, BURST_S = 50, 0.01


def work():
    for _ in range(ROUNDS):
        end = time.thread_time() + BURST_S
        while time.thread_time() < end:
            pass
        time.sleep(0.035)
    return ROUNDS


lib.run(work)
