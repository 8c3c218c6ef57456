# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""Three calls that don't need each other's answers, one after another in place of at once."""
import asyncio
import json

import lib

ROUNDS = 30
WISHES = (("plain", 25), ("second", 20), ("third", 20))


async def call(connection, **wish):
    reader, writer = connection
    writer.write(json.dumps(wish).encode() + b"\n")
    await reader.readline()


async def rounds():
    connections = [await asyncio.open_connection(lib.HOST, lib.PORTS[port]) for port, _ in WISHES]
    for _ in range(ROUNDS):
        calls = [call(c, ms=ms, n=lib.number()) for c, (_, ms) in zip(connections, WISHES)]
        if lib.FAULTY:
            for one in calls:
                await one
        else:
            await asyncio.gather(*calls)
        await asyncio.sleep(0.02)
    return ROUNDS * len(WISHES)


lib.run(lambda: asyncio.run(rounds()))
