# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""Calls a service that is far away, in place of one nearby."""
import lib

CALLS = 60


def work():
    connection = lib.Connection("far")
    for _ in range(CALLS):
        connection.call(ms=2)
    return CALLS


lib.run(work)
