# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""Calls functions in all the ways there are, CPython 3.9 to 3.13. Each thread tells its stack in its innermost function, as a line of JSON: the frames as
the interpreter has them, innermost first; there it stays, without calling anything else of Python's. Argument: what to do."""
import asyncio
import contextlib
import ctypes
import functools
import hashlib
import json
import os
import subprocess
import sys
import threading
import time

UNTIL_KILLED = 1000000


def settle(label):
    """Tells the caller's stack."""
    frame, frames = sys._getframe(1), []
    while frame:
        code = frame.f_code
        frames.append([getattr(code, "co_qualname", code.co_name), code.co_filename, code.co_firstlineno])
        frame = frame.f_back
    os.write(1, (json.dumps({"label": label, "pid": os.getpid(), "frames": frames}) + "\n").encode())


def spin(label):
    settle(label)
    while True:
        pass


def hash_for_long(label):
    """Runs C code, without the lock."""
    settle(label)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2 ** 31 - 1)


def sleep_for_long(label):
    settle(label)
    time.sleep(UNTIL_KILLED)


def wait_for_lock(label):
    lock = threading.Lock()
    lock.acquire()
    settle(label)
    lock.acquire()


def traced(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)
    return wrapper


class Größe:
    def __init__(self, label):
        self.label = label
        self.関数()

    def 関数(self):
        return self.attribute

    @property
    def attribute(self):
        return self[self.label]

    def __getitem__(self, label):
        return sorted([label], key=lambda 𝒻: self.made(𝒻))

    @classmethod
    def made(cls, label):
        return [x for y in [label] for x in cls.generated(y)]

    @staticmethod
    def generated(label):
        yield from Größe.generated_below(label)

    @staticmethod
    def generated_below(label):
        yield {key: recursive(5, key) for key in [label]}


@traced
def recursive(depth, label):
    return recursive(depth - 1, label) if depth else asyncio.run(serve(label))


async def serve(label):
    async with entered():
        task = asyncio.ensure_future(request(label))
        return await task


@contextlib.asynccontextmanager
async def entered():
    yield


async def request(label):
    async for chunk in chunks(label):
        return chunk


async def chunks(label):
    yield await answer(label)


async def answer(label):
    spin(label)


@contextlib.contextmanager
def opened():
    yield


def called_back(label):
    """By ctypes, partial, map, reduce and exec."""
    @ctypes.CFUNCTYPE(None, ctypes.c_int)
    def callback(_):
        partial = functools.partial(reduced, label)
        next(map(partial, [1]))
    callback(1)


def reduced(label, _):
    with opened():
        names = {"hash_for_long": hash_for_long, "label": label}
        functools.reduce(lambda _, __: exec(compile("hash_for_long(label)", "<made up>", "exec"), names), [1, 2])


def deep(depth, label):
    if depth:
        deep(depth - 1, label)
    else:
        spin(label)


def calls():
    for target in called_back, sleep_for_long, wait_for_lock:
        threading.Thread(target=target, args=(target.__name__,), daemon=True).start()
    Größe("main")


def children():
    """One by fork, and, when it is told to, one by fork and exec."""
    if not os.fork():
        spin("forked")
    settle("parent")
    sys.stdin.readline()
    subprocess.run([sys.executable, __file__, "spin"])


def replaced():
    """Functions that take each other's place in memory, each for the same stretch of CPU time."""
    end = time.thread_time() + 0.3  # until it is known to be an interpreter
    while time.thread_time() < end:
        pass
    for n in range(10):
        names = {"time": time}
        exec(compile(f"def short_lived_{n}(end):\n while time.thread_time() < end:\n  pass\n", f"<made up {n}>", "exec"), names)
        names[f"short_lived_{n}"](time.thread_time() + 0.1)
        names.clear()


def cycle():
    """Makes its innermost frame its own caller, behind the interpreter's back (3.11: in struct _PyInterpreterFrame)."""
    frame = sys._getframe()
    inner = ctypes.c_size_t.from_address(id(frame) + 24).value
    ctypes.c_size_t.from_address(inner + 48).value = inner
    os.write(1, b'{"label": "cycle"}\n')
    n = 0
    while True:
        n += 1


def broken_code():
    """Gives its own code object a name of no known kind (3.11)."""
    code = sys._getframe().f_code
    ctypes.c_size_t.from_address(id(code) + 128).value = id(code)
    os.write(1, b'{"label": "broken"}\n')
    while True:
        pass


{"calls": calls, "children": children, "replaced": replaced, "cycle": cycle, "broken_code": broken_code,
 "deep": lambda: deep(100, "deep"), "spin": lambda: spin("spin")}[sys.argv[1]]()
