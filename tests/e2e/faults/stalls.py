# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""A model whose answers stop twice each."""
import lib

CALLS = 3


def work():
    connection = lib.Connection("model")
    for _ in range(CALLS):
        connection.call(ms=50, chunks=30, gap_ms=15, stalls={"7": 700, "21": 700} if lib.FAULTY else {})
    return CALLS


lib.run(work)
