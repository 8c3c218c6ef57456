# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""Collects garbage on a word from standard input, and tells what the pauses were by its own clock: {generation: [count, ns]}, as JSON.

fork: has a child that does the same. busy: collects without end, until the next word.
"""
import gc
import json
import os
import select
import sys
import time

began = 0
told = {n: [0, 0] for n in range(3)}


def callback(phase, info):
    global began
    if phase == "start":
        began = time.monotonic_ns()
        return
    pauses = told[info["generation"]]
    pauses[0] += 1
    pauses[1] += time.monotonic_ns() - began


def collect():
    keep = []
    for turn in range(60):
        keep.extend([turn] for _ in range(3000))  # some of them start on their own
        gc.collect(0)
        if turn % 3 == 0:
            gc.collect(1)
        if turn % 10 == 0:
            gc.collect(2)
    return json.dumps(told)


def tell(text):
    print(text, flush=True)


gc.callbacks.append(callback)
gc.collect()
tell("ready")
sys.stdin.readline()
told = {n: [0, 0] for n in range(3)}
if "fork" in sys.argv:
    ours, theirs = os.pipe()
    if not os.fork():
        os.read(ours, 1)
        tell(collect())
        os._exit(0)
    tell("forked")
    sys.stdin.readline()
    tell(collect())
    os.write(theirs, b"x")
    os.wait()
elif "busy" in sys.argv:
    while not select.select([sys.stdin], [], [], 0)[0]:
        for _ in range(1000):
            gc.collect(0)
    tell("done")
else:
    tell(collect())
    if sys.stdin.readline():
        tell(collect())
