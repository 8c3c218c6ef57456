#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""What the programs of this directory call: a server that is as slow as it is asked to be. Prints its ports as JSON: TLS, and plain ones, some of them to
be taken for a model and for a database.

A request is a line of JSON: {"ms": before the answer, "chunks": parts of it, "gap_ms": between them, "stalls": {number of a part: ms before it},
"bytes": of a part}; the answer ends with a newline. A thread a connection. With TLS the handshake is held up by --shake-ms.
"""
import argparse
import json
import socket
import ssl
import threading
import time


def answer(connection, wish):
    chunks = wish.get("chunks", 1)
    time.sleep(wish.get("ms", 0) / 1000)
    for n in range(chunks):
        if n:
            time.sleep((wish.get("stalls", {}).get(str(n)) or wish.get("gap_ms", 0)) / 1000)
        connection.sendall(b"x" * wish.get("bytes", 64) + (b"\n" if n == chunks - 1 else b""))


def serve(connection, shake_s, context):
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        if context:
            time.sleep(shake_s)
            connection = context.wrap_socket(connection, server_side=True)
        with connection, connection.makefile("rb") as lines:
            for line in lines:
                answer(connection, json.loads(line))
    except OSError:
        pass


def listen(host, *how):
    listener = socket.create_server((host, 0), backlog=256)

    def run():
        while True:
            threading.Thread(target=serve, args=(listener.accept()[0], *how), daemon=True).start()

    threading.Thread(target=run, daemon=True).start()
    return listener.getsockname()[1]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--pem", required=True)
    parser.add_argument("--shake-ms", type=float, default=25)
    parser.add_argument("--host", default="0.0.0.0")
    args = parser.parse_args()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(args.pem)
    ports = {"plain": listen(args.host, 0, None), "tls": listen(args.host, args.shake_ms / 1000, context), "model": listen(args.host, 0, None)}
    ports |= {name: listen(args.host, 0, None) for name in ("second", "third", "database")}
    print(json.dumps(ports), flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
