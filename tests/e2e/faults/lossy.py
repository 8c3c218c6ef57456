# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""Calls a service through a network that loses segments."""
import lib

CALLS = 120


def work():
    connection = lib.Connection("lossy")
    for _ in range(CALLS):
        connection.call(ms=2)
    return CALLS


lib.run(work)
