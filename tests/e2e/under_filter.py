#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""under_filter.py UNIT PROGRAM ARG..: runs a program under a unit's SystemCallFilter= and MemoryDenyWriteExecute=, without systemd: what the unit forbids kills the process here."""
import ctypes
import os
import subprocess
import sys
from pathlib import Path

ALLOW, KILL, ERROR = 0x7FFF0000, 0x80000000, -1


def names(words):
    """The system calls of a filter's words, groups resolved by systemd itself."""
    for word in words:
        if word.startswith("@"):
            said = subprocess.run(["systemd-analyze", "syscall-filter", word], stdout=subprocess.PIPE, check=True).stdout.decode()
            yield from names(line.strip() for line in said.splitlines()[1:] if line.strip() and not line.strip().startswith("#"))
        else:
            yield word


def main(unit, *argv):
    words = ["@default"]
    for line in Path(unit).read_text().splitlines():
        if line.startswith("SystemCallFilter="):
            words += line.partition("=")[2].split()
    assert len(words) > 1, "the unit filters nothing"
    seccomp = ctypes.CDLL("libseccomp.so.2", use_errno=True)
    seccomp.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(seccomp.seccomp_init(ctypes.c_uint32(KILL)))
    for name in set(names(words)):
        number = seccomp.seccomp_syscall_resolve_name(name.encode())
        if number != ERROR:  # unknown to this library
            seccomp.seccomp_rule_add(context, ctypes.c_uint32(ALLOW), number, 0)  # one that the architecture lacks is refused
    if seccomp.seccomp_load(context):
        sys.exit("the filter cannot be loaded")
    os.execv(argv[0], argv)


main(*sys.argv[1:])
