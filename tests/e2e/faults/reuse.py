# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""A connection a call, in place of one for all."""
import lib

CALLS = 90


def work():
    context, connection = lib.tls(), None
    for _ in range(CALLS):
        connection = connection or lib.Connection("tls", context)
        connection.call(ms=8)
        if lib.FAULTY:
            connection.close()
            connection = None
    return CALLS


lib.run(work)
