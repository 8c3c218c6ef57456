# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""Maps a buffer for each round, in place of using one again."""
import mmap
import time

import lib

ROUNDS, BYTES = 250, 4 << 20
DATA = b"x" * BYTES


def work():
    buffer = None
    for _ in range(ROUNDS):
        if not buffer or lib.FAULTY:
            buffer = mmap.mmap(-1, BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        buffer.seek(0)
        buffer.write(DATA)
        time.sleep(0.01)
    return ROUNDS


lib.run(work)
