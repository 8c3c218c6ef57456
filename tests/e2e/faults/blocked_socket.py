# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""Tasks of one event loop that call a service by blocking sockets (with a time limit: then Python polls), in place of asyncio's."""
import asyncio
import json

import lib

TASKS, ROUNDS, MS = 16, 8, 20


async def task():
    if lib.FAULTY:
        connection = lib.Connection()
        connection.socket.settimeout(30)
    else:
        reader, writer = await asyncio.open_connection(lib.HOST, lib.PORTS["plain"])
    for _ in range(ROUNDS):
        await asyncio.sleep(0.001)
        if lib.FAULTY:
            connection.call(ms=MS)
        else:
            writer.write(json.dumps({"ms": MS}).encode() + b"\n")
            await reader.readline()


async def tasks():
    await asyncio.sleep(0.05)  # a loop is known by its waits
    await asyncio.gather(*(task() for _ in range(TASKS)))


def work():
    asyncio.run(tasks())
    return TASKS * ROUNDS


lib.run(work)
