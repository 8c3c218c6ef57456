# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""Tasks of one event loop that sleep by time.sleep(), in place of asyncio's."""
import asyncio
import time

import lib

TASKS, ROUNDS, SLEEP_S = 16, 8, 0.02


async def task():
    for _ in range(ROUNDS):
        await asyncio.sleep(0.001)
        if lib.FAULTY:
            time.sleep(SLEEP_S)
        else:
            await asyncio.sleep(SLEEP_S)


async def tasks():
    await asyncio.sleep(0.05)  # a loop is known by its waits
    await asyncio.gather(*(task() for _ in range(TASKS)))


def work():
    asyncio.run(tasks())
    return TASKS * ROUNDS


lib.run(work)
