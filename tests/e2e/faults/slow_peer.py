# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""A model that takes long to begin."""
import lib

CALLS = 5


def work():
    connection = lib.Connection("model")
    for _ in range(CALLS):
        connection.call(ms=1100 if lib.FAULTY else 20)
    return CALLS


lib.run(work)
