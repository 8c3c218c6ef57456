# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""Head and body of each request in a write of their own, on a socket that keeps small packets back."""
import json
import socket
import time

import lib

CALLS = 50


def work():
    connection = socket.create_connection((lib.HOST, lib.PORTS["plain"]))
    for _ in range(CALLS):
        request = json.dumps({"ms": 2, "n": lib.number()}).encode() + b"\n"
        if lib.FAULTY:
            connection.sendall(request[:8])
            connection.sendall(request[8:])
        else:
            connection.sendall(request)
        while not connection.recv(65536).endswith(b"\n"):
            pass
        time.sleep(0.01)
    return CALLS


lib.run(work)
