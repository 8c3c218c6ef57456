# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""Makes and drops objects, some of them beyond the interpreter's own pools; waits for a byte before and after each turn."""
import os
import sys
import threading

sys.stdin.close()
kept = []


def turn(n):
    for i in range(n):
        text = "x" * (600 + i % 3000)
        kept.append(text.encode())
        if len(kept) > 50:
            kept.pop(i % 50)
        dict.fromkeys(range(i % 200))


os.write(1, b"ready\n")
while os.read(3, 1):
    threads = [threading.Thread(target=turn, args=(3000,)) for _ in range(3)]
    for t in threads:
        t.start()
    turn(3000)
    for t in threads:
        t.join()
    os.write(1, b"done\n")
os._exit(0)
