#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""Mock services for the demo agent on loopback: a model endpoint, a database, a cache.

Prints one line of JSON with the ports and the pid once all three listen. How slow an answer is stands in the request, so
that one instance serves agents with any parameters.

model   HTTP/1.1, POST {"tokens", "first_ms", "gap_ms"}: server-sent events in a chunked body, the first after first_ms,
        then one every gap_ms
db      4 bytes of length (big endian) and JSON {"rows", "ms"}; the answer, likewise, holds that many rows after ms
cache   GET, SET and PING as redis speaks them (RESP arrays of bulk strings)
"""
import argparse
import asyncio
import json
import os
import signal
import struct
import sys


async def model_client(reader, writer):
    """One connection: any number of requests, one after the other."""
    while True:
        length = 0
        if not (await reader.readline()).strip():
            return
        while line := (await reader.readline()).strip():
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        wish = json.loads(await reader.readexactly(length))
        await asyncio.sleep(wish["first_ms"] / 1000)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        for n in range(wish["tokens"]):
            if n and wish["gap_ms"]:
                await asyncio.sleep(wish["gap_ms"] / 1000)
            event = f'event: content_block_delta\ndata: {{"index":{n},"text":"token{n} "}}\n\n'.encode()
            writer.write(b"%x\r\n%s\r\n" % (len(event), event))
            await writer.drain()
        writer.write(b"0\r\n\r\n")
        await writer.drain()


async def db_client(reader, writer):
    while True:
        (length,) = struct.unpack("!I", await reader.readexactly(4))
        wish = json.loads(await reader.readexactly(length))
        await asyncio.sleep(wish["ms"] / 1000)
        body = json.dumps([{"id": n, "name": f"row {n}", "score": n * n % 97} for n in range(wish["rows"])]).encode()
        writer.write(struct.pack("!I", len(body)) + body)
        await writer.drain()


async def read_command(reader):
    """A RESP array of bulk strings, or None at the end of the connection."""
    head = await reader.readline()
    if not head.startswith(b"*"):
        return None
    words = []
    for _ in range(int(head[1:])):
        length = int((await reader.readline())[1:])
        words.append((await reader.readexactly(length + 2))[:-2])
    return words


async def cache_client(reader, writer, store):
    while words := await read_command(reader):
        command = words[0].upper()
        if command == b"SET" and len(words) == 3:
            store[words[1]] = words[2]
            writer.write(b"+OK\r\n")
        elif command == b"GET" and len(words) == 2:
            value = store.get(words[1])
            writer.write(b"$-1\r\n" if value is None else b"$%d\r\n%s\r\n" % (len(value), value))
        elif command == b"PING":
            writer.write(b"+PONG\r\n")
        else:
            writer.write(b"-ERR unknown command\r\n")
        await writer.drain()


async def listen(serve, *args):
    async def client(reader, writer):
        try:
            await serve(reader, writer, *args)
        except (asyncio.IncompleteReadError, ConnectionError, ValueError, KeyError):
            pass  # the client went away, or spoke nonsense: its connection ends, the service goes on
        finally:
            writer.close()

    server = await asyncio.start_server(client, "127.0.0.1", 0, backlog=1024)
    return server.sockets[0].getsockname()[1]


def detach():
    """Double fork: whoever started us is not our parent any more. Returns the descriptor on which to tell that all is ready."""
    ready, tell = os.pipe()
    if os.fork():
        os.close(tell)
        with os.fdopen(ready) as f:
            print(f.read(), end="", flush=True)
        os._exit(0)
    os.close(ready)
    os.setsid()
    if os.fork():
        os._exit(0)
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1):
        os.dup2(null, fd)
    return tell


async def serve(args, tell):
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if args.while_pid:
        try:
            loop.add_reader(os.pidfd_open(args.while_pid), stop.set)
        except OSError as err:
            sys.exit(f"services.py: pid {args.while_pid}: {err.strerror}")
    ports = {"model": await listen(model_client), "db": await listen(db_client), "cache": await listen(cache_client, {}),
             "pid": os.getpid()}
    with os.fdopen(tell, "w") as f:
        print(json.dumps(ports), file=f, flush=True)
    await stop.wait()


def main():
    parser = argparse.ArgumentParser(description="mock services for the demo agent")
    parser.add_argument("--daemon", action="store_true", help="detach once all services listen")
    parser.add_argument("--while-pid", type=int, metavar="PID", help="end when this process ends")
    args = parser.parse_args()
    tell = detach() if args.daemon else os.dup(1)
    try:
        asyncio.run(serve(args, tell))
    except KeyboardInterrupt:
        pass
    os._exit(0)  # clients may still be connected: nothing of theirs is worth waiting for


if __name__ == "__main__":
    main()
