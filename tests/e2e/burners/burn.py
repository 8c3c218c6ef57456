# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""Burns CPU time in three functions: 50, 30 and 20 % of it, by the thread's own clock. burn.py SECONDS"""
import sys
import time


def spin(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        for _ in range(2000):
            pass


def half(unit):
    spin(5 * unit)


def third(unit):
    spin(3 * unit)


def fifth(unit):
    spin(2 * unit)


for _ in range(int(float(sys.argv[1]) * 10)):
    half(0.01)
    third(0.01)
    fifth(0.01)
